"""
One thread a process that looks again by time: for tasks with a time-out, and for threads that were refused.

It is there only while something is expected, so a pool without time-outs never meets it.
"""

import os
import threading
from contextlib import suppress
from time import monotonic, sleep
from typing import Protocol

from cgexec._adaptive.asking import Asks, sleeps
from cgexec._memory.fuse import fuse
from cgexec._pool import life
from cgexec._pool.beginning import background, begin
from cgexec._pool.here import here
from cgexec._pool.log import Log

__all__ = ["Ticking", "asks", "call_at", "expects", "forget"]

_LOGGER = Log("cgexec")
_NAME = "cgexec-ticker"
_NO_MEMORY = 0.01  # until the thread tries again that had no memory to do so


class Ticking(Protocol):
    """What wants to be called by time."""

    def tick(self, now: float) -> float | None:
        """Do what is due; return when to come again."""


class _Ticker:
    """
    The lock guards *dues* and *thread*. Nothing is called while it is held.

    Plain locks and no condition, whose methods are Python: it may be left locked where memory runs out in the middle of
    them, and then every pool of the process would stand still.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer that runs in the middle may come in
        self._wake = threading.Lock()  # held; released to have the thread look at *dues*
        self._wake.acquire()
        self.dues: dict[Ticking, float] = {}
        self.thread: threading.Thread | None = None
        self._refused = 0

    def call_at(self, what: Ticking, when: float) -> None:
        with self._lock:
            if self.thread is not None and self.dues.get(what, when + 1) <= when:
                return
            self.dues[what] = min(when, self.dues.get(what, when))
            if self.thread is not None:
                self._notify()
                return
            thread = self.thread = background(self._run, _NAME)  # in a subinterpreter `stop` ends it
        try:
            begin(thread)
        except (RuntimeError, MemoryError):  # no thread to be had: whoever asks next tries again
            with self._lock:
                self.thread = None
                self._refused += 1
                refused = self._refused
            if refused & (refused - 1) == 0:  # the first, second, fourth, eighth ...
                _LOGGER.warning(
                    "[ticker-refused] no thread for time-outs could be started (%d times so far); they are looked at "
                    "when one can", refused,
                )  # fmt: skip
        except BaseException:  # a signal's
            if thread.ident is None:
                self.thread = None
            raise

    def expects(self, what: object) -> bool:
        with self._lock:
            return what in self.dues and self.thread is not None and self.thread.ident is not None

    def stop(self) -> None:
        """Expect nothing any more: the interpreter is ending, and finishes what waits however long it waited."""
        with self._lock:
            self.dues.clear()
            self._notify()
            thread = self.thread
        if thread is not None:
            with suppress(RuntimeError):  # another thread is about to start it, and it will find nothing to do
                thread.join(1)

    def forget(self, what: Ticking) -> None:
        with self._lock:
            if self.dues.pop(what, None) is not None:
                self._notify()

    def _notify(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:  # it is told already
            return

    def _run(self) -> None:
        """Be there until nothing is expected; without this thread, time stands still for every pool of the process."""
        while True:
            try:
                here.clock = True  # in here, as there may be no memory for it
                if not self._attend():
                    return
            except BaseException as error:  # noqa: BLE001  # no memory, or raised in this thread by somebody else
                if isinstance(error, MemoryError):
                    fuse().give_out()
                sleep(_NO_MEMORY)

    def _attend(self) -> bool:
        """Look after what is due next; False if nothing is expected."""
        what = self._next()
        if what is None:
            return False
        due: float | None = monotonic() + 1
        try:
            due = what.tick(monotonic())
        except BaseException:  # one pool's trouble must not stop the clock of the others
            _LOGGER.exception("[ticker-failed] looking after %r by time failed", what)
        finally:
            if due is not None:
                self.call_at(what, due)
        return True

    def _next(self) -> Ticking | None:
        """Wait for the next that is due; None if nothing is expected any more, and then this thread ends."""
        while True:
            with self._lock:
                if not self.dues:
                    self.thread = None
                    return None
                # A copy, since a finalizer that runs in the middle may come in.
                what, when = min(list(self.dues.items()), key=lambda due: due[1])
                wait = when - monotonic()
                if wait <= 0:
                    self.dues.pop(what, None)
                    return what
                del what  # or a pool would be kept while nothing is due
            before = sleeps()
            if not self._wake.acquire(timeout=min(wait, threading.TIMEOUT_MAX)):  # else by one who has the lock
                asks.woke(monotonic(), sleeps() - before)


asks = Asks()  # how often its thread found the interpreter lock taken
_ticker = _Ticker()
life.at_exit(lambda: _ticker.stop())  # noqa: PLW0108  # the one there is then


def call_at(what: Ticking, when: float) -> None:
    """Have ``what.tick`` called at that monotonic time, or sooner if it is expected sooner."""
    _ticker.call_at(what, when)


def expects(what: object) -> bool:
    """Return whether ``what.tick`` will be called: its time is set, and the thread for it was not refused."""
    return _ticker.expects(what)


def forget(what: Ticking) -> None:
    """Expect nothing any more."""
    _ticker.forget(what)


def _after_fork_in_child() -> None:
    global _ticker, asks  # a new process has none of the parent's threads
    _ticker, asks = _Ticker(), Asks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
