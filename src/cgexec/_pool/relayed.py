"""A call that another executor runs: our future in front of that executor's."""

from concurrent.futures import CancelledError, Future, InvalidStateError
from threading import Lock, get_ident
from typing import Any, Protocol

from cgexec._pool.records import Worker
from cgexec._pool.task import CANCELLED, COMPLETED, FAILED, RUNNING, Task, TaskCancelled, is_a

__all__ = ["Flight", "Landing", "Relayed", "RelayedHere"]


class Landing(Protocol):
    """Who is told that a call has ended."""

    def landed(self, flight: "Flight") -> None:
        """Give the outcome to our future, and go on with the permit. Called once for each flight."""


class Flight:
    """
    A call handed to the other executor. Called by that one's future when it is done, by any thread, and possibly more
    than once: `claim` lets the first pass.

    A future that is done already when the callback is added calls it at once, on the thread that adds it. Then
    *landed_here* says so, and whoever handed the call over goes on in its own loop: otherwise an executor that runs
    everything at once would have each task start the next, deeper and deeper.
    """

    __slots__ = ("_adder", "_claim", "canceller", "inner", "landed_here", "owner", "permit", "task", "to")

    def __init__(self, to: Landing, permit: Worker, task: "Relayed") -> None:
        self.to = to
        self.permit = permit
        self.task = task
        self.inner: Future[Any] | None = None
        self.canceller = 0  # the thread that is in our own future's cancel()
        self.landed_here = False
        self.owner = 0  # the thread that claimed it
        self._adder = 0
        self._claim = Lock()

    def follow(self, inner: Future[Any]) -> bool:
        """Wait for the other executor's future; True if it has ended and the permit is the caller's to go on with."""
        self.inner = inner
        self._adder = get_ident()
        inner.add_done_callback(self)
        self._adder = 0
        return self.landed_here and self.claim()

    def claim(self) -> bool:
        """Return whether the caller is the first that has seen the end."""
        if self._claim.acquire(False):
            self.owner = get_ident()
            return True
        return False

    def __call__(self, _: Future[Any]) -> None:
        if self._adder == get_ident():
            self.landed_here = True
        elif self.claim():
            self.to.landed(self)

    def cancel(self) -> bool:
        """Cancel it at the other executor, if that can."""
        inner = self.inner  # looked at once: it is let go when the call ends
        if inner is None:
            return False
        self.canceller = get_ident()
        try:
            return inner.cancel()
        finally:
            self.canceller = 0


class Relayed(Task):
    """
    A `Task` that another executor runs. Our future stays pending until that one's is done: only so can it be cancelled
    while the call waits over there.
    """

    flight: Flight | None = None
    stoppable = False

    def end_like(self, inner: Future[Any]) -> int:
        """End as the other executor's future has, and return how."""
        try:
            error = inner.exception()
        except CancelledError:
            self.end(None)
            return CANCELLED
        self.fn = None
        self.args = ()
        if self.kwargs is not None or self.extra is not None:
            self.drop_call()
        try:
            if error is None:
                self.set_result(inner.result())
                return COMPLETED
            self.set_exception(error)
        except InvalidStateError:
            # Cancelled from the middle of a locked part, while it was handed over: who waits has not been told.
            self.end(None)
            return self.outcome()
        return CANCELLED if self.stop and is_a(error, TaskCancelled) else FAILED

    def is_on_its_way(self) -> bool:
        """Return whether it has not ended, and the other executor has not taken it yet."""
        flight = self.flight
        return self.fn is not None and (flight is None or flight.inner is None)  # the function is let go at the end

    def running(self) -> bool:
        """Return whether the other executor says that it runs, or the submitter runs it."""
        flight = self.flight
        if flight is None:
            return super().running()
        inner = flight.inner
        return inner is not None and inner.running()

    def cancel(self) -> bool:
        """
        Cancel the call: one that waits here at once, one that was handed over if the other executor can.

        Unlike `Task.cancel` it first takes the task out and then cancels the future: what has been handed over in
        between must not count as cancelled.
        """
        chores = self.home.cancelled(self)
        if not isinstance(chores, list):  # from the middle of a locked part: nobody else takes it out now
            return self.place != RUNNING and super().cancel()
        if chores:
            for chore in chores:
                chore()
            return True
        flight = self.flight
        return self.cancelled() if flight is None else flight.cancel()


class RelayedHere(Relayed):
    """One that a thread of this interpreter runs, where `checkpoint` finds it."""

    stoppable = True
