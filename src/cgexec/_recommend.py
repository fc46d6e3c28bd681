"""`recommend()`: how many workers this container allows, and why."""

import os
import sys
from dataclasses import dataclass, fields
from typing import Literal

from cgexec._explain import explain
from cgexec._limits import Limits
from cgexec._limits import limits as read_limits
from cgexec._sizing import Sizing, size
from cgexec._usage import Usage
from cgexec._usage import usage as read_usage
from cgexec._workload import Workload, workload

__all__ = ["Recommendation", "gil_enabled", "recommend", "size_up"]


@dataclass(frozen=True, slots=True)
class Recommendation(Sizing):
    """A `Sizing` with what it was derived from: limits, usage and workload. Immutable and picklable."""

    limits: Limits
    usage: Usage
    workload: Workload

    def explain(self) -> str:
        """
        Return the reasons as plain text: every term and the one that bound, what the requests cover, what each worker
        may hold, and what would change the answer.
        """
        return explain(self, self.limits, self.usage, self.workload)


def recommend(
    *,
    memory_per_task: str | float | None = None,
    io_ratio: float | None = None,
    cpu_per_task: float | None = None,
    releases_gil: bool = True,
    processes: int | None = None,
    kind: Literal["thread", "process"] = "thread",
    reserve: str | float | None = None,
    basis: Literal["limit", "now", "request"] = "limit",
    limits: Limits | None = None,
    usage: Usage | None = None,
) -> Recommendation:
    """
    Return how many workers this container allows for such tasks. Takes about a millisecond; any thread may call it.

    Args:
        memory_per_task: the most that one task holds, in bytes or as a quantity (``"200Mi"``); None is unknown, and
            each thread then counts 256 KiB. For ``kind="process"`` what one worker process holds, its interpreter
            included.
        io_ratio: the share of a task's time in which it needs no CPU (it waits), from 0 up to but not including 1.
        cpu_per_task: the other spelling: ``1 - io_ratio``.
        releases_gil: whether what the tasks compute is done outside the interpreter lock (NumPy, hashing, compression);
            False for pure Python, whose threads share one CPU on a build with a GIL.
        processes: how many processes like this one share the container. Default: ``CGEXEC_PROCESSES``, else
            ``WEB_CONCURRENCY``, else 1.
        kind: ``"thread"``, or ``"process"`` for the workers of a process pool.
        reserve: what stays free, as a share of the limit below 1 or in bytes. Default: ``CGEXEC_RESERVE``, else 15 %
            and at least 32 MiB.
        basis: what memory is counted against: the ``"limit"``, the headroom of ``"now"``, or the memory ``"request"``.
        limits: taken from here instead of read.
        usage: taken from here instead of read.

    Raises:
        ValueError: an argument or a ``CGEXEC_*`` variable is out of range, or two contradict each other.
    """
    work = workload(
        memory_per_task=memory_per_task,
        io_ratio=io_ratio,
        cpu_per_task=cpu_per_task,
        releases_gil=releases_gil,
        gil=gil_enabled(),
        processes=processes,
        kind=kind,
        reserve=reserve,
        basis=basis,
        environ=os.environ,
    )
    return size_up(read_limits() if limits is None else limits, read_usage() if usage is None else usage, work)


def size_up(limits: Limits, usage: Usage, work: Workload) -> Recommendation:
    """
    Return the recommendation for what is known. Pure.

    Raises:
        ValueError: ``basis="request"``, and the memory request is not known.
    """
    if work.basis == "request" and limits.memory_request is None:
        raise ValueError(
            'basis="request" needs the memory request, which cannot be seen from inside: set CGEXEC_MEMORY_REQUEST=1Gi '
            '(the downward API gives it), or use basis="limit"'
        )
    sizing = size(limits, usage, work)
    numbers = {number.name: getattr(sizing, number.name) for number in fields(sizing)}
    return Recommendation(**numbers, limits=limits, usage=usage, workload=work)


def gil_enabled() -> bool:
    """Return whether this interpreter runs with a global lock now; a free-threaded build may be switched back to it."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
