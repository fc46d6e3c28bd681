"""
What a process does to its pools: it ends, and it forks.

The standard library closes its own pools between the end of the main thread and the joining of the others. We ask to be
called at the same moment: before it, work may still come in; after it, the interpreter waits for idle workers for ever.
"""

import os
import threading
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

__all__ = ["FORKED", "Mortal", "at_exit", "is_over", "register"]

FORKED = (
    "this pool was made before a fork: its threads are in the parent process only, nothing would run here; "
    "make a new pool in the child"
)
_WATCHER = "cgexec-exit"


class Mortal(Protocol):
    """What ends with the process."""

    def close_at_exit(self) -> None:
        """Finish what waits, accept nothing more."""

    def after_fork(self) -> None:
        """Forget, in the child process, what only the parent has."""


class _Process:
    """The pools of this process. Its lock guards the fields, and is re-entrant as a finalizer may make a pool."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pools: WeakKeyDictionary[Mortal, None] = WeakKeyDictionary()  # in the order of their making
        self.chores: list[Callable[[], object]] = []
        self.insisted: set[type] = set()
        self.watched = False
        self.hooked = False  # the interpreter itself tells us
        self.over = False


_process = _Process()


def register(pool: Mortal) -> None:
    """Have the pool told when the interpreter ends and after a fork; it is not kept alive by this."""
    with _process.lock:
        _process.pools[pool] = None
        watch, _process.watched = not _process.watched, True
    if watch:
        _watch()
    if is_over():
        pool.close_at_exit()


def insist(executor: type) -> None:
    """
    Have the pools told before executors of this class are, whose first call was just handed over.

    The interpreter calls its hooks in reverse order, and the modules of other executors add theirs when they are loaded
    or first used, which may be after ours.
    """
    with _process.lock:
        new = _process.hooked and executor not in _process.insisted
        _process.insisted.add(executor)
    if new:
        _watch()


def at_exit(chore: Callable[[], object]) -> None:
    """Have *chore* done when the interpreter ends, after the pools were told."""
    with _process.lock:
        _process.chores.append(chore)


def is_over() -> bool:
    """Return whether the interpreter is ending: no thread may be started that it would have to wait for."""
    # Not asked without need: in 3.11 an is_alive() that a signal handler interrupts leaves the thread marked as ended.
    return _process.over or (not _process.hooked and not threading.main_thread().is_alive())


def _watch() -> None:
    """
    Have `_end` called at the right moment.

    There is no public hook for it. The standard library's own is private, but has been the same since 3.9, and works in
    subinterpreters, too. Where it is missing, a thread sees the moment from outside: it waits for the main thread. (In
    a
    subinterpreter it would wait for ever: since 3.13 only the main interpreter's main thread is ever said to have
        ended.)
    """
    hook = getattr(threading, "_register_atexit", None)
    if hook is None:
        threading.Thread(target=_wait_for_the_main_thread, name=_WATCHER, daemon=True).start()
        return
    try:
        hook(_end)
        _process.hooked = True
    except RuntimeError:  # too late: the interpreter is ending
        _process.over = True


def _wait_for_the_main_thread() -> None:
    threading.main_thread().join()
    _end()


def _end() -> None:
    with _process.lock:
        _process.over = True
        # The last made first: who hands work on to another pool was made after it.
        pools, chores = list(_process.pools)[::-1], list(_process.chores)
    interrupted: BaseException | None = None
    for chore in [*(pool.close_at_exit for pool in pools), *chores]:
        try:
            chore()
        except BaseException as error:  # noqa: BLE001  # raised below: unless the others are closed, the end never comes
            interrupted = interrupted or error
    if interrupted is not None:
        raise interrupted


def _after_fork_in_child() -> None:
    global _process  # a new process
    forked, _process = _process, _Process()
    # What was asked of the interpreter holds in the child, too.
    _process.watched = _process.hooked = forked.hooked
    _process.chores, _process.insisted = forked.chores, forked.insisted
    for pool in list(forked.pools):
        pool.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
