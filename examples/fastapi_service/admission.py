"""The way into the pool: what is new is refused where there is no place, what was accepted lines up for one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import ParamSpec, TypeVar

import cgexec
from fastapi_service.metrics import REFUSED
from fastapi_service.settings import Settings

__all__ = ["Admission", "Broken", "Ending"]

P = ParamSpec("P")
T = TypeVar("T")
# How often the head of the line looks for a place, in seconds.
_LOOK_S = 0.1
# MAX_JOBS where it is not set: jobs that wait for another attempt hold no place, so there may be more than those.
_JOBS_PER_PLACE = 4


class Ending(Exception):
    """The process is about to end and starts nothing more."""


class Broken(Exception):
    """The pool starts nothing more, though the process is not about to end. It will not by itself, either."""


class _NoThread(Exception):
    """The system refused a thread, and the pool has no other. It asks for one again."""


class Admission:
    """
    Bounds what a process takes on. For the loop's thread.

    A later attempt of an accepted job is never refused. As long as one stands in the line nothing new is let in, or the
    new ones, which ask at any moment, would have every place before it.
    """

    def __init__(self, settings: Settings, pool: cgexec.ThreadPoolExecutor, closing: Callable[[], bool]) -> None:
        self._settings = settings
        self._pool = pool
        self._closing = closing
        self._attempts = pool.options(run_timeout=settings.overdue_after)
        self._line = asyncio.Lock()  # first come, first served

    def check(self, jobs: int) -> None:
        """
        Refuse one more job beside so many that have not ended.

        Raises:
            QueueFull: it would be too many, or accepted ones stand in the line.
        """
        seen = self._pool.stats()
        most = self._settings.max_jobs or _JOBS_PER_PLACE * (seen.limit + self._settings.queue_size)
        if jobs >= most:
            raise self._full("jobs", f"{jobs} jobs have not ended, {most} is the most (MAX_JOBS)")
        if self._line.locked():
            raise self._full("line", "queue is full: accepted jobs wait for a place for their next attempt")

    def submit(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """
        Hand in the first attempt of a job, at once.

        Raises:
            QueueFull: there is no place, or no thread.
            Ending, Broken: there never will be.
        """
        try:
            return self._hand_in(fn, *args, **kwargs)
        except cgexec.QueueFull as full:
            REFUSED.labels(full.reason).inc()
            if not self._knows():
                full.retry_after = self._settings.retry_after
            raise
        except _NoThread as error:
            raise self._full("thread", str(error)) from error

    async def line_up(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """
        Hand in a later attempt as soon as there is a place, in the order of the calls.

        Raises:
            Ending, Broken: there never will be one.
        """
        async with self._line:
            while True:
                # Looked at before it is asked: each time the pool refuses it counts, and says so in the log.
                if self._has_place():
                    with suppress(cgexec.QueueFull, _NoThread):  # memory is short, or threads are
                        return self._hand_in(fn, *args, **kwargs)
                await asyncio.sleep(_LOOK_S)

    def _hand_in(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return self._attempts.submit(fn, *args, **kwargs)
        except RuntimeError as error:
            if self._closing():
                raise Ending(str(error)) from None
            if self._pool.stats().closed is not None:
                raise Broken(f"{type(error).__name__}: {error}") from error
            raise _NoThread(str(error)) from error

    def _has_place(self) -> bool:
        seen = self._pool.stats()
        return seen.closed is not None or seen.waiting < seen.queue_size + max(0, seen.limit - seen.running)

    def _full(self, reason: str, text: str) -> cgexec.QueueFull:
        REFUSED.labels(reason).inc()
        expected = self._pool.stats().estimated_wait if self._knows() else None
        return cgexec.QueueFull(text, retry_after=self._settings.retry_after if expected is None else expected)

    def _knows(self) -> bool:
        """Return whether an attempt has ended: before, the pool takes those that have just begun for short ones."""
        seen = self._pool.stats()
        return seen.completed + seen.failed > 0
