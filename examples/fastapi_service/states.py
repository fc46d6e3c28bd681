"""What can become of a job. Pure: times are handed in, nothing is stored."""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite
from typing import Any, NamedTuple

__all__ = ["FINAL", "Event", "Job", "State", "left", "moved", "reported"]


class State(StrEnum):
    """Where a job is. `MOVES` has the ways between them."""

    QUEUED = "queued"  # accepted, waits for a worker
    RUNNING = "running"
    OVERDUE = "overdue"  # runs longer than it should; goes on, since a thread cannot be ended from outside
    RETRYING = "retrying"  # an attempt failed; waits without a worker
    CANCELLING = "cancelling"  # was asked to end
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"  # the last attempt did
    INTERRUPTED = "interrupted"  # its process ended


FINAL = frozenset({State.CANCELLED, State.COMPLETED, State.FAILED, State.INTERRUPTED})
_ENDS = {State.COMPLETED, State.FAILED, State.INTERRUPTED}
_BUSY = _ENDS | {State.RETRYING, State.CANCELLING}
MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLING, State.FAILED, State.INTERRUPTED}),
    State.RUNNING: frozenset(_BUSY | {State.OVERDUE}),
    State.OVERDUE: frozenset(_BUSY),
    State.RETRYING: frozenset({State.QUEUED, State.CANCELLING, State.FAILED, State.INTERRUPTED}),
    # It may end by itself before it notices.
    State.CANCELLING: frozenset(_ENDS | {State.CANCELLED}),
    **{state: frozenset() for state in FINAL},
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored. Times are seconds since the epoch; *progress* is a percentage."""

    id: str
    owner: str  # the process that runs it
    created: float
    state: State = State.QUEUED
    attempt: int = 1
    progress: float = 0.0
    result: Any = None  # Any: whatever JSON can say
    error: str | None = None
    started: float | None = None  # this attempt
    ended: float | None = None

    @property
    def in_work(self) -> bool:
        """Whether an attempt has begun and the job has not ended."""
        return self.started is not None and self.ended is None


class Event(NamedTuple):
    """Something that happened to a job. *seq* grows over all jobs; the last event of a job has its result."""

    seq: int
    job: str
    at: float
    state: State
    attempt: int
    progress: float
    result: Any = None  # Any: as in `Job`
    error: str | None = None


def moved(job: Job, to: State, now: float, *, result: Any = None, error: str | None = None) -> Job | None:
    """Return the job in its new state, None if there is no way there from where it is."""
    if to not in MOVES[job.state]:
        return None
    if to is State.RUNNING:
        return replace(job, state=to, started=now, progress=0.0, error=None)
    if to is State.QUEUED:
        return replace(job, state=to, attempt=job.attempt + 1, started=None)
    if to in FINAL:
        progress = 100.0 if to is State.COMPLETED else job.progress
        return replace(job, state=to, ended=now, progress=progress, result=result, error=error)
    return replace(job, state=to, error=error)


def left(job: Job, now: float, error: str) -> Job | None:
    """Return the job as nobody works on it any more: cancelled if it was to be, else interrupted."""
    if job.state is State.CANCELLING:
        return moved(job, State.CANCELLED, now)
    return moved(job, State.INTERRUPTED, now, error=error)


def reported(job: Job, progress: float) -> Job | None:
    """Return the job with its progress, None if it is not running, or that is no number that JSON knows."""
    if job.state not in (State.RUNNING, State.OVERDUE, State.CANCELLING) or not isfinite(progress):
        return None
    return replace(job, progress=progress)
