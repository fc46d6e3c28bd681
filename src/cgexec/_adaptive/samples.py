"""What a controller sees: counters at one instant, and what happened between two of them. Pure."""

from typing import NamedTuple

__all__ = ["Sample", "View", "between"]


class Sample(NamedTuple):
    """
    A pool and its CPUs at one instant. Counters only ever rise; times are in seconds, *time* is monotonic.

    Attributes:
        running: tasks that run; *idle* threads wait for one, *waiting* tasks wait for a thread.
        ended: tasks that have ended, and *task_seconds* the time spent in them.
        cpu_seconds: CPU time of this process. Not the container's: one does not give way to foreign load.
        own_seconds: CPU time of the pool's threads alone, which is what a size can be judged by; None is unknown, then
            all of it is taken for theirs.
        cpus: how many CPUs this process may use.
        floor, ceiling: the sizes it may have.
        periods: quota periods so far, and *throttled* those in which the quota ran out; None without a quota.
        queued: seconds for which threads of ours were ready and had no CPU, summed over threads; None is unknown.
        some: *queued* is the time in which any thread waited (as PSI tells it), so never more than 1 a second.
        locked: the share of the time in which the interpreter lock is taken; None is unknown.
        held: memory holds tasks back. *shut*: the memory gate is closed.
    """

    time: float
    running: int
    idle: int
    waiting: int
    ended: int
    task_seconds: float
    cpu_seconds: float
    cpus: float
    floor: int
    ceiling: int
    periods: int | None = None
    throttled: int | None = None
    queued: float | None = None
    held: bool = False
    shut: bool = False
    some: bool = False
    own_seconds: float | None = None
    locked: float | None = None


class View(NamedTuple):
    """
    What happened between two samples.

    Attributes:
        cpu: CPUs used by the process, and *load* that as a share of those that may be used.
        own: CPUs used by the pool's own threads.
        throttled: the share of quota periods in which the quota ran out; None without a quota.
        queued: threads that were ready and had no CPU, on average; None if that is unknown.
        some: *queued* is the share of the time in which there was any.
        mean: seconds that a task took; None if none ended.
        locked: the sample's.
    """

    seconds: float
    ended: int
    cpu: float
    load: float
    throttled: float | None
    queued: float | None
    mean: float | None
    own: float
    some: bool = False
    locked: float | None = None

    @property
    def asked(self) -> float:
        """CPUs that the process would have used, had there been no waiting for them; at least that many."""
        return self.cpu + (self.queued or 0.0)

    @property
    def demand(self) -> float:
        """The pool's part of that. Of the waiting it has the part that it has of the use."""
        return self.own / self.cpu * self.asked if self.cpu else self.asked

    @property
    def rate(self) -> float:
        """Tasks that ended in a second."""
        return self.ended / self.seconds


def between(old: Sample, new: Sample) -> View:
    """Return what happened from one sample to a later one."""
    seconds = max(new.time - old.time, 1e-9)
    cpu = max(0.0, new.cpu_seconds - old.cpu_seconds) / seconds
    ended = max(0, new.ended - old.ended)
    throttled = None
    if None not in (old.periods, old.throttled, new.periods, new.throttled):
        assert old.periods is not None and old.throttled is not None  # noqa: PT018  # for type checkers
        assert new.periods is not None and new.throttled is not None  # noqa: PT018
        # The counters start again when the process is moved to another cgroup.
        throttled = max(0.0, min(1.0, (new.throttled - old.throttled) / max(1, new.periods - old.periods)))
    queued = None
    if old.queued is not None and new.queued is not None:
        queued = max(0.0, new.queued - old.queued) / seconds
    return View(
        seconds=seconds,
        ended=ended,
        cpu=cpu,
        load=cpu / new.cpus,
        throttled=throttled,
        queued=queued,
        mean=(new.task_seconds - old.task_seconds) / ended if ended else None,
        own=_own(old, new, cpu, seconds),
        some=new.some,
        locked=new.locked,
    )


def _own(old: Sample, new: Sample, cpu: float, seconds: float) -> float:
    if old.own_seconds is None or new.own_seconds is None:
        return cpu
    return min(cpu, max(0.0, new.own_seconds - old.own_seconds) / seconds)
