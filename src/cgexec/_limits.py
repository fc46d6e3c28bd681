"""
`Limits`: what the container allows, from what was seen. Pure but for `limits()`, which takes the snapshot.

The rule for every controller is the kernel's top-down constraint (cgroup-v2.rst): the tightest limit along the path
holds. *Effective* here means "after the ancestors had their say", which in a v2 cpuset they have had already.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from cgexec._environ import Told, read_environ
from cgexec._kernel.files import Files, printable
from cgexec._kernel.host import ASSUMED
from cgexec._kernel.levels import Found
from cgexec._quantity import format_bytes, format_cpus
from cgexec._snapshot import Snapshot, take_snapshot

__all__ = ["IGNORED", "Limits", "derive_limits", "limits"]

T = TypeVar("T", int, float)

# How the source of a quota begins that binds other threads, and not those that run in real time.
IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What this process may use, effective after all visible ancestors. Immutable, picklable, safe to share.

    ``None`` means *no limit*; what could not be read is in `notes`. Sizes are bytes, CPUs are a float.

    Attributes:
        cpus: CPUs that may really be used: the least of quota, cpuset, affinity and host, or what was told instead.
        cpu_quota: the quota the kernel enforces by throttling.
        cpu_set: CPUs this process may run on (cpuset and affinity), whatever the quota.
        memory_bytes: what to plan with: the least of hard limit, ``memory.high`` and host; or what was told, which
            replaces the last two and is never above the first.
        memory_limit: the hard limit; above it the kernel kills.
        memory_high: the v2 limit above which every allocation is throttled.
        swap_limit: how much of it may be swapped out. Reported; never counted as room.
        oom_group: whether an OOM kill takes the whole cgroup; None where the kernel has no such switch.
        pids_limit: how many tasks (threads count) the tightest level allows.
        address_space_limit: the soft RLIMIT_AS of this process. It bounds threads, never `memory_bytes`.
        cpu_request: the CPU request, only when told: inside a container it cannot be seen.
        memory_request: the memory request in bytes, only when told.
        cgroup_version: by what is mounted: ``"v1"``, ``"v2"``, ``"hybrid"``, or None for no cgroup mount.
        sources: for each value the file, level or variable it came from. Do not change it.
        notes: what could not be read, what is odd, and what will hurt, a sentence each.
    """

    cpus: float
    cpu_quota: float | None
    cpu_set: int
    memory_bytes: int
    memory_limit: int | None
    memory_high: int | None
    swap_limit: int | None
    oom_group: bool | None
    pids_limit: int | None
    address_space_limit: int | None
    cpu_request: float | None
    memory_request: int | None
    cgroup_version: Literal["v1", "v2", "hybrid"] | None
    # A plain dict, so that a Limits can be pickled to another machine; hence no part in the hash.
    sources: Mapping[str, str] = field(hash=False)
    notes: tuple[str, ...]

    @property
    def cpus_bound(self) -> bool:
        """Whether somebody decided how many CPUs are ours: a quota, a cpuset, affinity, or a variable."""
        return self.cpu_quota is not None or self.sources.get("cpus") != "host"


def limits(*, root: str | os.PathLike[str] = "/") -> Limits:
    """
    Return what this process may use, read now; nothing is cached. Takes less than a millisecond; any thread may call.

    Args:
        root: where the kernel's files are found. For another root than ``/`` only the files below it speak: neither the
            environment nor this machine is asked.

    Raises:
        ValueError: a ``CGEXEC_*`` variable holds nonsense, or *root* is no directory. Never for what a file holds.
    """
    files = Files(os.fspath(root))
    return derive_limits(take_snapshot(files), _told() if files.is_this_machine else Told())


def _told() -> Told:
    xoptions = sys._xoptions  # noqa: SLF001  # its documented name
    return read_environ(os.environ, xoptions, ignore_environment=bool(sys.flags.ignore_environment))


def derive_limits(seen: Snapshot, told: Told) -> Limits:
    """Return the meaning of what was seen and told. Pure."""
    notes = [*seen.notes, *told.notes]
    sources: dict[str, str] = {}
    quota = _quota(seen, sources, notes)
    cpu_set = _cpu_set(seen, told, sources)
    cpus = _cpus(quota, cpu_set, told, sources, notes)
    hard = _hard_limit(seen, sources)
    high = _tightest(
        "memory_high",
        (Found(v.high, f"{v.place.directory}/memory.high", v.place.height) for v in seen.memory if v.high is not None),
        sources,
        seen.searched["memory"],
    )
    memory = _memory(seen, hard, high, told, sources, notes)
    limits = Limits(
        cpus=cpus,
        cpu_quota=quota,
        cpu_set=cpu_set,
        memory_bytes=memory,
        memory_limit=hard,
        memory_high=high,
        swap_limit=_tightest("swap_limit", seen.swap, sources, "none set, or no swap accounting"),
        oom_group=None if seen.oom_group is None else seen.oom_group.value,
        pids_limit=_tightest("pids_limit", seen.pids, sources, seen.searched["pids"]),
        address_space_limit=seen.host.address_space_limit,
        cpu_request=told.cpu_request,
        memory_request=told.memory_request,
        cgroup_version=seen.version,
        sources=sources,
        notes=(),
    )
    sources["oom_group"] = _where(seen.oom_group) if seen.oom_group else "the kernel has no memory.oom.group here"
    sources["address_space_limit"] = "RLIMIT_AS"
    sources["cpu_request"] = "CGEXEC_CPU_REQUEST" if told.cpu_request is not None else "not told (CGEXEC_CPU_REQUEST)"
    sources["memory_request"] = (
        "CGEXEC_MEMORY_REQUEST" if told.memory_request is not None else "not told (CGEXEC_MEMORY_REQUEST)"
    )
    notes += _platform_notes(seen, told, limits)
    notes += request_notes(limits)
    return _with_notes(limits, notes)


def _with_notes(limits: Limits, notes: list[str]) -> Limits:
    return replace(limits, notes=tuple(dict.fromkeys(notes)))


def _where(found: Found[T] | Found[bool]) -> str:
    """Name the file and, if it is an ancestor's, how far up it stands."""
    file = printable(found.file)
    if found.height == 0:
        return file
    return f"{file} ({found.height} level{'s' if found.height > 1 else ''} above the process's own cgroup)"


def _tightest(name: str, found: Iterable[Found[T]], sources: dict[str, str], otherwise: str) -> T | None:
    """Return the least value, having written down where it stands; None if there is none."""
    least = min(found, key=lambda one: one.value, default=None)
    sources[name] = otherwise if least is None else _where(least)
    return None if least is None else least.value


def _quota(seen: Snapshot, sources: dict[str, str], notes: list[str]) -> float | None:
    found = list(seen.cpu_quotas)
    if seen.host.job is not None and seen.host.job.cpu_share is not None:
        found.append(Found(seen.host.job.cpu_share * seen.host.cpus, "job object (CPU rate)", 0))
    quota = _tightest("cpu_quota", found, sources, seen.searched["cpu"])
    if quota is not None and seen.host.realtime is not None:
        notes.append(
            f"this thread runs under {seen.host.realtime}: the CPU quota of {format_cpus(quota)} does not apply to it "
            "and to threads it starts"
        )
        sources["cpu_quota"] = f"{IGNORED} under {seen.host.realtime}"
        return None
    return quota


def _cpu_set(seen: Snapshot, told: Told, sources: dict[str, str]) -> int:
    if told.python_cpu_count is not None:
        sources["cpu_set"] = told.python_cpu_count_source
        return told.python_cpu_count
    found = list(seen.cpusets)
    # The kernel narrows affinity with the cpuset, so affinity is asked first and wins a tie.
    if seen.host.affinity is not None:
        found.insert(0, Found(seen.host.affinity, "CPU affinity", 0))
    found = [one for one in found if one.value < seen.host.cpus]
    least = _tightest("cpu_set", found, sources, "host")
    return seen.host.cpus if least is None else least


def _cpus(quota: float | None, cpu_set: int, told: Told, sources: dict[str, str], notes: list[str]) -> float:
    if told.cpus is not None:
        sources["cpus"] = "CGEXEC_CPUS"
        if quota is not None and told.cpus > quota:
            notes.append(
                f"CGEXEC_CPUS={told.cpus:g} is above the quota of {format_cpus(quota)} ({sources['cpu_quota']}); "
                "the kernel throttles what goes beyond it"
            )
        elif told.cpus > cpu_set:
            notes.append(
                f"CGEXEC_CPUS={told.cpus:g} is above the {format_cpus(cpu_set)} to run on ({sources['cpu_set']}); no "
                "more run at the same time"
            )
        return told.cpus
    if quota is not None and quota <= cpu_set:
        sources["cpus"] = sources["cpu_quota"]
        return quota
    sources["cpus"] = sources["cpu_set"]
    return float(cpu_set)


def _hard_limit(seen: Snapshot, sources: dict[str, str]) -> int | None:
    found = [
        Found(level.hard, f"{level.place.directory}/{_hard_name(level.version)}", level.place.height)
        for level in seen.memory
        if level.hard is not None
    ]
    if seen.hidden_memory_limit is not None:
        found.append(seen.hidden_memory_limit)  # last, so that a visible file of the same value is the one named
    if seen.host.job is not None and seen.host.job.memory_limit is not None:
        found.append(Found(seen.host.job.memory_limit, "job object (memory limit)", 0))
    return _tightest("memory_limit", found, sources, seen.searched["memory"])


def _hard_name(version: str) -> str:
    return "memory.max" if version == "v2" else "memory.limit_in_bytes"


def _memory(
    seen: Snapshot, hard: int | None, high: int | None, told: Told, sources: dict[str, str], notes: list[str]
) -> int:
    """Return the memory to plan with. Somebody's word replaces the host's, but never a limit the kernel kills for."""
    candidates = [
        (value, sources[name]) for name, value in (("memory_limit", hard), ("memory_high", high)) if value is not None
    ]
    if told.memory is not None:
        candidates = [(told.memory, "CGEXEC_MEMORY")]
        if hard is not None and hard < told.memory:
            notes.append(
                f"CGEXEC_MEMORY={format_bytes(told.memory)} is above the limit of {format_bytes(hard)} "
                f"({sources['memory_limit']}), which the kernel enforces by killing; the limit is used"
            )
            candidates.append((hard, sources["memory_limit"]))
    else:
        candidates.append((seen.host.memory_bytes, seen.host.memory_source))
        if told.lambda_memory is not None:
            candidates.append((told.lambda_memory, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
    value, sources["memory_bytes"] = min(candidates, key=lambda one: one[0])
    if value > seen.host.memory_bytes and seen.host.memory_source != ASSUMED:
        notes.append(
            f"{sources['memory_bytes']}: {format_bytes(value)} is above the machine's memory of "
            f"{format_bytes(seen.host.memory_bytes)}; the kernel kills when that is used up"
        )
    return value


def _platform_notes(seen: Snapshot, told: Told, limits: Limits) -> list[str]:
    """Say where the files are known to be empty or to show the whole machine. Numbers are never made up from it."""
    missing = [
        words
        for words, absent in (
            (
                "memory limit (set CGEXEC_MEMORY)",
                limits.memory_limit is None and told.memory is None and told.lambda_memory is None,
            ),
            ("CPU limit (set CGEXEC_CPUS)", limits.cpu_quota is None and told.cpus is None),
        )
        if absent
    ]
    notes: list[str] = []
    if limits.memory_limit is None and limits.memory_high is None and _is_namespace_top(seen):
        notes.append(
            f"no memory limit is set in {seen.memory[-1].place.directory}, the top of what this process can see; a "
            "limit on a cgroup above it (of a pod, a slice or a batch job) would bind and not show"
        )
    if seen.host.gvisor:
        notes.append(
            "this is gVisor: the files are its own, and limits enforced outside the sandbox may not show in them"
        )
    if not missing:
        return notes
    what = " and no ".join(missing)
    if told.platform == "AWS Fargate":
        notes.append(f"on AWS Fargate a limit set for the task does not show inside: no {what} is visible")
    elif told.platform == "AWS Lambda":
        notes.append(f"on AWS Lambda the CPU follows the memory setting and is not told inside: no {what} is visible")
    elif told.platform == "Kubernetes":
        notes.append(
            f"no {what} is visible in this pod: either it has none, or it is set on a cgroup above, which a cgroup "
            "namespace hides"
        )
    elif told.platform is not None:
        notes.append(f"this looks like {told.platform}, whose limits do not always show inside: no {what} is visible")
    elif seen.host.gvisor:
        notes.append(f"no {what} is visible; the numbers are those gVisor shows for the machine")
    return notes


def _is_namespace_top(seen: Snapshot) -> bool:
    """Return whether the walk ended below v2's real root, which alone has no ``memory.max``. v1 tells hidden limits."""
    if not seen.memory or seen.memory[0].version != "v2":
        return False
    # Several mounts may show our cgroup; what matters is the one that shows most of its ancestors.
    height = max(level.place.height for level in seen.memory)
    return all(level.stated for level in seen.memory if level.place.height == height)


def request_notes(limits: Limits) -> list[str]:
    """Say which requests contradict the limits."""
    notes: list[str] = []
    if limits.cpu_request is not None and limits.cpu_request > limits.cpus:
        # Kubernetes knows the pod's own limit, and neither the machine nor what was told.
        refused = "Kubernetes refuses such a pod, so " if limits.cpus == limits.cpu_quota else ""
        notes.append(
            f"the CPU request of {format_cpus(limits.cpu_request)} is above the {format_cpus(limits.cpus)} that may be "
            f"used ({limits.sources.get('cpus', '')}); {refused}one of the two is mistaken"
        )
    if limits.memory_request is not None and limits.memory_request > limits.memory_bytes:
        notes.append(
            f"the memory request of {format_bytes(limits.memory_request)} is above the "
            f"{format_bytes(limits.memory_bytes)} that may be used ({limits.sources.get('memory_bytes', '')}); "
            "one of the two is mistaken"
        )
    return notes
