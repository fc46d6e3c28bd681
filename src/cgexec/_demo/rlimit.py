"""
The limit where no cgroup may be made: the child's own RLIMIT_DATA. A simulation: an allocation beyond it fails, where a
container's limit has the kernel kill.
"""

import os
import threading

from cgexec._kernel import levels, parse
from cgexec._kernel.files import Files
from cgexec._snapshot import locate_own

__all__ = ["lift", "limit_data", "private_bytes", "tell_pool"]

# Address space for a thread's stack counts against RLIMIT_DATA, touched or not; these tasks need little of it.
_STACK = 256 << 10
_KEYS = frozenset({"RssAnon", "VmRSS", "VmData"})


def limit_data(memory: int, threads: int) -> None:
    """
    Let this process have *memory* bytes of private memory: the soft RLIMIT_DATA, which counts what is mapped.

    What is mapped and not touched now, and the stacks of so many *threads*, are added; no container would count them.
    """
    import resource

    threading.stack_size(_STACK)
    sizes = _sizes("self")
    idle = max(0, sizes.get("VmData", 0) - sizes.get("RssAnon", sizes.get("VmRSS", 0)))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = memory + idle + threads * _STACK
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"RLIMIT_DATA is {hard} bytes here already, less than the {wanted} that the demo sets")
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def lift() -> None:
    """Take the limit away again, so that what happened can be said."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def tell_pool(memory: int) -> None:
    """
    Tell our pool of the limit, as no file does: CGEXEC_MEMORY counts what the cgroup uses, of which others' is no part
    of *memory*.
    """
    os.environ["CGEXEC_MEMORY"] = str(_used_by_others() + memory)
    os.environ["CGEXEC_RESERVE"] = str(max(memory // 10, 24 << 20))  # the usual margin of a limit of that size
    os.environ["CGEXEC_PROCESSES"] = "1"


def _used_by_others() -> int:
    files = Files()
    chain = locate_own(files).chains.get("memory")
    use = None if chain is None else levels.read_memory_use(files, chain.version, chain.places[0])
    return 0 if use is None else max(0, use.unreclaimable - private_bytes("self"))


def private_bytes(pid: int | str) -> int:
    """Return the private memory of a process in bytes, 0 if it is gone."""
    sizes = _sizes(pid)
    return sizes.get("RssAnon", sizes.get("VmRSS", 0))


def _sizes(pid: int | str) -> dict[str, int]:
    text = Files().text(f"/proc/{pid}/status")
    return {} if text is None else parse.parse_kib_table(text, _KEYS)
