"""The small records that the state machine hands around: workers, tickets, and why a pool is closed."""

from collections.abc import Callable
from enum import Enum
from threading import Lock, Thread
from typing import NamedTuple, Protocol

from cgexec._pool.task import AGAIN, CANCELLED, COMPLETED, RETURNED, STARVED, Task

__all__ = ["Change", "Chore", "Closed", "Closing", "Sleeper", "Tally", "Ticket", "Verdict", "Worker"]

# Something to do once the lock is free: end a future, wake a thread.
Chore = Callable[[], object]


class Verdict(Enum):
    """What the state machine answers where the answer is neither a task nor a worker to call."""

    FULL = "full"  # no place: the caller's policy decides
    CLOSED = "closed"  # no task is accepted any more
    TICK = "tick"  # accepted; somebody has to look again by time
    LOOK = "look"  # memory does not suffice, as far as is known: look at it, and ask again
    PARK = "park"  # nothing to do: wait to be called
    LEAVE = "leave"  # this worker is not needed any more
    NESTED = "nested"  # this very thread is in a locked part already: leave a note with `Admission.later`


class Closed(NamedTuple):
    """Why nothing is accepted any more, in the words that callers match on."""

    error: type[RuntimeError]
    text: str
    final: bool = False  # beats a reason given before

    def make(self, _: Task | None = None) -> RuntimeError:
        """Return the error, for a task or whoever asks."""
        return self.error(self.text)


class Change(NamedTuple):
    """A change of the pool's size: *when* is a monotonic time in seconds."""

    old: int
    new: int
    why: str
    when: float


class Sleeper(Protocol):
    """
    Who looks at a pool by time while it has work, and sleeps while it has none. *late*: from when on somebody else
    should look, in monotonic seconds.
    """

    asleep: bool
    late: float

    def wake(self) -> None:
        """Begin to look."""

    def stand_in(self) -> None:
        """Look, as the one whose turn it is did not come to it."""


class Ticket:
    """A blocked submitter's place in the line: *gate* is opened once *verdict*, written under the lock, is there."""

    __slots__ = ("gate", "verdict")

    def __init__(self) -> None:
        self.gate = Lock()
        self.gate.acquire()
        self.verdict: Verdict | None = Verdict.FULL  # None once the task has its place; CLOSED


class Closing(NamedTuple):
    """What `Admission.close` leaves to be done: tasks to cancel, tasks to fail, and what wakes whoever waits."""

    dropped: list[Task]
    refused: list[Task]
    chores: list[Chore]
    called: list["Worker"]


class Worker:
    """
    What the state machine knows of a thread. Changed under its lock but for three fields, each a benign race: *thread*
    is set by whoever starts it; *cpu_seconds* is written by the thread alone, and a reader may see the value of a
    moment ago; *handed* is cleared by the thread when it wakes, and one more wake does no harm.
    """

    __slots__ = (
        "called", "chores", "cpu_seconds", "errand", "handed", "ident", "looked", "number", "parked", "since",
        "starter", "task", "thread", "wake",
    )  # fmt: skip

    def __init__(self, starter: int) -> None:
        self.called = True  # on its way: called or being started, and has not asked yet
        self.handed = False  # has got a task while it was parked, and has not seen it
        self.looked = False  # at memory, before it asked again
        self.parked = False
        self.task: Task | None = None
        self.since = 0.0
        self.errand: Worker | None = None  # whom this worker should call or start
        self.chores: list[Chore] | None = None
        self.starter = starter  # the thread that has to start it
        self.thread: Thread | None = None
        self.ident = -2  # of its thread, which sets it
        self.number = 0
        self.cpu_seconds = 0.0
        self.wake = Lock()  # held; released to call the worker
        self.wake.acquire()


class Tally:
    """What was counted; under the state machine's lock."""

    __slots__ = (
        "_roll_ended", "_roll_seconds", "_rolled", "blocked_seconds", "cancelled", "completed", "cpu_seconds",
        "discarded", "ended_when_seen", "expired", "failed", "grown", "held_seconds", "memory_errors", "memory_retries",
        "over_bound", "overdue", "ran_in_caller", "rejected", "seen", "shrunk", "task_seconds", "would_hold",
    )  # fmt: skip

    # So many tasks make a mean that replaces the one before. Chosen by hand.
    ROLL = 20

    def __init__(self) -> None:
        self.completed = self.failed = self.cancelled = self.discarded = self.expired = 0
        self.overdue = self.over_bound = self.ran_in_caller = 0
        self.would_hold = 0
        self.grown = self.shrunk = 0  # changes of the size
        self.memory_errors = self.memory_retries = 0
        self.held_seconds = 0.0  # without the hold that lasts
        self.rejected: dict[str, int] = {}
        self.task_seconds = self.cpu_seconds = self.blocked_seconds = 0.0
        self.ended_when_seen, self.seen = 0, 0.0  # the tasks that had ended when somebody looked, and the time of that
        self._roll_ended, self._roll_seconds = 0, 0.0
        self._rolled: float | None = None

    def count(self, outcome: int) -> None:
        """Count a task that ended so, or will be run again."""
        if outcome in (STARVED, AGAIN):
            self.memory_errors += 1
        if outcome == AGAIN:
            self.memory_retries += 1
        elif outcome == COMPLETED:
            self.completed += 1
        elif outcome == CANCELLED:
            self.cancelled += 1
        elif outcome != RETURNED:
            self.failed += 1

    def mean_seconds(self) -> float | None:
        """
        Return how long a task takes, as measured of late; None if none has ended.

        The sums are kept for every task, the mean is made when somebody asks: over what ended since it was last made,
        once that is enough to tell.
        """
        ended = self.completed + self.failed
        fresh = ended - self._roll_ended
        if fresh >= self.ROLL or (self._rolled is None and fresh):
            mean = (self.task_seconds - self._roll_seconds) / fresh
            if fresh < self.ROLL:
                return mean
            self._rolled, self._roll_ended, self._roll_seconds = mean, ended, self.task_seconds
        return self._rolled
