"""
What a cluster of workers may use, from what each of them read in its own container. Pure but for `read_here`, which
runs on the workers.

Workers that are bounded by one and the same thing (two in one container, two on one machine without a limit) share it,
and it is counted once.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cgexec._limits import Limits
from cgexec._limits import limits as read_limits
from cgexec._quantity import format_bytes
from cgexec._recommend import Recommendation, recommend
from cgexec._usage import Usage
from cgexec._usage import usage as read_usage

__all__ = ["ClusterLimits", "ClusterRecommendation", "WorkerLimits", "WorkerReport", "put_together", "read_here"]


class WorkerReport(NamedTuple):
    """What a worker says of itself. *machine* and *namespace* tell whether two of them mean the same by a path."""

    limits: Limits
    usage: Usage
    machine: str
    namespace: str


def read_here() -> WorkerReport:
    """Return the report of this process."""
    return WorkerReport(read_limits(), read_usage(), _machine(), _namespace())


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # no Linux
        import platform

        return platform.node()


def _namespace() -> str:
    # Docker's containers on v1 share the cgroup namespace, and see different cgroups at one path all the same.
    try:
        return " ".join(str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("cgroup", "mnt"))
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """
    One worker's own container.

    Attributes:
        address: of the worker, as the scheduler knows it.
        threads: how many calls it runs at once.
        limits: what `cgexec.limits` says there.
        usage: what `cgexec.usage` says there.
        cpus_shared_by: how many of the workers are bounded by the same CPUs, itself included.
        memory_shared_by: how many are by the same memory.
    """

    address: str
    threads: int
    limits: Limits
    usage: Usage
    cpus_shared_by: int
    memory_shared_by: int


@dataclass(frozen=True, slots=True)
class ClusterRecommendation:
    """
    How many calls a cluster should be given at once.

    Attributes:
        max_in_flight: the sum over the workers; at least 1, also without any: then the scheduler keeps the call.
        workers: each worker's part: what `cgexec.recommend` says for its container, and no more than its threads.
        reasons: the whole recommendation of each.
    """

    max_in_flight: int
    workers: Mapping[str, int] = field(hash=False)
    reasons: Mapping[str, Recommendation] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """
    What all workers together may really use.

    Attributes:
        cpus: the sum of their CPUs, what they share counted once.
        memory_bytes: the sum of their memory, likewise.
        threads: how many calls they run at once.
        workers: each one by its address.
        unreadable: workers that could not be asked, and why. They count for nothing.
    """

    cpus: float
    memory_bytes: int
    threads: int
    workers: Mapping[str, WorkerLimits] = field(hash=False)
    unreadable: Mapping[str, str] = field(default_factory=dict, hash=False)

    def recommend(self, **told: Any) -> ClusterRecommendation:
        """
        Return how many calls the cluster should be given at once; *told* goes to `cgexec.recommend`, for each worker.

        Raises:
            ValueError: as by `cgexec.recommend`.
        """
        if not self.workers:  # nonsense is refused all the same
            recommend(**told)
        reasons = {
            address: recommend(
                limits=worker.limits,
                usage=worker.usage,
                processes=max(worker.cpus_shared_by, worker.memory_shared_by),
                **told,
            )
            for address, worker in self.workers.items()
        }
        parts = {address: min(self.workers[address].threads, answer.max_workers) for address, answer in reasons.items()}
        return ClusterRecommendation(max(1, sum(parts.values())), parts, reasons)

    def explain(self) -> str:
        """Return a line for each worker."""
        count = len(self.workers)
        sums = f"{self.cpus:g} CPUs, {format_bytes(self.memory_bytes)}, {self.threads} threads"
        lines = [f"{count} worker{'' if count == 1 else 's'}: {sums}"]
        for address, worker in sorted(self.workers.items()):
            limits, sources = worker.limits, worker.limits.sources
            shared = max(worker.cpus_shared_by, worker.memory_shared_by)
            also = f", shared by {shared} workers" if shared > 1 else ""
            lines.append(
                f"  {address}: {limits.cpus:g} CPUs ({sources.get('cpus')}), {format_bytes(limits.memory_bytes)} "
                f"({sources.get('memory_bytes')}), {worker.threads} threads{also}"
            )
        lines += [f"  {address}: could not be asked: {why}" for address, why in sorted(self.unreadable.items())]
        return "\n".join(lines)


def put_together(threads: Mapping[str, int], answers: Mapping[str, Any]) -> ClusterLimits:
    """
    Return the limits of workers that have so many threads and gave these answers: a report, or an error.

    An answer of one without threads is passed over: it came in between, and is there when they are asked again.
    """
    answers = {address: answer for address, answer in answers.items() if address in threads}
    reports = {address: answer for address, answer in answers.items() if isinstance(answer, WorkerReport)}
    cpus = {address: _bound(report, "cpus") for address, report in reports.items()}
    memory = {address: _bound(report, "memory_bytes") for address, report in reports.items()}
    by_cpus, by_memory = Counter(cpus.values()), Counter(memory.values())
    workers = {
        address: WorkerLimits(
            address,
            threads[address],
            report.limits,
            report.usage,
            by_cpus[cpus[address]],
            by_memory[memory[address]],
        )
        for address, report in reports.items()
    }
    silent = {address: "it did not answer" for address in threads if address not in answers}
    failed = {address: repr(answer) for address, answer in answers.items() if address not in reports}
    return ClusterLimits(
        cpus=sum({cpus[address]: report.limits.cpus for address, report in reports.items()}.values()),
        memory_bytes=sum({memory[address]: report.limits.memory_bytes for address, report in reports.items()}.values()),
        threads=sum(worker.threads for worker in workers.values()),
        workers=workers,
        unreadable={**silent, **failed},
    )


def _bound(report: WorkerReport, what: str) -> tuple[str, ...]:
    """Return what bounds the worker: the same for two that share it."""
    source = report.limits.sources.get(what, "")
    if not source.startswith(f"{os.sep}sys{os.sep}"):  # the machine's, or told: by variables that are the container's
        told = source.startswith("CGEXEC_")
        return (report.machine, source, report.namespace if told else "")
    return (report.machine, source, report.namespace)
