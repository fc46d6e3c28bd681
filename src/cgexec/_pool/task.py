"""
A call handed to a pool: one object that is both the work item and the future the caller gets.

The future's own fields belong to the standard library and are used through its methods only.
"""

import errno
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextvars import Context
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeGuard, TypeVar

from cgexec._memory.fuse import fuse

if TYPE_CHECKING:
    from cgexec._pool.admission import Admission

__all__ = [
    "AGAIN",
    "ALONE",
    "CANCELLED",
    "COMPLETED",
    "FAILED",
    "GONE",
    "LINED",
    "PATIENCE",
    "RETURNED",
    "RUNNING",
    "STARVED",
    "WAITING",
    "Extra",
    "Task",
    "TaskCancelled",
    "is_a",
    "is_memory_error",
]

E = TypeVar("E", bound=BaseException)

# Where a task stands. Changed under the lock of its pool's state machine only.
LINED = 0  # its submitter waits for a place
WAITING = 1  # in the queue
RUNNING = 2  # taken by a worker, or ended by one
GONE = 3  # taken out before it ran: cancelled, discarded, expired

# How a run ended, as `Task.run` returns it.
COMPLETED = 1
FAILED = 2
CANCELLED = 3
STARVED = 4  # for want of memory
AGAIN = 5  # for want of memory; its future is open, and it is to be run again
RETURNED = 6  # it did not run, and its submitter was told: as if it had never been there

# Whose done-callbacks wake a coroutine: that of ``loop.run_in_executor`` and `asyncio.wrap_future`, and ours.
_AWAITING = frozenset({"asyncio.futures", "cgexec._pool.awaiting", "cgexec._pool.streaming"})

# A task that has run out of memory so often beside others is run alone the next time, and then for the last time.
ALONE = 3
# Alone in its process, but with others in the container: so many times more, with pauses that double.
PATIENCE = 6


class TaskCancelled(CancelledError):
    """Raised by `cgexec.checkpoint` inside a running task that was asked to end; its future then holds this error."""


def is_a(error: BaseException | None, kind: type[E]) -> TypeGuard[E]:
    """Return whether the error is of that kind, as `isinstance` does, which may run code of the error's own class."""
    return issubclass(type(error), kind)


def is_memory_error(error: BaseException) -> bool:
    """Return whether that is how a lack of memory shows: from an allocation, or from a system call."""
    return is_a(error, MemoryError) or (is_a(error, OSError) and error.errno == errno.ENOMEM)


class Extra(NamedTuple):
    """
    What only some calls have; times in seconds, None is "without end"; memory in bytes and whether to run again after
    a MemoryError, None is the pool's word.
    """

    context: Context | None = None
    queue_timeout: float | None = None
    run_timeout: float | None = None
    memory: int | None = None
    retry: bool | None = None


class Task(Future[Any]):  # the result is whatever the callable returns
    """
    A future with its call. *fn*, *args*, *home* and *since* are set when it is made, the rest where it differs. *place*
    is changed under the lock of *home*; everything else by one thread at a time: the submitter until the task is
    offered, then whoever moved it out of the queue.

    No ``__slots__``: beside the inherited ``__dict__`` they would cost CPython 3.13 its inline values.
    """

    fn: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any] | None = None  # None: no keyword arguments
    extra: Extra | None = None
    home: "Admission"
    place: int = LINED
    since: float  # monotonic time of the submit, in seconds
    overdue: bool = False  # was found to run longer than it should
    why: "Callable[[Task], BaseException] | None" = None  # what ends it, taken out before it ran; None: it is cancelled
    nested: bool = False  # submitted by a task of a pool, which may wait for it
    counted: Literal["", "expired", "failed"] = ""  # as what, taken out before it ran
    tries: int = 0  # runs that ended AGAIN
    apart: bool = False  # is to run with nothing beside it, after so many
    priced: object = None  # its function, see `anchor_of`, if it counted with something when it started
    # Set once, to True, by `cgexec.cancel`, and read by the task's own thread: a benign race, the next checkpoint sees
    # it.
    stop: bool = False
    stoppable = True  # runs where `checkpoint` finds it

    def run(self) -> int:
        """Run the call, end the future and return how it ended. A frame of its own: an error's traceback holds it."""
        if self.tries:
            if self.stop:
                self.end(None)
                return CANCELLED
        elif not self.set_running_or_notify_cancel():
            self.drop_call()
            return CANCELLED
        extra = self.extra
        try:
            assert self.fn is not None, "a task runs once"
            if extra is not None and extra.context is not None:
                result = extra.context.run(self.fn, *self.args, **(self.kwargs or {}))
            elif self.kwargs is None:
                result = self.fn(*self.args)
            else:
                result = self.fn(*self.args, **self.kwargs)
        except BaseException as error:  # noqa: BLE001  # whatever a task raises is its result, as in the stock pool
            outcome = self._outcome_of(error)
            if outcome != AGAIN:
                self.drop_call()
                self.set_exception(error)
            self = None  # type: ignore[assignment]  # noqa: PLW0642  # or: error, traceback, this frame, future, error
            return outcome
        self.fn = None
        self.args = ()
        if self.kwargs is not None:
            self.kwargs = None
        if extra is not None:
            self.extra = None
        self.set_result(result)
        return COMPLETED

    def _outcome_of(self, error: BaseException) -> int:
        """Return how a run ended that raised; let the reserve go first of all where it was for want of memory."""
        if not is_memory_error(error):
            return CANCELLED if self.stop and is_a(error, TaskCancelled) else FAILED
        fuse().give_out()
        retry = self.home.retry if self.extra is None or self.extra.retry is None else self.extra.retry
        last = ALONE + (PATIENCE if self.home.shared else 0)  # other processes may let memory go
        if not retry or self.tries >= last or self.place != RUNNING:  # or its submitter runs it
            return STARVED
        self.tries += 1
        return AGAIN

    def is_awaited(self) -> bool:
        """
        Return whether a thread waits for the future, in ``result()`` or in `concurrent.futures.wait`, or a coroutine
        does. Any other done-callback may wake somebody or only count: nobody can tell. Runs no user code.
        """
        if self._waiters or self._condition._waiters:  # type: ignore[attr-defined]  # noqa: SLF001
            return True
        callbacks: list[object] = self._done_callbacks  # type: ignore[attr-defined]
        return any(type(each) is FunctionType and each.__module__ in _AWAITING for each in callbacks)

    def outcome(self) -> int:
        """Return how the run ended, by what the future holds."""
        error = self.exception() if self.done() and not self.cancelled() else None
        if self.cancelled() or (self.stop and is_a(error, TaskCancelled)):
            return CANCELLED
        return COMPLETED if self.done() and error is None else FAILED

    def drop_call(self) -> None:
        """Let go of the function and its arguments; whoever keeps the future should not keep them."""
        self.fn = None
        self.args = ()
        self.kwargs = self.extra = None

    def cancel(self) -> bool:
        """Cancel the call if it has not started; its place is free at once. Any thread, signal handler or finalizer."""
        try:
            if not super().cancel():
                return False
        except BaseException:  # a done-callback's; the future is cancelled all the same
            if self.cancelled():
                self._leave()
            raise
        self._leave()
        return True

    def _leave(self) -> None:
        chores = self.home.cancelled(self)
        if isinstance(chores, list):
            for chore in chores:
                chore()
        else:  # called by the garbage collector or a signal in the middle of a locked part: the holder does it
            self.home.later(self._leave)

    def end(self, error: BaseException | None) -> None:
        """End a future that was taken out before it ran, with *error* or, where that is None, as cancelled."""
        self.drop_call()
        if self.tries:  # it ran, and was to run again
            self.set_exception(error or TaskCancelled("taken out before it was run again; it had run out of memory"))
            return
        # Only one who moved the task to GONE comes here, so the future is told once that it runs or is cancelled; of a
        # cancellation that tells `wait`, and so it must not be left out if a callback raises.
        if error is None:
            try:
                super().cancel()
            finally:
                if self.cancelled():
                    self.set_running_or_notify_cancel()
        elif self.running() or self.set_running_or_notify_cancel():  # running: an attempt was interrupted here
            self.set_exception(error)
