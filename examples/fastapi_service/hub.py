"""Events out of the store to whoever listens in this process: the WebSockets, and the runner for cancellations."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cgexec
from cgexec.asyncio import Bridge
from fastapi_service.states import FINAL, Event
from fastapi_service.store import JobStore

__all__ = ["Follower", "Hub"]

_LOGGER = logging.getLogger("fastapi_service")
_BATCH = 500
# Events that a slow client may be behind; then it is served from the store again.
_BEHIND = 256


class Follower:
    """
    One listener to one job, from a number on. For one coroutine.

    What is in the store comes from there, what happens from the hub. Whoever is too slow for that reads the store
    again, so nothing is lost and nothing grows.
    """

    def __init__(self, store: JobStore, io: cgexec.ThreadPoolExecutor, job_id: str, after: int) -> None:
        self._store, self._io = store, io
        self._job_id = job_id
        self.after = after  # the number of the last event that was returned
        self._new: deque[Event] = deque()
        self._missed = True  # first of all what was before
        self._event = asyncio.Event()

    def put(self, event: Event) -> None:
        """Tell of an event; the hub does."""
        if len(self._new) >= _BEHIND:
            self._new.clear()
            self._missed = True
        self._new.append(event)
        self._event.set()

    async def next(self, seconds: float) -> list[Event]:
        """Return the events that have not been returned; wait for one for so long, none means time for a heartbeat."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    found = await self._take()
                    if found:
                        self.after = found[-1].seq
                        return found
                    await self._event.wait()
        except TimeoutError:
            self._missed = True  # silent for long: look whether something was
            return []

    async def _take(self) -> list[Event]:
        if self._missed:
            self._new.clear()  # they are in the store, too
            self._missed = False
            found: list[Event] | None = None
            try:
                found = await self._io.run(lambda: self._store.events(self.after, job_id=self._job_id, limit=_BATCH))
            finally:
                # Also while it was read: too many at once, or the time for a heartbeat.
                self._missed = self._missed or found is None or len(found) == _BATCH
            return found
        self._event.clear()
        found = [event for event in self._new if event.seq > self.after]
        self._new.clear()
        return found


class Hub:
    """
    One pump a process: it reads the store and hands on. All on the loop's thread, but for `wake`.

    Threads of this process wake it; what other processes write is found by looking every *poll* seconds.
    """

    def __init__(self, store: JobStore, io: cgexec.ThreadPoolExecutor, poll: float) -> None:
        self._store, self._io, self._poll = store, io, poll
        self._followers: dict[str, set[Follower]] = defaultdict(set)
        self._bridge: Bridge[None] | None = None
        self._listeners: list[Callable[[Event], None]] = []

    def wake(self) -> None:
        """Have the pump look now; any thread may."""
        if self._bridge is not None:
            self._bridge.send(None)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have *listener* called with everything that happens, in any process, on the loop's thread."""
        self._listeners.append(listener)

    @contextmanager
    def follow(self, job_id: str, after: int) -> Iterator[Follower]:
        """Follow a job for the length of the block, from the event after that number."""
        follower = Follower(self._store, self._io, job_id, after)
        self._followers[job_id].add(follower)
        try:
            yield follower
        finally:
            self._followers[job_id].discard(follower)
            if not self._followers[job_id]:
                del self._followers[job_id]

    async def pump(self, last: int) -> None:
        """Hand on what happens after the event of that number, until it is cancelled."""
        async with Bridge[None]() as self._bridge:
            while True:
                try:
                    events = await self._io.run(lambda: self._store.events(last, limit=_BATCH))  # noqa: B023
                except Exception:  # the file may be busy or the disk full; it is looked at again
                    _LOGGER.exception("could not read the events")
                    events = []
                for event in events:
                    last = event.seq
                    self._hand_on(event)
                if len(events) < _BATCH:
                    await self._wait()

    def _hand_on(self, event: Event) -> None:
        for follower in self._followers.get(event.job, ()):
            follower.put(event)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # the others, and the next event, must not miss it
                _LOGGER.exception("a listener failed at event %d", event.seq)

    async def _wait(self) -> None:
        assert self._bridge is not None, "the pump made it"
        try:
            async with asyncio.timeout(self._poll):
                await anext(self._bridge)
        except TimeoutError:
            return


def ends(events: list[Event]) -> bool:
    """Return whether the job has ended with these."""
    return bool(events) and events[-1].state in FINAL
