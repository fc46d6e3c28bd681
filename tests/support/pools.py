"""Tasks that stand still until they are told to go on, and waits that cannot last for ever."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from cgexec._pool.price import Price
from cgexec._pool.records import Worker
from cgexec._pool.task import Task

__all__ = ["SOON", "Fails", "Hold", "Prices", "Trap", "eventually", "hired", "holding", "started", "task"]

# No wait of a test is longer than this, in seconds; none is meant to come near it.
SOON = 10.0


class Trap:
    """Runs *call* when the garbage collector finds it, which a cycle makes sure is not before."""

    def __init__(self, call):
        self.call = call
        self.cycle = self

    def __del__(self):
        self.call()


class Prices(Price):
    """Prices that are asked for each time."""

    def __init__(self, ask: Callable[[Task], float]) -> None:
        super().__init__(ask)
        self.ask = ask

    def __call__(self, task: Task) -> float:
        return self.ask(task)


class Fails:
    """A task that runs out of memory so many times, and counts its runs."""

    def __init__(self, times: int, error: Any = MemoryError) -> None:
        self.times, self.error = times, error
        self.runs = 0

    def __call__(self) -> int:
        self.runs += 1
        if self.runs <= self.times:
            raise self.error
        return self.runs


class Hold:
    """Tasks that have started and wait. `release` lets all of them end."""

    def __init__(self, pool: Executor) -> None:
        self.pool = pool
        self.futures: list[Future[Any]] = []
        self._started = threading.Semaphore(0)
        self._release = threading.Event()

    def task(self) -> str:
        self._started.release()
        assert self._release.wait(SOON)
        return "held"

    def occupy(self, count: int) -> list[Future[Any]]:
        """Have so many tasks running; return once they have started."""
        futures = [self.pool.submit(self.task) for _ in range(count)]
        self.futures += futures
        self.started(count)
        return futures

    def queue(self, count: int) -> list[Future[Any]]:
        """Submit so many more, which wait behind the others."""
        futures = [self.pool.submit(self.task) for _ in range(count)]
        self.futures += futures
        return futures

    def started(self, count: int) -> None:
        for _ in range(count):
            assert self._started.acquire(timeout=SOON), "a task has not started"

    def nothing_started(self) -> bool:
        return not self._started.acquire(blocking=False)

    def release(self) -> None:
        self._release.set()


@contextmanager
def holding(pool: Executor, count: int = 0) -> Iterator[Hold]:
    """Occupy so many workers of *pool* for the length of the block."""
    hold = Hold(pool)
    try:
        hold.occupy(count)
        yield hold
    finally:
        hold.release()


def eventually(condition: Callable[[], object]) -> None:
    """
    Wait until the condition holds, for what has no event to wait for: that another thread has come to block.

    It looks, it does not hope: nothing depends on how long it takes.
    """
    end = monotonic() + SOON
    while not condition():
        assert monotonic() < end, "it never came to pass"
        sleep(0.001)


def task(state):
    """Return a task that was made by a submitter of that state machine, and not yet offered."""
    new = Task()
    new.fn, new.args, new.home, new.since = (lambda: None), (), state, 0.0
    return new


def started(worker):
    """Pretend that the worker's thread runs."""
    assert isinstance(worker, Worker)
    worker.thread = object()
    return worker


def hired(state):
    """Submit to a pool that has no idle worker; return the task, and the worker started for it with that task."""
    new = task(state)
    worker = started(state.offer(new))
    assert state.next(worker, 0.0, 0) is new
    return new, worker
