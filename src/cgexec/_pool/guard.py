"""
A lock for state that finalizers and signal handlers may want, too: they run in the middle of anything, on its thread.

With a plain lock a finalizer that submits to the pool in whose locked part it happens to run waits for itself for ever.
With a re-entrant one it would find the state half changed. Here it finds the part BUSY, leaves a note and goes on; the
holder acts on the note when it is done. And if the handler raises, the part is left TORN, and whoever comes next counts
again.
"""

from collections import deque
from collections.abc import Callable
from threading import RLock, get_ident
from time import sleep
from typing import TypeVar

from cgexec._pool.records import Verdict
from cgexec._pool.weakly import Weakly

__all__ = ["FREE", "TORN", "Guarded", "is_inside", "is_owned"]

T = TypeVar("T")

# Values of `_mark`; any other is the number of the thread that is in a locked part: BUSY.
FREE, TORN = 0, -1
# More than the threads that may have to run before the holder of the lock does, as a rule.
_YIELDS = 50

_all: "Weakly[Guarded]" = Weakly()


def is_owned(lock: object) -> bool:
    """Return whether this thread has the RLock."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001  # as threading.Condition asks


def is_inside() -> bool:
    """Return whether this thread is in the middle of a locked part, of whichever pool."""
    return any(is_owned(each._lock) for each in _all.all())  # noqa: SLF001  # the same module


class Guarded:
    """State with such a lock. `_mark` says what a locked part left behind; it is written under the lock only."""

    __slots__ = ("__weakref__", "_lock", "_mark", "_notes")

    def __init__(self) -> None:
        self._lock = RLock()
        self._mark = FREE
        self._notes: deque[Callable[[], object]] = deque()
        _all.add(self)  # at last, as other threads look at its mark from here on

    def recount(self) -> None:
        """Make the numbers agree with what is there."""
        raise NotImplementedError

    def enter(self, part: Callable[[], T]) -> T | Verdict:
        """Run *part* under the lock and return its answer; NESTED if this thread is in a locked part already."""
        if self._mark and self._give_way():
            return Verdict.NESTED
        try:
            with self._lock:
                if self._mark and self._is_nested():
                    return Verdict.NESTED
                self._mark = get_ident()
                try:
                    answer = part()
                except BaseException:
                    self._mark = TORN
                    raise
                self._mark = FREE
        except BaseException:
            self._let_go()
            raise
        if self._notes:
            self._settle()
        return answer

    def later(self, note: Callable[[], object]) -> None:
        """Have *note* called, without the lock, by the holder whose locked part the caller interrupted."""
        self._notes.append(note)
        # The holder may be another thread (see `_give_way`), and have looked for notes for the last time. Either it
        # holds the lock still, and will look again, or we get it.
        if self._mark != get_ident() and self._lock.acquire(False):
            self._lock.release()
            self._settle()

    def is_entangled(self) -> bool:
        """
        Return whether this thread must leave a note rather than wait for the lock: it is in the middle of a locked
        part, of this or of another, whose holder may be waiting for it.
        """
        return bool(self._mark) and (self._mark == get_ident() or self._give_way())

    def _settle(self) -> None:
        while self._notes:
            try:
                note = self._notes.popleft()
            except IndexError:  # another thread was quicker
                return
            note()

    def _is_nested(self) -> bool:
        """Return whether the lock was held by this thread before it was taken again; mend what an exception tore."""
        if self._mark != TORN:
            return True
        self.recount()
        return False

    def _give_way(self) -> bool:
        """
        Let the holder of the lock finish, rather than queue for it.

        A holder that was stopped in the middle makes a convoy of those who block: 1. the lock is passed to a blocked
        thread that has no GIL yet; 2. the one that has the GIL wants the lock again and blocks; 3. so does the next:
        each use of the lock costs two context switches from then on, and twice the time. One that yields finds the lock
        free, and nobody is passed anything. Workers only ever yield. Others block after a while, but not if they came
        from the middle of another pool's locked part (a finalizer that submits to this one): its holder could be
        waiting for them, so True is the answer then, and they leave a note. `_mark` is read without the lock: a hint.
        """
        me = get_ident()
        for _ in range(_YIELDS):
            if self._mark in (FREE, TORN, me):
                return False
            sleep(0)
        return any(other._mark == me for other in _all.all())  # noqa: SLF001

    def _let_go(self) -> None:
        """
        Give the lock back if a signal handler raised between its being taken and the first line under it.

        In CPython 3.14 and later ``with`` has that gap. Nothing happens if it was given back as it should be, or if it
        is held by a part of ours that the caller interrupted.
        """
        if self._mark == get_ident():
            return
        try:
            self._lock.release()
        except RuntimeError:  # not ours
            return

    def _free_lock(self) -> None:
        """Have a lock of one's own, in a child process: the old one may be held by a thread that is not there."""
        self._lock = RLock()
        self._mark = FREE
        self._notes.clear()
