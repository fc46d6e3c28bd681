"""Which processes of the same program share this container: the workers of a server, seen from beside them."""

from collections import Counter

from cgexec._advice import Siblings
from cgexec._kernel.files import Files
from cgexec._kernel.levels import read_processes
from cgexec._snapshot import locate_own

__all__ = ["find_siblings"]

_PYTHON = "python"
# A host's own cgroup may hold thousands; a container's does not.
_MOST = 512


def find_siblings(files: Files) -> tuple[Siblings, ...]:
    """Return the groups of Python processes with one parent in this process's cgroup. Best effort: it feeds a note."""
    chains = locate_own(files).chains
    chain = chains.get("memory") or chains.get("unified")
    processes = read_processes(files, chain) if chain is not None and chain.own else ()
    if not 1 < len(processes) <= _MOST:
        return ()
    import psutil

    groups: Counter[tuple[str, int]] = Counter()
    for pid in processes:
        try:
            process = psutil.Process(pid)
            name, parent = process.name(), process.ppid()
            executable = process.exe()
        except psutil.Error:  # ended meanwhile, or not ours to look at
            continue
        if _PYTHON in executable.rpartition("/")[2]:
            groups[name, parent] += 1
    return tuple(Siblings(count, name, parent) for (name, parent), count in groups.items() if count > 1)
