"""
What carries out the answers of the state machine, without the lock: common to threads (`crew`) and to permits for
another executor (`relay`).
"""

import math
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import Protocol

from cgexec._memory.footprints import Footprint
from cgexec._memory.fuse import fuse
from cgexec._memory.gauge import Reading
from cgexec._pool import endings, guard, life, mending, overdue, sizes, ticker
from cgexec._pool.admission import Admission
from cgexec._pool.here import here, works_for
from cgexec._pool.records import Chore, Closed, Closing, Sleeper, Worker
from cgexec._pool.taken import end_taken
from cgexec._pool.task import Task, is_a
from cgexec._settings import Care

__all__ = ["CANNOT_JOIN", "EXITING", "INSIDE", "RETRY", "SHUT_DOWN", "Hands", "do_all"]

# The words of the standard library, which programs and its own tests look for.
SHUT_DOWN = Closed(RuntimeError, "cannot schedule new futures after shutdown")
EXITING = Closed(RuntimeError, "cannot schedule new futures after interpreter shutdown")
CANNOT_JOIN = "cannot join current thread: it works for this pool, and would wait for itself"
INSIDE = (
    "this thread would wait for itself: a signal handler or a finalizer has interrupted it in the middle of a pool's "
    "own work, which goes on when that returns. Set a threading.Event there, and end the pool where it is waited for, "
    "or have another thread do so"
)
# Seconds until what could not be done is tried again: a thread that was refused, one more because nothing ended.
RETRY = 1.0
# Functions remembered of a pool, as in `_memory.footprints`.
_MOST = 2000


class Watching(Protocol):
    """Who looks at memory; *due* is when to do so, in monotonic seconds."""

    due: float

    @property
    def reading(self) -> Reading | None:
        """Memory at the last look, None where no limit was found."""

    def look(self, asking: Worker | None = None) -> None:
        """Look, and call whoever may start now."""


class _Nobody:
    """The watch of a pool that does not mind memory."""

    due = math.inf
    reading = None

    def look(self, asking: Worker | None = None) -> None:
        """Have seen nothing."""


_NOBODY = _Nobody()


class Hands:
    """
    Calls workers, and ends what the state machine took out. Thread-safe. Belongs to the state machine, never to the
    executor, which so can be collected while work goes on.
    """

    def __init__(self, state: Admission, name: str) -> None:
        self.state = state
        self.name = name
        self.watch: Watching = _NOBODY  # who looks at memory for it
        self.care = Care()
        self.sleeper: Sleeper | None = None  # who sizes it by the load
        self.shares_arena = False  # all that runs tasks allocates from one arena, as far as is known
        self.functions: set[Footprint] = set()  # whose calls were seen here; changed by whoever looks at memory
        life.register(self)

    def saw(self, footprint: Footprint) -> None:
        """Remember that calls of the function run here."""
        if len(self.functions) >= _MOST:
            self.functions = set()
        self.functions.add(footprint)

    def act(self, worker: Worker, task: Task | None = None) -> None:
        """
        Call the worker, or start it if it is new.

        Raises:
            Exception: *task*, which it was for, can be had done by nobody, and is not queued.
        """
        raise NotImplementedError

    def call_all(self, workers: Iterable[Worker], chores: Iterable[Chore] = ()) -> None:
        """Act for each of the workers, and do the chores."""
        do_all([*(partial(self.act, worker) for worker in workers), *chores])

    def mend(self) -> None:
        """Set right what an exception in the middle of a call may have left undone, though another comes meanwhile."""
        try:
            self.mend_once()
        except BaseException:
            self.mend_once()
            raise

    def mend_once(self) -> None:
        """Count again, and call whom this thread had to call."""
        self.mend_for(threading.get_ident())

    def mend_for(self, starter: int | None) -> None:
        """Count again, and call whom that thread had to call, or with None everybody who is called."""
        if is_a(sys.exception(), MemoryError):
            fuse().give_out(everything=here.worker is None)
        workers = mending.mend(self.state, starter)
        if isinstance(workers, list):
            do_all([partial(self.call_all, workers), partial(end_taken, self.state)])

    def close(
        self, why: Closed = SHUT_DOWN, *, drop: bool = False, note: Callable[[Task], object] | None = None
    ) -> bool:
        """
        Accept nothing more; cancel what waits if *drop*, after *note* was called with it.

        Returns:
            False if that is done a little later: the caller has interrupted a locked part, and must not wait for it.
        """
        closing = endings.close(self.state, why, drop="cancelled" if drop else None, note=note)
        if not isinstance(closing, Closing):
            self.state.later(partial(self.close, why, drop=drop))
            return False
        do_all([partial(self.call_all, closing.called, closing.chores), partial(end_taken, self.state)])
        return True

    def break_down(self, why: Closed) -> None:
        """Accept nothing more, and have what waits fail with the reason."""
        closing = endings.close(self.state, why, drop="failed")
        assert isinstance(closing, Closing), "whoever finds it broken interrupts nobody"
        self.call_all(closing.called, closing.chores)
        end_taken(self.state)

    def close_at_exit(self) -> None:
        """Let what waits be finished and idle workers go: the interpreter is about to join them."""
        self.close(EXITING)

    def after_fork(self) -> None:
        """Be closed for good: whatever waits and runs is the parent's."""
        self.forget_parent(None)

    def forget_parent(self, forker: Worker | None) -> None:
        """Keep nothing of the parent process but the worker that forked, if one did."""
        mending.after_fork(self.state, Closed(RuntimeError, life.FORKED, final=True), forker)

    def threads(self, *, leaving: bool = False) -> set[threading.Thread]:  # noqa: ARG002  # what is for those who have
        """Return the threads to join; with *leaving* also those that have just been let go."""
        return set()

    def is_worker(self) -> bool:
        """Return whether the current thread works for this pool, and so must not wait for its end."""
        return works_for(self.state)  # not by its threads: a child process that a worker forked has none of them

    def is_inside(self) -> bool:
        """Return whether the current thread was interrupted in a part of this pool, or of another, that others need."""
        return guard.is_inside()

    def look_after(self, seconds: float) -> None:
        """Have `tick` called in so many seconds, or sooner."""
        ticker.call_at(self, monotonic() + seconds)

    def expect_end(self, task: Task) -> None:
        """Look after a task that starts, if it should not run for long."""
        if task.extra is not None and task.extra.run_timeout is not None:
            self.look_after(task.extra.run_timeout)

    def tick(self, now: float) -> float | None:
        """Do what is due by time; return when to come again, None if nothing is expected."""
        dues = [overdue.attend(self.state, self.name, now, self.call_all)]
        stalled = sizes.stalled(self.state, now)
        if isinstance(stalled, tuple):
            called, chores, again = stalled
            self.call_all(called, chores)
            if again:
                dues.append(now + RETRY)
        return min((due for due in dues if due is not None), default=None)


def do_all(chores: Iterable[Chore]) -> None:
    """Do each of the chores, whatever the others raise (callbacks are anybody's code); then raise the first error."""
    first: BaseException | None = None
    for chore in chores:
        try:
            chore()
        except BaseException as error:  # noqa: BLE001  # raised below
            first = first or error
    if first is not None:
        try:
            raise first
        finally:
            del first  # or: error, traceback, this frame, error
