"""Who the current thread is: a worker of some pool, the runner of a task, the clock's, that of an event loop."""

import os
import sys
import threading
from concurrent.futures import Future
from typing import Any

from cgexec._pool.admission import Admission
from cgexec._pool.records import Worker
from cgexec._pool.task import RUNNING, Task, TaskCancelled

__all__ = ["cancel", "checkpoint", "current_task", "here", "on_event_loop", "trio_token", "works_for"]


class _Here(threading.local):
    worker: Worker | None = None  # nobody's while it runs a task that it has submitted
    state: Admission | None = None  # of the pool that the worker belongs to
    handing: Admission | None = None  # of the pool for which it is in the middle of another executor's submit()
    clock = False  # it is the one thread that looks by time, for all pools
    inline: tuple[Task, ...] = ()  # tasks that this thread runs itself because the pool was full


here = _Here()


def current_task() -> Task | None:
    """Return the pool task that this thread is running, None if it runs none."""
    if here.inline:
        return here.inline[-1]
    return None if here.worker is None else here.worker.task


def works_for(state: Admission) -> bool:
    """
    Return whether the pool goes on by the current thread, which so must not wait for it: its worker, a submitter that
    runs a task of it itself, or the clock's thread, on which the time-outs, looks at memory and late permits of all
    pools depend.
    """
    return here.state is state or here.clock or any(task.home is state for task in here.inline)


def on_event_loop() -> bool:
    """Return whether an event loop (asyncio's or trio's) is running on this thread. Loads neither."""
    running = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    if running is not None and running() is not None:
        return True
    return trio_token() is not None


def trio_token() -> Any:  # trio's own class
    """Return the token of the trio loop that is running on this thread, None if there is none. Does not load trio."""
    current_token = getattr(sys.modules.get("trio.lowlevel"), "current_trio_token", None)
    if current_token is None:
        return None
    try:
        return current_token()
    except RuntimeError:
        return None


def checkpoint() -> None:
    """
    Raise `TaskCancelled` if the task that calls it was asked to end with `cgexec.cancel`; else do nothing.

    A thread cannot be ended from outside, so a long task calls this where it may stop: between two chunks, in a loop.
    Once asked, every further checkpoint raises too. Outside a task it does nothing. Costs less than a microsecond.
    """
    task = current_task()
    if task is not None and task.stop:
        raise TaskCancelled("this task was asked to end by cgexec.cancel()")


def cancel(future: "Future[Any]") -> bool:
    """
    Cancel the call of a cgexec pool behind *future*, also while it runs. Any thread may call it; it does not block.

    One that has not started is cancelled, as with ``future.cancel()``. One that runs is asked to end: its next
    `cgexec.checkpoint` raises `TaskCancelled`. It keeps its worker until it really ends. A future of another executor
    is cancelled as far as that can do it.

    Returns:
        False if the call has ended already (or, for another executor, cannot be cancelled any more).

    Raises:
        TypeError: *future* is no ``concurrent.futures.Future``.
    """
    if not isinstance(future, Future):
        raise TypeError(
            f"cgexec.cancel() needs the concurrent.futures.Future that submit() returned, got {type(future).__name__}"
        )
    if future.cancel():
        return True
    if not isinstance(future, Task) or future.done():
        return False
    if (future.stoppable and (future.place == RUNNING or future.tries)) or future in future.home.inline:
        future.stop = True
        return not future.done()
    return False


def _after_fork_in_child() -> None:
    # Whichever thread forked, in the child it neither keeps the time nor hands over what other pools are given.
    here.clock, here.handing = False, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
