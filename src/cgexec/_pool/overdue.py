"""Acting on tasks that are late: those that waited longer than they may, and those that run longer than they should."""

import functools
import sys
import threading
import traceback
from collections.abc import Callable, Iterable

from cgexec._memory.functions import target_of
from cgexec._pool.admission import Admission
from cgexec._pool.endings import Late, find_late
from cgexec._pool.log import Log
from cgexec._pool.records import Chore, Worker
from cgexec._pool.taken import end_taken
from cgexec._pool.task import Task

__all__ = ["attend", "function_name", "thread_name"]

_LOGGER = Log("cgexec")
_UNSEEN = "  (not to be seen)"


def function_name(task: Task) -> str:
    """Return the name of the function that the task calls, as a reader would look for it."""
    fn = target_of(task.fn, task.args)
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    module = getattr(fn, "__module__", None)
    return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else str(name)


def attend(
    state: Admission, pool: str, now: float, act: Callable[[Iterable[Worker], Iterable[Chore]], None]
) -> float | None:
    """End what waited too long, mark and log what runs too long; return when to look again."""
    late = find_late(state, now, functools.partial(_expired, state, pool, now))
    assert isinstance(late, Late), "the thread that looks by time interrupts nobody"
    for worker, task, seconds in late.overdue:
        _log_overdue(pool, worker, task, seconds)
    # The futures' callbacks are anybody's code, so they come last, and none keeps the others from being told.
    act((), [*late.chores, functools.partial(end_taken, state)])
    return late.due


def _expired(state: Admission, pool: str, now: float, task: Task) -> TimeoutError:
    limit = None if task.extra is None else task.extra.queue_timeout
    return TimeoutError(
        f"{function_name(task)} waited {now - task.since:.3g} s for a worker, longer than queue_timeout={limit}; "
        f"{state.running} of {state.allowed} workers of pool {pool!r} are busy"
    )


def _log_overdue(pool: str, worker: Worker | None, task: Task, seconds: float) -> None:
    stack = _stack_of(None if worker is None else worker.thread)
    if task.done():  # the thread has gone on meanwhile, and what was seen may be another task's
        return
    _LOGGER.warning(
        "[task-overdue] pool %r: %s has been running for %.3g s, longer than its run_timeout; it keeps its worker (%s) "
        "until it ends. cgexec.cancel(future) asks it to, at its next cgexec.checkpoint(). Its stack:\n%s",
        pool,
        function_name(task),
        seconds,
        thread_name(worker),
        stack,
    )


def _stack_of(thread: threading.Thread | None) -> str:
    """Return the stack of a thread as text, and keep nothing of it."""
    if thread is None or thread.ident is None:
        return _UNSEEN
    # By the thread's number, the only way to see another thread's. The frames are those of all threads, this one too:
    # kept in a variable they would be a cycle, with every local variable of every thread in it.
    frame = sys._current_frames().get(thread.ident)  # noqa: SLF001
    return _UNSEEN if frame is None else "".join(traceback.format_stack(frame))


def thread_name(worker: Worker | None) -> str:
    """Return the name of the thread that a task runs in, or whose that is."""
    if worker is None:
        return "its submitter's"
    return "the wrapped executor's" if worker.thread is None else worker.thread.name
