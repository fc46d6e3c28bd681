"""
What was taken out of a pool before it ran, and how its futures end.

Ending a future runs anybody's callbacks, so it is done without the lock, and can be interrupted: by Ctrl-C, by a lack
of memory. What was taken out therefore stands in `Books.ending` until it has been ended, and whoever is interrupted
leaves the rest to the next who comes by: the same thread as it mends, or another that closes the pool.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import wait
from functools import partial

from cgexec._pool.books import Books
from cgexec._pool.records import Verdict
from cgexec._pool.task import Task

__all__ = ["end_taken", "take"]


def take(state: Books, tasks: Iterable[Task], why: Callable[[Task], BaseException] | None) -> None:
    """Have the futures of *tasks* end with that error, or as cancelled. Called first of all and under the lock."""
    for task in tasks:
        task.why = why
    state.ending.extend(tasks)


def end_taken(state: Books) -> None:
    """End what was taken out, whatever the callbacks raise; then raise the first error. Without the lock."""
    first: BaseException | None = None
    try:
        # In one step of the interpreter, so that no signal comes between a task's leaving the queue and its being here.
        for task in iter(state.ending.popleft, None):
            try:
                task.end(None if task.why is None else task.why(task))
            except BaseException as error:
                ended = False
                try:
                    # Not done(): a cancelled one may not have been told to those who `wait` for it.
                    ended = bool(wait([task], timeout=0).done)
                finally:
                    if not ended:
                        state.ending.appendleft(task)
                if not ended:
                    raise
                first = first or error
            if task.counted and task.cancelled():
                _count_as_cancelled(state, task)
    except IndexError:  # no more
        pass
    if first is not None:
        try:
            raise first
        finally:
            del first  # or: error, traceback, this frame, error


def _count_as_cancelled(state: Books, task: Task) -> None:
    """Count one as its future says: it was taken out for another reason, and cancelled before it was ended."""

    def part() -> None:
        setattr(state.tally, task.counted, getattr(state.tally, task.counted) - 1)
        task.counted = ""
        state.tally.cancelled += 1

    if state.enter(part) is Verdict.NESTED:
        state.later(partial(_count_as_cancelled, state, task))
