"""
A cgroup directory to values: which files v1 and v2 have for the same fact, so that nobody above asks which it was.

A file that is missing or odd is *no statement* (None here, a note where it is odd), never a limit and never "no limit"
that could beat a statement of another level.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from cgexec._kernel import parse
from cgexec._kernel.files import Files
from cgexec._kernel.locate import Chain, Place

__all__ = [
    "CpuTime",
    "Found",
    "MemoryLevel",
    "MemoryUse",
    "PidsLevel",
    "read_cpu_quotas",
    "read_cpu_time",
    "read_cpusets",
    "read_hidden_limit",
    "read_memory_events",
    "read_memory_levels",
    "read_memory_use",
    "read_oom_group",
    "read_pids_levels",
    "read_pressure",
    "read_processes",
    "read_swap_limits",
]

T = TypeVar("T")
_NOTHING: Mapping[str, int] = MappingProxyType({})


class Found(NamedTuple, Generic[T]):
    """A value, the file that holds it, and how many levels above the process's own cgroup that is."""

    value: T
    file: str
    height: int


class MemoryLevel(NamedTuple):
    """The memory limits of one cgroup, in bytes; None is no statement. v1's soft limit is none and is not read."""

    place: Place
    version: str
    hard: int | None
    high: int | None
    stated: bool = True  # whether the file of the hard limit is there at all; v2's real root has none

    @property
    def binding(self) -> int | None:
        """The least of the two: above ``memory.high`` every allocation is throttled, so there is no room to plan."""
        limits = [limit for limit in (self.hard, self.high) if limit is not None]
        return min(limits) if limits else None

    @property
    def file(self) -> str:
        """The file that holds `binding`."""
        by_high = self.high is not None and (self.hard is None or self.high < self.hard)
        name = _HIGH if by_high else _HARD[self.version]
        return f"{self.place.directory}/{name}"

    @property
    def use_file(self) -> str:
        """The file that holds what is used of it."""
        return f"{self.place.directory}/{_CURRENT[self.version]}"


class MemoryUse(NamedTuple):
    """What one cgroup and everything below it use now, in bytes."""

    place: Place
    file: str
    current: int  # all that is charged, page cache included
    stat: Mapping[str, int]  # one table of names for both versions, see _STAT
    hidden_limit: Found[int] | None = None  # see read_hidden_limit; it stands in a file that is read here anyway

    @property
    def reclaimable(self) -> int:
        """
        What reclaim gives back without writing anything: clean file pages, and slab the kernel calls reclaimable.

        The two file LRU lists hold no shmem and no tmpfs (those are on the anon lists); pages that are dirty or being
        written are not free until the disk has them. cgroup-v2.rst, "memory.stat".
        """
        unwritten = self.stat.get("dirty", 0) + self.stat.get("writeback", 0)
        return min(max(0, self._cache - unwritten) + self.stat.get("slab_reclaimable", 0), self.current)

    @property
    def _cache(self) -> int:
        return self.stat.get("inactive_file", 0) + self.stat.get("active_file", 0)

    @property
    def unreclaimable(self) -> int:
        """What reclaim cannot give back: everything charged that is not known to be reclaimable."""
        return self.current - self.reclaimable

    @property
    def held(self) -> int:
        """
        What no waiting gives back: as `unreclaimable`, but for file pages that are written first.

        An allocation at the limit waits for them (cgroup-v2.rst, "Writeback"), so nobody is killed for them.
        """
        return self.current - min(self._cache + self.stat.get("slab_reclaimable", 0), self.current)

    @property
    def working_set(self) -> int:
        """What the kubelet reports and ``kubectl top`` shows: everything charged less the inactive file pages."""
        return max(0, self.current - self.stat.get("inactive_file", 0))


class PidsLevel(NamedTuple):
    """A cgroup's limit on tasks (threads count) and how many it has; None is no statement."""

    place: Place
    limit: int | None
    current: int | None


class CpuTime(NamedTuple):
    """The throttling counters of one cgroup since it was made."""

    nr_periods: int
    nr_throttled: int
    throttled_seconds: float
    file: str


_HARD = {"v1": "memory.limit_in_bytes", "v2": "memory.max"}
_HIGH = "memory.high"
_CURRENT = {"v1": "memory.usage_in_bytes", "v2": "memory.current"}
_SWAP = {"v1": "memory.memsw.limit_in_bytes", "v2": "memory.swap.max"}
_EVENTS = {"v1": "memory.oom_control", "v2": "memory.events"}
# Our name -> the key in memory.stat. v1's plain keys leave out the children, its total_ keys do not; v1 does not
# tell slab apart there, so all of it counts as used.
_STAT = {
    "v1": {
        "inactive_file": "total_inactive_file",
        "active_file": "total_active_file",
        "dirty": "total_dirty",
        "writeback": "total_writeback",
        "hidden_limit": "hierarchical_memory_limit",
    },
    "v2": {
        "inactive_file": "inactive_file",
        "active_file": "active_file",
        "dirty": "file_dirty",
        "writeback": "file_writeback",
        "slab_reclaimable": "slab_reclaimable",
    },
}
# The newer name first; before Linux 5.9 the only pages that come again are those of files, there is no other name.
_REFAULTS = {"v1": ("total_workingset_refault_file",), "v2": ("workingset_refault_file", "workingset_refault")}
_STAT_KEYS = {version: frozenset(table.values()) for version, table in _STAT.items()}
_EVENT_KEYS = frozenset({"low", "high", "max", "oom", "oom_kill", "oom_group_kill"})
_CPU_KEYS = frozenset({"nr_periods", "nr_throttled", "throttled_usec", "throttled_time"})


def read_cpu_quotas(files: Files, chain: Chain) -> tuple[Found[float], ...]:
    """Return the CPU quotas along the chain, in CPUs, leaf first; levels without one are left out."""
    return tuple(_cpu_quotas(files, chain))


def _cpu_quotas(files: Files, chain: Chain) -> Iterator[Found[float]]:
    for place in chain.places:
        name = "cpu.max" if chain.version == "v2" else "cpu.cfs_quota_us"
        file = f"{place.directory}/{name}"
        if chain.version == "v2":
            quota = files.value(file, parse.parse_cpu_max)
        else:
            quota = _cfs_quota(files, file, f"{place.directory}/cpu.cfs_period_us")
        if quota is not None:
            yield Found(quota, file, place.height)


def _cfs_quota(files: Files, file: str, period_file: str) -> float | None:
    quota = files.value(file, parse.parse_cfs_quota)
    if quota is None:
        return None
    text = files.text(period_file)
    if text is None:
        files.note(f"{period_file}: says nothing, so the kernel's default period is taken for {file}")
        return quota / parse.DEFAULT_PERIOD_US
    period = files.parsed(period_file, text, parse.parse_cfs_period)
    return None if period is None else quota / period


def read_cpu_time(files: Files, directory: str) -> CpuTime | None:
    """Return the throttling counters of a cgroup, None if it has none (the real root, no quota support)."""
    file = f"{directory}/cpu.stat"
    text = files.text(file)
    # cpu.stat without the bandwidth keys is that of the real root or of a kernel without quotas: no oddity.
    if text is None or "nr_periods" not in text:
        return None
    stat = files.parsed(file, text, _keyed(_CPU_KEYS))
    if stat is None or "nr_periods" not in stat:
        return None
    # v1 counts in nanoseconds, v2 in microseconds.
    throttled = stat.get("throttled_usec", 0) / 1e6 + stat.get("throttled_time", 0) / 1e9
    return CpuTime(stat["nr_periods"], stat.get("nr_throttled", 0), throttled, file)


def read_cpusets(files: Files, chain: Chain) -> tuple[Found[int], ...]:
    """
    Return how many CPUs the cpusets that bind this process allow; the *effective* file where there is one.

    On v2 that is the nearest level which has one. Its ancestors have had their say in it, and are not asked: a
    partition's CPUs are taken out of the effective list of every cgroup above it (cgroup-v2.rst,
    "cpuset.cpus.partition"). v1 has no partitions, and a child's list is always within its parent's (cpusets.rst).
    """
    if chain.version == "v2":
        # An ancestor at an unknown distance may be above a partition that we are in.
        found = _cpusets(files, chain, ("cpuset.cpus.effective",)) if chain.own else ()
        return tuple(islice(found, 1))
    return tuple(_cpusets(files, chain, ("cpuset.effective_cpus", "cpuset.cpus")))


def _cpusets(files: Files, chain: Chain, names: tuple[str, ...]) -> Iterator[Found[int]]:
    for place in chain.places:
        for name in names:
            file = f"{place.directory}/{name}"
            count = files.value(file, parse.parse_cpu_list)
            if count is not None:
                yield Found(count, file, place.height)
                break


def read_memory_levels(files: Files, chain: Chain) -> tuple[MemoryLevel, ...]:
    """
    Return the memory limits along the chain, leaf first.

    A v1 ancestor whose ``memory.use_hierarchy`` is 0 (possible before Linux 5.11) does not bind its children, and then
    neither does any above it.
    """
    levels: list[MemoryLevel] = []
    for place in chain.places:
        file = f"{place.directory}/{_HARD[chain.version]}"
        text = files.text(file)
        hard = None if text is None else files.parsed(file, text, parse.parse_bytes_limit)
        if chain.version == "v2":
            high = files.value(f"{place.directory}/{_HIGH}", parse.parse_bytes_limit)
        else:
            high = None
            # Asked only where the answer matters: a file costs as much as all the arithmetic here.
            if place.height and hard is not None and not _binds_children(files, place):
                break
        levels.append(MemoryLevel(place, chain.version, hard, high, stated=text is not None))
    return tuple(levels)


def _binds_children(files: Files, place: Place) -> bool:
    return files.value(f"{place.directory}/memory.use_hierarchy", parse.parse_flag) is not False


def read_hidden_limit(files: Files, chain: Chain) -> Found[int] | None:
    """
    Return v1's ``hierarchical_memory_limit``: the least limit of all ancestors, those not mounted here included.

    v2 has nothing like it.
    """
    if chain.version != "v1" or not chain.own:
        return None
    return _hidden_limit(chain.places[0], _memory_stat(files, "v1", chain.places[0]))


def _hidden_limit(place: Place, stat: Mapping[str, int]) -> Found[int] | None:
    limit = stat.get("hidden_limit")
    if limit is None or parse.parse_bytes_limit(str(limit)) is None:
        return None
    return Found(limit, f"{place.directory}/memory.stat (hierarchical_memory_limit)", place.height)


def _memory_stat(files: Files, version: str, place: Place) -> Mapping[str, int]:
    """Return memory.stat under our names, empty if it says nothing."""
    raw = files.value(f"{place.directory}/memory.stat", _keyed(_STAT_KEYS[version])) or _NOTHING
    return {name: raw[key] for name, key in _STAT[version].items() if key in raw}


def _keyed(wanted: frozenset[str]) -> Callable[[str], dict[str, int]]:
    return lambda text: parse.parse_flat_keyed(text, wanted)


def read_swap_limits(files: Files, levels: tuple[MemoryLevel, ...]) -> tuple[Found[int], ...]:
    """Return the limits on swap along the chain, in bytes; v1 limits both together, so memory is taken off."""
    found = []
    for level in levels:
        file = f"{level.place.directory}/{_SWAP[level.version]}"
        limit = files.value(file, parse.parse_bytes_limit)
        if limit is not None and level.version == "v1":
            limit = max(0, limit - level.hard) if level.hard is not None else None
        if limit is not None:
            found.append(Found(limit, file, level.place.height))
    return tuple(found)


def read_oom_group(files: Files, levels: tuple[MemoryLevel, ...]) -> Found[bool] | None:
    """
    Return whether an OOM kill takes the whole cgroup and not one process; None where the kernel cannot (v1).

    The highest level that has ``memory.oom.group`` set decides (cgroup-v2.rst).
    """
    answer: Found[bool] | None = None
    for level in levels:
        if level.version == "v2":
            file = f"{level.place.directory}/memory.oom.group"
            flag = files.value(file, parse.parse_flag)
            if flag is not None and (flag or answer is None):
                answer = Found(flag, file, level.place.height)
    return answer


def read_memory_use(files: Files, version: str, place: Place) -> MemoryUse | None:
    """Return what a cgroup uses now, None if its counter cannot be read."""
    file = f"{place.directory}/{_CURRENT[version]}"
    current = files.value(file, parse.parse_count)
    if current is None:
        return None
    stat = _memory_stat(files, version, place)
    if not stat:
        files.note(f"{place.directory}/memory.stat: says nothing, so page cache counts as used")
    return MemoryUse(place, file, current, stat, _hidden_limit(place, stat))


def read_refaults(files: Files, version: str, place: Place) -> int | None:
    """Return how many pages of files a cgroup has fetched again that it had before; None where nobody counts."""
    keys = _REFAULTS[version]
    counts = files.value(f"{place.directory}/memory.stat", _keyed(frozenset(keys))) or _NOTHING
    return next((counts[key] for key in keys if key in counts), None)


def read_memory_events(files: Files, version: str, place: Place) -> tuple[Mapping[str, int], str]:
    """Return what happened to a cgroup since it was made (``high``, ``max``, ``oom``, ``oom_kill``), and the file."""
    file = f"{place.directory}/{_EVENTS[version]}"
    events = files.value(file, _keyed(_EVENT_KEYS)) or _NOTHING
    if version == "v1":
        hits = files.value(f"{place.directory}/memory.failcnt", parse.parse_count)
        events = {**events, "max": hits} if hits is not None else events
    return events, file


def read_pids_levels(files: Files, chain: Chain) -> tuple[PidsLevel, ...]:
    """Return the limits on tasks along the chain, leaf first; the use of the leaf and of levels with a limit."""
    levels = []
    for number, place in enumerate(chain.places):
        limit = files.value(f"{place.directory}/pids.max", parse.parse_pids_max)
        wanted = limit is not None or number == 0
        current = files.value(f"{place.directory}/pids.current", parse.parse_count) if wanted else None
        levels.append(PidsLevel(place, limit, current))
    return tuple(levels)


def read_processes(files: Files, chain: Chain) -> tuple[int, ...]:
    """Return the processes in the process's own cgroup; those of another PID namespace (0) are left out."""
    text = files.text(f"{chain.places[0].directory}/cgroup.procs") or ""
    return tuple(
        int(line)
        for line in text.split("\n")
        if line.isascii() and line.isdigit() and 0 < len(line) < 11 and line != "0"
    )


def read_pressure(files: Files, chain: Chain, name: str) -> Found[Mapping[str, float]] | None:
    """Return the stall times of the nearest level that has the PSI file *name*, such as ``memory.pressure``."""
    for place in chain.places:
        file = f"{place.directory}/{name}"
        stalls = files.value(file, parse.parse_pressure)
        if stalls is not None:
            return Found(stalls, file, place.height)
    return None
