"""Closing a pool with a deadline: what to wait for, and what is left. The waiting itself is the caller's."""

from time import monotonic

from cgexec._leftovers import Leftovers, Running, Unstarted
from cgexec._pool import endings
from cgexec._pool.hands import Hands
from cgexec._pool.overdue import function_name, thread_name
from cgexec._pool.task import Task

__all__ = ["collect"]


def collect(crew: Hands) -> Leftovers:
    """Take what has not started out of a pool, and return it with what is still running."""
    now = monotonic()
    unstarted: list[Unstarted] = []
    crew.close(drop=True, note=lambda task: unstarted.append(_unstarted(task, now)))
    found = crew.state.enter(lambda: endings.running(crew.state))
    running = tuple(
        Running(task, function_name(task), now - since, thread_name(worker))
        for task, since, worker in (found if isinstance(found, list) else ())
        if task.fn is not None  # else it has just ended. Its future is not asked: Ctrl-C there leaves it locked
    )
    return Leftovers(tuple(unstarted), running)


def _unstarted(task: Task, now: float) -> Unstarted:
    assert task.fn is not None, "it has not run"
    return Unstarted(task, task.fn, task.args, task.kwargs or {}, now - task.since)
