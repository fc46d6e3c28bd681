"""`Usage`: what is used now, and how much room is left, from the same levels as the limits."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cgexec._kernel import levels
from cgexec._kernel.files import Files, printable
from cgexec._kernel.host import HostUse, read_host_use
from cgexec._kernel.levels import CpuTime, MemoryUse, PidsLevel
from cgexec._kernel.locate import Chain, Layout
from cgexec._snapshot import locate_own

__all__ = ["Usage", "idle_usage", "usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """
    What is in use now. Immutable. Sizes are bytes, times are seconds since the cgroup was made; None is unknown.

    Memory and its counters are those of the cgroup level *closest to its limit*: the one with the least room among the
    visible levels that have a limit. Where none has, they are those of the process's own cgroup, and where that cannot
    be seen, the machine's.

    Attributes:
        memory_bytes: what reclaim cannot give back: anonymous and shared memory, tmpfs, dirty pages, kernel memory. A
            file that is merely read is not in it.
        level_limit: the limit of the level they are of, which need not be the tightest there is: a level above may be
            fuller. None where it has none, and for the machine.
        level_is_own: whether that level is the process's own cgroup, and not one that others share.
        working_set_bytes: what the kubelet counts and ``kubectl top`` shows: all memory less inactive file pages.
        page_cache_bytes: what reclaim would give back, and `memory_bytes` therefore leaves out.
        headroom_bytes: room before any limit is reached: the least over levels of that level's limit less that level's
            use, and over the machine's available memory. Negative when a level is above its limit.
        process_bytes: what this process alone holds and cannot give back (RssAnon and RssShmem).
        process_address_space: this process's address space (VmSize), for RLIMIT_AS.
        pids: tasks in use at the level closest to its ``pids.max``.
        pids_headroom: how many more tasks every level allows: at that level, its ``pids.max`` less `pids`.
        nr_periods: quota periods in which something ran, of the level with the tightest quota.
        nr_throttled: those in which it was throttled.
        throttled_seconds: the time it was throttled, summed over CPUs.
        oom_kills: processes the kernel killed for this memory limit.
        memory_events: ``high``, ``max``, ``oom``, ``oom_kill`` counts, as far as the kernel keeps them (on v1 ``max``
            is ``memory.failcnt``).
        psi_memory_full: seconds in which all tasks stalled on memory (PSI), of the nearest cgroup that tells.
        psi_cpu_some: seconds in which some task waited for a CPU (PSI).
        sources: where each value came from. Do not change it.
        notes: what could not be read.
    """

    memory_bytes: int
    level_limit: int | None
    level_is_own: bool
    working_set_bytes: int
    page_cache_bytes: int
    headroom_bytes: int
    process_bytes: int | None
    process_address_space: int | None
    pids: int | None
    pids_headroom: int | None
    nr_periods: int | None
    nr_throttled: int | None
    throttled_seconds: float | None
    oom_kills: int | None
    memory_events: Mapping[str, int] = field(hash=False)
    psi_memory_full: float | None
    psi_cpu_some: float | None
    sources: Mapping[str, str] = field(hash=False)
    notes: tuple[str, ...]


class _Room(NamedTuple):
    """A level's limit against that level's use. *use* is None where it cannot be told apart or read."""

    limit: int
    used: int
    use: MemoryUse | None
    source: str

    @property
    def left(self) -> int:
        return self.limit - self.used


def usage(*, root: str | os.PathLike[str] = "/") -> Usage:
    """
    Return what is used now. Nothing is cached; takes a fraction of a millisecond; any thread may call it; never raises
    for anything a kernel file holds.

    Args:
        root: where the kernel's files are found, as for `limits`.

    Raises:
        ValueError: *root* is no directory.
    """
    files = Files(os.fspath(root))
    layout = locate_own(files)
    host = read_host_use(files)
    memory = layout.chains.get("memory")
    own = levels.read_memory_use(files, memory.version, memory.places[0]) if memory and memory.own else None
    rooms = tuple(_rooms(files, memory, own)) if memory else ()
    closest = min((room for room in rooms if room.use is not None), key=lambda room: room.left, default=None)
    use = closest.use if closest is not None else own
    sources: dict[str, str] = {}
    events: Mapping[str, int] = {}
    if use is not None and memory is not None:
        events, sources["memory_events"] = levels.read_memory_events(files, memory.version, use.place)
    machine = min(_machine_rooms(host), key=lambda room: room.left)
    least = min((*rooms, machine), key=lambda room: room.left)
    sources["headroom_bytes"] = least.source
    sources["memory_bytes"] = use.file if use is not None else machine.source
    pids = _pids(files, layout, sources)
    cpu = _cpu_time(files, layout, sources)
    memory_full = _stalled(files, layout, "memory.pressure", "full", sources)
    cpu_some = _stalled(files, layout, "cpu.pressure", "some", sources)
    return Usage(
        memory_bytes=use.unreclaimable if use is not None else machine.used,
        level_limit=None if closest is None else closest.limit,
        level_is_own=use is not None and own is not None and use.place == own.place,
        working_set_bytes=use.working_set if use is not None else host.working_set,
        page_cache_bytes=use.reclaimable
        if use is not None
        else max(0, host.available - (host.total - host.working_set)),
        headroom_bytes=least.left,
        process_bytes=host.process_bytes,
        process_address_space=host.process_address_space,
        pids=None if pids is None else pids.current,
        pids_headroom=_pids_left(pids),
        nr_periods=None if cpu is None else cpu.nr_periods,
        nr_throttled=None if cpu is None else cpu.nr_throttled,
        throttled_seconds=None if cpu is None else cpu.throttled_seconds,
        oom_kills=events.get("oom_kill"),
        memory_events=dict(events),
        psi_memory_full=memory_full,
        psi_cpu_some=cpu_some,
        sources={name: printable(source) for name, source in sources.items()},
        notes=tuple(files.notes),
    )


def idle_usage(memory_bytes: int, held: int) -> Usage:
    """Return the use of a container in which nothing runs but one process that holds *held* bytes. Pure."""
    return Usage(
        memory_bytes=held,
        level_limit=memory_bytes,
        level_is_own=True,
        working_set_bytes=held,
        page_cache_bytes=0,
        headroom_bytes=memory_bytes - held,
        process_bytes=held,
        process_address_space=None,
        pids=None,
        pids_headroom=None,
        nr_periods=None,
        nr_throttled=None,
        throttled_seconds=None,
        oom_kills=None,
        memory_events={},
        psi_memory_full=None,
        psi_cpu_some=None,
        sources={},
        notes=(),
    )


def _rooms(files: Files, chain: Chain, own: MemoryUse | None) -> Iterator[_Room]:
    """Yield the levels that have a limit, each against its own use; v1's hidden limit against the use we can see."""
    memory_levels = levels.read_memory_levels(files, chain)
    for level in memory_levels:
        if level.binding is not None:
            at_own = own is not None and level.place == own.place
            use = own if at_own else levels.read_memory_use(files, chain.version, level.place)
            if use is None:
                files.note(f"{level.use_file}: says nothing, so there may be less room than {level.file} leaves")
            yield _Room(level.binding, 0 if use is None else use.unreclaimable, use, level.file)
    hidden = own.hidden_limit if own is not None else levels.read_hidden_limit(files, chain)
    visible = [level.hard for level in memory_levels if level.hard is not None]
    if hidden is not None and (not visible or hidden.value < min(visible)):
        files.note(
            f"{hidden.file}: the limit of a cgroup that is not visible here; others may use it too, so there may be "
            "less room than it seems"
        )
        yield _Room(hidden.value, 0 if own is None else own.unreclaimable, own, hidden.file)


def _machine_rooms(host: HostUse) -> Iterator[_Room]:
    """Yield the room outside of any cgroup: the machine's, and that of a Windows job."""
    yield _Room(host.total, host.total - host.available, None, "memory available on the machine")
    if host.job is not None and host.job.memory_limit is not None and host.job.memory_bytes is not None:
        yield _Room(host.job.memory_limit, host.job.memory_bytes, None, "job object (memory limit)")


def _pids(files: Files, layout: Layout, sources: dict[str, str]) -> PidsLevel | None:
    chain = layout.chains.get("pids")
    if chain is None:
        return None
    found = levels.read_pids_levels(files, chain)
    level = min(found, key=lambda one: (_pids_left(one) is None, _pids_left(one) or 0), default=None)
    if level is not None and level.current is not None:
        sources["pids"] = f"{level.place.directory}/pids.current"
    if level is not None and level.limit is not None:
        sources["pids_headroom"] = f"{level.place.directory}/pids.max"
    return level


def _pids_left(level: PidsLevel | None) -> int | None:
    """Return the tasks a level still allows; all of its limit where its count cannot be read."""
    if level is None or level.limit is None:
        return None
    return level.limit - (level.current or 0)


def _cpu_time(files: Files, layout: Layout, sources: dict[str, str]) -> CpuTime | None:
    """Return the counters of the level with the tightest quota: a throttled parent throttles us."""
    chain = layout.chains.get("cpu")
    if chain is None or not chain.own:
        return None
    quotas = levels.read_cpu_quotas(files, chain)
    tightest = min(quotas, key=lambda found: found.value, default=None)
    directory = tightest.file.rpartition("/")[0] if tightest is not None else chain.places[0].directory
    time = levels.read_cpu_time(files, directory)
    if time is not None:
        sources["nr_throttled"] = time.file
    return time


def _stalled(files: Files, layout: Layout, name: str, kind: str, sources: dict[str, str]) -> float | None:
    """Return a PSI total of the nearest cgroup of the unified hierarchy that has it; v1 has none of its own."""
    chain = layout.chains.get("unified")
    found = levels.read_pressure(files, chain, name) if chain is not None and chain.own else None
    if found is None or kind not in found.value:
        return None
    sources[f"psi_{name.partition('.')[0]}_{kind}"] = found.file
    return found.value[kind]
