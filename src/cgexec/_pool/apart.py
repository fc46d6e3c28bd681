"""
The task that ran out of memory too often beside others, so that it has to run with nothing beside it. Pure.

Others stand still for it, so that must end: it waits for those that run as long as they may be expected to end, and
they wait for it as long as it may be expected to run.
"""

from collections.abc import Iterator, Sequence
from math import exp2

from cgexec._pool.holding import Need
from cgexec._pool.task import ALONE, Task

__all__ = ["Apart"]

# It waits for the others for twice as long as these usually take, and at least for so long, in seconds since one has
# ended, or where a running one waits for it, which cannot end before it; and never longer than the most in all. Then
# it runs beside what is left.
_WAIT_S, _WAIT_MOST_S, _AWAITED_S = 5.0, 60.0, 1.0
# If it is not started then, as memory does not suffice or no thread is to be had, the others go on after so many
# seconds more; with nothing running memory alone may keep it for a minute, see `shares`.
_REFUSED_S, _REFUSED_ALONE_S = 5.0, 65.0
# They wait for it for twice as long as such usually take, and at least for so long, in seconds.
_RUN_S = 60.0
# What ran out of memory though it was alone, beside other processes, waits so long before it is run again, in seconds,
# and twice as long each time after that.
_PAUSE_S = 0.1


class Apart:
    """
    *need*: of the pool whose task it is, None while there is none. *may_start*: whether it may start now. Used by one
    thread at a time.
    """

    def __init__(self) -> None:
        self.need: Need | None = None
        self.may_start = False
        self._seen: tuple[int, int, bool] | None = None  # which, in which of its runs, and whether it runs
        self._begun = 0.0  # when that was seen first
        self._since = 0.0  # when one of those that it waits for has ended, or that

    def see(self, needs: Sequence[Need], ended: int, now: float) -> None:
        """Take in what the pools run and have next, and how many have *ended* since the last look."""
        self.need, self.may_start = None, False
        found = next(_all(needs), None)
        if found is None:
            self._seen = None
            return
        need, task, runs = found
        seen = (id(task), task.tries, runs)
        if seen != self._seen:
            self._seen, self._begun, self._since = seen, now, now
        elif ended:
            self._since = now
        busy = [each for each in needs if each.busy]
        if runs:
            over = now >= self._begun + max(_RUN_S, 2 * (need.usual or 0.0))
        else:
            due = self._begun + _pause(task)
            if busy:
                due = min(self._since + _patience(task, busy), self._begun + _WAIT_MOST_S)
            self.may_start, over = now >= due, now >= due + (_REFUSED_S if busy else _REFUSED_ALONE_S)
        if over:
            task.apart = self.may_start = False
        else:
            self.need = need


def _all(needs: Sequence[Need]) -> Iterator[tuple[Need, Task, bool]]:
    """Yield the tasks that run and those that are next, as far as they are to be alone, and whether they run."""
    yield from ((need, task, True) for need in needs for task, _ in need.busy if task.apart)
    yield from ((need, need.head, False) for need in needs if need.head is not None and need.head.apart)


def _patience(task: Task, busy: list[Need]) -> float:
    if task.nested and task.is_awaited():
        return _AWAITED_S
    return max(_WAIT_S, *(2 * (need.usual or 0.0) for need in busy))


def _pause(task: Task) -> float:
    return 0.0 if task.tries <= ALONE else _PAUSE_S * exp2(task.tries - ALONE - 1)
