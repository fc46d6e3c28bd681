"""Tasks that must not wait for longer than so long, by when that is."""

import heapq
from itertools import count
from typing import NamedTuple
from weakref import ref

from cgexec._pool.task import LINED, WAITING, Task

__all__ = ["Expiring", "First"]

# Entries before anybody looks for dead ones behind the first; then twice those that were alive: each costs a constant.
_LEAST = 64
_numbers = count().__next__


class First(NamedTuple):
    """The task whose time is up first, and when (monotonic)."""

    due: float
    task: Task


class Expiring:
    """
    A heap whose entries die as their tasks start or end. Under the lock of the state machine. It keeps no task alive.

    With one time-out for all tasks, which is the common case, each new entry is the last, and the dead ones are first.
    """

    __slots__ = ("_heap", "_most")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ref[Task]]] = []  # due; a number, as the rest has no order
        self._most = _LEAST

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, task: Task, timeout: float) -> None:
        """Remember that the task must not wait for longer than *timeout* seconds."""
        heap = self._heap
        while heap and not _may_wait(heap[0][2]()):
            heapq.heappop(heap)
        heapq.heappush(heap, (task.since + timeout, _numbers(), ref(task)))
        if len(heap) > self._most:
            self._sweep()

    def first(self) -> First | None:
        """Return the first that still waits."""
        while self._heap:
            task = self._heap[0][2]()
            if task is not None and _may_wait(task):
                return First(self._heap[0][0], task)
            heapq.heappop(self._heap)
        return None

    def pop(self) -> None:
        """Forget the first."""
        heapq.heappop(self._heap)

    def clear(self) -> None:
        """Forget all, as nothing waits any more."""
        self._heap.clear()
        self._most = _LEAST

    def _sweep(self) -> None:
        """Forget what waits no more."""
        alive = [entry for entry in self._heap if _may_wait(entry[2]())]
        heapq.heapify(alive)
        self._heap, self._most = alive, max(_LEAST, 2 * len(alive))  # in order at every moment: a signal may come


def _may_wait(task: Task | None) -> bool:
    return task is not None and task.place in (WAITING, LINED) and not task.tries  # or it has waited in time
