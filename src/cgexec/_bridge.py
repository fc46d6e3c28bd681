"""`Bridge`: what threads have to say, for one coroutine to read."""

import asyncio
import threading
from collections import deque
from time import monotonic
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from cgexec._errors import QueueFull
from cgexec._pool.here import checkpoint, here, on_event_loop

__all__ = ["Bridge"]

T = TypeVar("T")

# A blocked sender looks so often whether it was cancelled and whether the loop has gone, in seconds. Neither tells it.
_LOOK = 0.5


class Bridge(Generic[T]):
    """
    A bounded way from threads to a coroutine: `send` in any thread, ``async for`` on the event loop.

    For progress: a task that runs in a pool reports, a coroutine passes it on to its client. Nothing grows if the
    client is slow, and no task fails because its client or the loop has gone: `send` then returns False. ::

        async with Bridge() as progress:
            future = pool.submit(work, progress.send)
            future.add_done_callback(lambda _: progress.close())
            async for percent in progress:
                await websocket.send_json(percent)

    Leaving the ``async with`` says that nobody reads any more. Without it say so yourself, ``close(discard=True)``, or
    senders that block do so until the loop is closed.

    Thread-safe. One lock, a leaf: nothing foreign is called under it. It protects the items and `closed`; the event is
    the loop's. At most one call to the loop is on its way, however many threads send.

    Args:
        maxsize: items kept that have not been read, from 1.
        when_full: ``"latest"`` drops the oldest one, so the reader gets the latest state; `send` never blocks.
            ``"block"`` has `send` wait, so the reader gets everything and slows the senders down to its pace.
        loop: the loop of the reader. None: the running one.

    Attributes:
        dropped: items that were never read because newer ones came.

    Raises:
        ValueError: *maxsize* or *when_full* is none of these.
        RuntimeError: no loop is running, and none was given.
    """

    def __init__(
        self,
        maxsize: int = 1,
        *,
        when_full: Literal["latest", "block"] = "latest",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if isinstance(maxsize, bool) or not isinstance(maxsize, int) or maxsize < 1:
            raise ValueError(f"maxsize must be a whole number from 1, got {maxsize!r}")
        if when_full not in ("latest", "block"):
            raise ValueError(f'when_full must be "latest" or "block", got {when_full!r}')
        self.maxsize = maxsize
        self.when_full = when_full
        self.dropped = 0
        self._loop = asyncio.get_running_loop() if loop is None else loop
        self._items: deque[T] = deque()
        self._closed = False
        self._waking = False  # a call to the loop is on its way
        self._room = threading.Condition()  # re-entrant: a destructor may send
        self._event = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether `send` takes nothing more."""
        return self._closed

    def send(self, item: T, timeout: float | None = None) -> bool:
        """
        Hand *item* over; any thread may. Blocks only with ``when_full="block"``, until there is room. In a callback of
        an expired task (see `ThreadPoolExecutor.options`) it does not: the item goes over *maxsize*.

        Args:
            item: what the reader gets.
            timeout: seconds to block at most; None is without end.

        Returns:
            False if the item will not be read: the bridge is closed, its reader or its loop has gone, or *timeout* went
            by.

        Raises:
            QueueFull: it would have to block on a thread that runs an event loop.
            TaskCancelled: it blocked in a task that was asked to end (`cgexec.checkpoint`).
        """
        deadline = None if timeout is None else monotonic() + timeout
        oldest = None  # freed outside the lock: its destructor is foreign
        with self._room:
            waits = self.when_full == "block" and not here.clock
            while waits and not self._closed and len(self._items) >= self.maxsize:
                left = _LOOK if deadline is None else min(_LOOK, deadline - monotonic())
                if left <= 0:
                    return False
                self._wait_for_room(left)
            if self._closed:
                return False
            if len(self._items) >= self.maxsize and self.when_full == "latest":
                oldest = self._items.popleft()
                self.dropped += 1
            self._items.append(item)
        del oldest
        return self._wake()

    def close(self, *, discard: bool = False) -> None:
        """
        Take nothing more; any thread may say so. The reader gets what is there, and its ``async for`` ends.

        Args:
            discard: nobody reads any more: what is there is dropped.
        """
        dropped: list[T] = []
        with self._room:
            self._closed = True
            if discard:
                dropped.extend(self._items)
                self._items.clear()
            self._room.notify_all()
        self._wake()

    def _wait_for_room(self, seconds: float) -> None:
        if on_event_loop():
            raise QueueFull(
                f"bridge is full: {len(self._items)} of {self.maxsize} items unread, and an event loop's thread must "
                'not block; when_full="latest" drops the oldest'
            )
        checkpoint()
        self._room.wait(seconds)
        if self._loop.is_closed():
            self._closed = True

    def _wake(self) -> bool:
        """Have the reader look, unless it is about to; False if its loop has gone."""
        with self._room:
            # A loop that was closed with the call on its way never made it.
            if self._waking and not self._loop.is_closed():
                return True
            self._waking = True
        try:
            self._loop.call_soon_threadsafe(self._look)
        except RuntimeError:  # the loop is closed
            with self._room:
                self._closed = True
                self._room.notify_all()
            return False
        return True

    def _look(self) -> None:
        # Before the event: what is sent from here on calls again.
        with self._room:
            self._waking = False
        self._event.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            self._event.clear()
            with self._room:
                if self._items:
                    self._room.notify()
                    return self._items.popleft()
                if self._closed:
                    raise StopAsyncIteration
            await self._event.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(discard=True)
