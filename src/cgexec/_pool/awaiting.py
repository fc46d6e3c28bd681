"""
Waiting for a pool without holding an event loop, whichever loop it is.

A waiting coroutine has no thread to block, so its task stands in the line by itself: it moves into the queue when its
turn comes, and the coroutine is woken when it has ended. A cancelled coroutine cancels its task, which leaves the line.
"""

from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from threading import Thread
from time import monotonic
from typing import Any, Protocol

from cgexec._pool.door import Door

__all__ = ["AsyncioLoop", "Loop", "result_of", "threads_ended"]

# Between two looks whether the last threads have ended, which takes them microseconds.
_SOON = 0.001


class Loop(Protocol):
    """What is asked of an event loop. Made on its thread; only *call_soon* may be called by others."""

    def event(self) -> Any:  # asyncio's or AnyIO's
        """Return a new event."""

    async def wait(self, event: Any, seconds: float | None) -> bool:
        """Wait until the event is set: True, or False after so many seconds."""

    def call_soon(self, fn: Callable[..., object], *args: object) -> None:
        """Have the loop call *fn*, from any thread. Nothing happens if the loop has gone."""

    async def pause(self) -> None:
        """Let others run."""

    def start(self, fn: Callable[[], Coroutine[Any, Any, None]], ended: Callable[[], None]) -> Callable[[], object]:
        """
        Run *fn*, which should not raise, in a task of its own and a copy of the present context; return what cancels
        it. *ended* is called at its end, also if it was cancelled before it began.
        """


class AsyncioLoop:
    """asyncio as a `Loop`."""

    def __init__(self) -> None:
        import asyncio

        self._asyncio = asyncio
        self._loop = asyncio.get_running_loop()

    def event(self) -> Any:
        return self._asyncio.Event()

    async def wait(self, event: Any, seconds: float | None) -> bool:
        try:
            await (event.wait() if seconds is None else self._asyncio.wait_for(event.wait(), seconds))
        except TimeoutError:
            return event.is_set() is True
        return True

    def call_soon(self, fn: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:  # closed: nobody is waiting any more
            return

    async def pause(self) -> None:
        await self._asyncio.sleep(0)

    def start(self, fn: Callable[[], Coroutine[Any, Any, None]], ended: Callable[[], None]) -> Callable[[], object]:
        task = self._loop.create_task(fn())
        task.add_done_callback(lambda _: ended())
        return task.cancel  # which keeps the task


async def result_of(future: Future[Any], loop: Loop, door: Door | None) -> Any:
    """
    Return the result of a future that was handed in. A cancelled wait cancels it.

    With a *door*, and as long as the task stands in the line, only for ``submit_timeout``.
    """
    event = loop.event()
    future.add_done_callback(lambda _: loop.call_soon(event.set))
    try:
        seconds = None if door is None else door.policy.submit_timeout
        if seconds is not None and not await loop.wait(event, seconds):
            assert door is not None, "it has the time-out"
            door.give_up(future)
        await loop.wait(event, None)
    except BaseException:
        future.cancel()
        raise
    try:
        return future.result()
    finally:
        del future  # or: error, traceback, this frame, future, error


async def threads_ended(threads: Iterable[Thread], deadline: float | None, loop: Loop) -> None:
    """Wait until the threads have ended, or until *deadline*. They are about to: it takes them microseconds."""
    for thread in threads:
        while thread.is_alive() and (deadline is None or monotonic() < deadline):
            await loop.wait(loop.event(), _SOON)
