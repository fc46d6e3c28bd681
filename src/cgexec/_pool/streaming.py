"""
Results of many calls as they come, for a coroutine: `stream`. It runs ahead of its consumer by so many and no more.

An ordinary source is asked for calls in passing. One that is asynchronous may take its time, so it is asked in a task
of its own, from beginning to end: what it does around its ``yield`` (a time-out, a nursery) stays in one task.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeAlias

from cgexec._pool.awaiting import Loop

__all__ = ["Calls", "each_call", "stream"]

# The arguments of each call.
Calls: TypeAlias = Iterator[tuple[Any, ...]] | AsyncGenerator[tuple[Any, ...], None]

# Tasks handed in at one go before other coroutines get a turn: a millisecond or so.
_AT_ONCE = 100


def each_call(iterables: tuple[Any, ...]) -> Calls:
    """Return the arguments of each call of a `map` over *iterables*: ordinary ones, or a single asynchronous one."""
    if len(iterables) == 1 and hasattr(iterables[0], "__aiter__"):
        return ((each,) async for each in iterables[0])
    return zip(*iterables, strict=False)


async def stream(
    hand_in: Callable[[tuple[Any, ...]], Future[Any]],
    calls: Calls,
    ahead: int,
    ordered: bool,
    make_loop: Callable[[], Loop],
    keep: object,
) -> AsyncIterator[Any]:
    """
    Yield the results of *calls*, with at most *ahead* of them asked for whose results have not been taken.

    *keep* lives as long as they come: the executor, which somebody may have made for this alone.
    """
    loop = make_loop()
    window = _Window(loop, ordered)
    source = _Pumped(loop, calls, window.wake) if isinstance(calls, AsyncGenerator) else _Ready(calls)
    at_once = 0
    try:
        while True:
            while len(window) < ahead and (args := source.take(ahead - len(window))) is not None:
                window.add(hand_in(args))
                at_once += 1
                if at_once % _AT_ONCE == 0:
                    await loop.pause()
            found = window.take()
            if found is not None:
                yield found.result()
            elif window or not source.ended:
                at_once = 0
                await window.wait()
            else:
                return
    finally:
        window.cancel()
        await source.close()
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
        self.wake()

    def wake(self) -> None:
        """Have who waits look again; on the loop's thread."""
        self._signal.set()

    async def wait(self) -> None:
        """Wait until something has happened since this was called."""
        self._signal = self._loop.event()
        await self._loop.wait(self._signal, None)

    def take(self) -> Future[Any] | None:
        """Take out the first of the line if it has ended, or, unordered, whichever ended first."""
        if self._ordered:
            self._ended.clear()
            found = next(iter(self._pending), None)
            if found is None or not found.done():
                return None
        elif self._ended:
            found = self._ended.popleft()
        else:
            return None
        del self._pending[found]
        return found

    def cancel(self) -> None:
        """Cancel what has not started."""
        for future in self._pending:
            future.cancel()


class _Ready:
    """Calls that can be had at once."""

    def __init__(self, calls: Iterator[tuple[Any, ...]]) -> None:
        self._calls = calls
        self.ended = False

    def take(self, _room: int) -> tuple[Any, ...] | None:
        """Return the next one, None if there is none."""
        found = None if self.ended else next(self._calls, None)
        self.ended = found is None
        return found

    async def close(self) -> None:
        """Nothing is under way."""


class _Pumped:
    """Calls that a task of its own waits for. All on the loop's thread."""

    def __init__(self, loop: Loop, calls: AsyncGenerator[tuple[Any, ...], None], wake: Callable[[], None]) -> None:
        self._loop, self._calls, self._wake = loop, calls, wake
        self._found: deque[tuple[Any, ...]] = deque()
        self._room = 0  # so many may be asked for, those found included
        self._asked = loop.event()
        self._error: BaseException | None = None
        self._finished, self._end = False, loop.event()
        self._cancel = loop.start(self._run, self._end.set)

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        return self._finished and not self._found

    def take(self, room: int) -> tuple[Any, ...] | None:
        """Return one that was found, None if none was yet; then as many are asked for as there is *room*."""
        if self._found:
            self._room -= 1
            return self._found.popleft()
        if self._error is not None:
            raise self._error
        self._room = room
        self._asked.set()
        return None

    async def _run(self) -> None:
        try:
            while True:
                while len(self._found) >= self._room:
                    self._asked = self._loop.event()
                    await self._loop.wait(self._asked, None)
                self._found.append(await anext(self._calls))
                self._wake()
        except StopAsyncIteration:
            pass
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the consumer's
            self._error = error
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._finished = True
            self._wake()
            await self._calls.aclose()

    async def close(self) -> None:
        """End the task, and what it waits for."""
        self._cancel()
        await self._loop.wait(self._end, None)
