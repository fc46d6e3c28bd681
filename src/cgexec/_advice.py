"""What will hurt: the things about limits, requests and use that a person would want to be told. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from cgexec._limits import Limits
from cgexec._naming import cpu_bound, memory_bound
from cgexec._quantity import format_bytes, format_cpus, format_times
from cgexec._sizing import CAP, Sizing
from cgexec._usage import Usage
from cgexec._workload import Workload

__all__ = ["Siblings", "advice", "throttled_share"]

# A limit this many times the request is a promise the node does not make.
_FAR_ABOVE = 4
# Below this a single Python thread is stopped in most periods.
_SMALL_QUOTA = 0.5
_MUCH_THROTTLED = 0.25
# Too few periods say nothing.
_LEAST_PERIODS = 20


class Siblings(NamedTuple):
    """Processes of one program with one parent that share the container: a server's workers."""

    processes: int
    name: str
    parent: int


def throttled_share(usage: Usage) -> float | None:
    """Return the share of quota periods that were throttled, None if it is not known or nothing ran yet."""
    if not usage.nr_periods or usage.nr_throttled is None:
        return None
    return usage.nr_throttled / usage.nr_periods


def advice(
    limits: Limits, usage: Usage, sizing: Sizing, work: Workload, siblings: tuple[Siblings, ...] = ()
) -> Iterator[str]:
    """Yield a sentence for each thing that will hurt, the worst first."""
    if usage.oom_kills:
        yield f"the kernel has killed {usage.oom_kills} process(es) here for want of memory"
    yield from _about_memory(limits, usage)
    yield from _about_cpus(limits, usage)
    pids = sizing.terms["pids"]
    if pids is not None and pids <= sizing.ceiling < CAP:
        left = limits.pids_limit if usage.pids_headroom is None else usage.pids_headroom
        source = usage.sources.get("pids_headroom") or limits.sources.get("pids_limit")
        yield f"only {max(0, left or 0)} more tasks (threads count) may be started: {source}"
    for group in siblings:
        if work.processes < group.processes:
            total = group.processes * sizing.max_workers
            yield (
                f"{group.processes} {group.name} processes (children of {group.parent}) share this container: with "
                f"{sizing.max_workers} workers each that is {total}; set CGEXEC_PROCESSES={group.processes} to divide"
            )


def _about_memory(limits: Limits, usage: Usage) -> Iterator[str]:
    request = limits.memory_request
    if request is not None:
        # What others in a shared level use is no use of this pod's request.
        if usage.level_is_own and usage.working_set_bytes > request:
            yield (
                f"use ({format_bytes(usage.working_set_bytes)}) is above the memory request of {format_bytes(request)}"
                ": this pod is among the first to be evicted when the node runs short"
            )
        times = limits.memory_bytes / request
        if times >= _FAR_ABOVE:
            yield (
                f"{memory_bound(limits)} is {format_times(times)} times the request: above {format_bytes(request)} the "
                "node has promised nothing, and a pod that uses more is evicted when the node runs short"
            )
    if limits.oom_group:
        yield "an OOM kill takes every process of this container, not one (memory.oom.group)"


def _about_cpus(limits: Limits, usage: Usage) -> Iterator[str]:
    if limits.cpu_request is not None and limits.cpus / limits.cpu_request >= _FAR_ABOVE:
        yield (
            f"{cpu_bound(limits)} is {format_times(limits.cpus / limits.cpu_request)} times the request: on a busy "
            f"node this container may get {format_cpus(limits.cpu_request)} of its {format_cpus(limits.cpus)}"
        )
    if limits.cpu_quota is not None and limits.cpu_quota < _SMALL_QUOTA:
        yield (
            f"a quota of {format_cpus(limits.cpu_quota)} stops every thread once together they have run for "
            f"{limits.cpu_quota * 100:.3g} % of a period; an event loop stops with them"
        )
    share = throttled_share(usage)
    if share is not None and share >= _MUCH_THROTTLED and (usage.nr_periods or 0) >= _LEAST_PERIODS:
        yield f"{share:.0%} of the quota's periods were throttled: more workers will not make it faster"
