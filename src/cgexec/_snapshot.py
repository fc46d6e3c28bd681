"""What was seen at one instant, frozen: the raw values of every visible level, with notes on what could not be read."""

from typing import Literal, NamedTuple

from cgexec._kernel import levels
from cgexec._kernel.files import Files, printable
from cgexec._kernel.host import Host, is_linux, read_host
from cgexec._kernel.levels import Found, MemoryLevel
from cgexec._kernel.locate import Layout, locate

__all__ = ["Snapshot", "locate_own", "take_snapshot"]


_LIMITED = ("cpu", "memory", "pids")


class Snapshot(NamedTuple):
    """
    The limits as the files state them, level by level, the process's own cgroup first.

    Empty tuples: nothing is stated, or nothing is visible; *notes* says which.
    """

    version: Literal["v1", "v2", "hybrid"] | None
    host: Host
    cpu_quotas: tuple[Found[float], ...]
    cpusets: tuple[Found[int], ...]
    memory: tuple[MemoryLevel, ...]
    hidden_memory_limit: Found[int] | None
    swap: tuple[Found[int], ...]
    oom_group: Found[bool] | None
    pids: tuple[Found[int], ...]
    searched: dict[str, str]
    notes: tuple[str, ...]


def take_snapshot(files: Files) -> Snapshot:
    """Read every file that says something about limits. Never raises for what they hold."""
    layout = locate_own(files)
    chains = layout.chains
    cpu, memory, pids, cpuset = (chains.get(name) for name in ("cpu", "memory", "pids", "cpuset"))
    memory_levels = levels.read_memory_levels(files, memory) if memory else ()
    found_pids = levels.read_pids_levels(files, pids) if pids else ()
    host = read_host(files)
    return Snapshot(
        version=layout.version,
        host=host,
        cpu_quotas=levels.read_cpu_quotas(files, cpu) if cpu else (),
        cpusets=levels.read_cpusets(files, cpuset) if cpuset else (),
        memory=memory_levels,
        hidden_memory_limit=levels.read_hidden_limit(files, memory) if memory else None,
        swap=levels.read_swap_limits(files, memory_levels),
        oom_group=levels.read_oom_group(files, memory_levels),
        pids=tuple(
            Found(level.limit, f"{level.place.directory}/pids.max", level.place.height)
            for level in found_pids
            if level.limit is not None
        ),
        searched={name: _searched(layout, name) for name in _LIMITED},
        notes=tuple(files.notes),
    )


def locate_own(files: Files) -> Layout:
    """Return where this process's cgroups are, having noted what stands in the way."""
    cgroup, mountinfo = files.text("/proc/self/cgroup"), files.text("/proc/self/mountinfo")
    layout = locate(cgroup or "", mountinfo or "")
    for note in layout.notes:
        files.note(note)
    if layout.version is None and (is_linux() or not files.is_this_machine):
        files.note("no cgroup file system is visible, so limits set by a container cannot be read here")
    _note_missing(files, layout)
    for name in _LIMITED:
        chain = layout.chains.get(name)
        if chain is not None and not chain.own:
            files.note(
                f"{name}: the mounts show only a cgroup above this process's own (cgroup namespace without its own "
                "mount); limits nearer to this process are hidden"
            )
        elif (
            chain is None
            and layout.version is not None
            and not any(note.startswith(f"{name}:") for note in layout.notes)
        ):
            files.note(f"{name}: no visible cgroup controls it for this process")
    return layout


def _note_missing(files: Files, layout: Layout) -> None:
    """Say which of the directories are not there: removed while we ran, or left out of a copy."""
    own = {layout.chains[name].places[0].directory for name in _LIMITED if name in layout.chains}
    for directory in sorted(own):
        if not files.has_directory(directory):
            files.note(f"{directory}: the cgroup of this process is not there, so its own limits cannot be read")


def _searched(layout: Layout, name: str) -> str:
    """Say where no limit was found."""
    chain = layout.chains.get(name)
    if chain is None:
        return "no limit visible"
    above = max(place.height for place in chain.places)
    return f"none set in {printable(chain.places[0].directory)}" + (f" nor in the {above} above" if above else "")
