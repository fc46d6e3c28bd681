"""
Waiting for a pool without holding an event loop, whichever loop it is.

A waiting coroutine has no thread to block, so its task stands in the line by itself: it moves into the queue when its
turn comes, and the coroutine is woken when it has ended. A cancelled coroutine cancels its task, which leaves the line.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from threading import Thread
from time import monotonic
from typing import Any, Protocol

from cgexec._pool.door import Door

__all__ = ["AsyncioLoop", "Loop", "each_call", "result_of", "stream", "threads_ended"]

# Tasks handed in at one go before other coroutines get a turn: a millisecond or so.
_AT_ONCE = 100
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


async def each_call(iterables: tuple[Any, ...]) -> AsyncGenerator[tuple[Any, ...], None]:
    """Yield the arguments of each call of a `map` over *iterables*: ordinary ones, or a single asynchronous one."""
    if len(iterables) == 1 and hasattr(iterables[0], "__aiter__"):
        async for each in iterables[0]:
            yield (each,)
        return
    for args in zip(*iterables, strict=False):
        yield args


async def stream(
    hand_in: Callable[[tuple[Any, ...]], Future[Any]],
    calls: AsyncGenerator[tuple[Any, ...], None],
    ahead: int,
    ordered: bool,
    make_loop: Callable[[], Loop],
    keep: object,
) -> AsyncIterator[Any]:
    """
    Yield the results of *calls*, with at most *ahead* tasks handed in whose results have not been taken.

    *keep* lives as long as they come: the executor, which somebody may have made for this alone.
    """
    loop = make_loop()
    window = _Window(loop, ordered)
    more = True
    try:
        while True:
            at_once = 0
            while more and len(window) < ahead:
                try:
                    args = await anext(calls)
                except StopAsyncIteration:
                    more = False
                    break
                window.add(hand_in(args))
                at_once += 1
                if at_once % _AT_ONCE == 0:
                    await loop.pause()
            if not window:
                return
            yield (await window.next()).result()
    finally:
        window.cancel()
        await calls.aclose()
        del keep


class _Window:
    """The futures of a stream that were handed in and whose results have not been taken. For one coroutine."""

    def __init__(self, loop: Loop, ordered: bool) -> None:
        self._loop = loop
        self._ordered = ordered
        self._pending: dict[Future[Any], None] = {}  # in order
        self._ended: deque[Future[Any]] = deque()
        self._signal = loop.event()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, future: Future[Any]) -> None:
        self._pending[future] = None
        future.add_done_callback(lambda each: self._loop.call_soon(self._arrived, each))

    def _arrived(self, future: Future[Any]) -> None:
        self._ended.append(future)
        self._signal.set()

    async def next(self) -> Future[Any]:
        """Wait for the first of the line or, unordered, for whichever ends first, and take it out."""
        while True:
            if self._ordered:
                self._ended.clear()
                found = next(iter(self._pending))
                if found.done():
                    break
            elif self._ended:
                found = self._ended.popleft()
                break
            self._signal = self._loop.event()
            await self._loop.wait(self._signal, None)
        del self._pending[found]
        return found

    def cancel(self) -> None:
        """Cancel what has not started."""
        for future in self._pending:
            future.cancel()


async def threads_ended(threads: Iterable[Thread], deadline: float | None, loop: Loop) -> None:
    """Wait until the threads have ended, or until *deadline*. They are about to: it takes them microseconds."""
    for thread in threads:
        while thread.is_alive() and (deadline is None or monotonic() < deadline):
            await loop.wait(loop.event(), _SOON)
