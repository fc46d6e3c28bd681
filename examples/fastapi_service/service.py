"""The parts of the service put together, and how long each lives."""

import asyncio
import gc
import logging
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import cgexec
from cgexec.starlette import Lifespan
from fastapi_service.admission import Admission
from fastapi_service.execution import Tools
from fastapi_service.hub import Hub
from fastapi_service.metrics import reported
from fastapi_service.runner import Runner
from fastapi_service.settings import Settings
from fastapi_service.sqlite_store import SqliteStore
from fastapi_service.states import Event, State
from fastapi_service.store import JobStore, MemoryStore
from fastapi_service.work import give_way

__all__ = ["Service", "make_store"]

_LOGGER = logging.getLogger("fastapi_service")
# Between two looks for overdue jobs, dead processes and old results, in seconds.
_KEEP_S = 1.0
# At the end: for the clients to be told, in seconds.
_TELL_S = 0.5


def make_store(settings: Settings) -> JobStore:
    """Return the store that the settings name."""
    return SqliteStore(Path(settings.database)) if settings.database else MemoryStore()


@contextmanager
def _logging(what: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        _LOGGER.exception("could not %s", what)


class Service:
    """
    One process of the service. Two pools: *pool* runs jobs; *io* talks to the store, so that the loop does not wait for
    a disk, and a store must not wait behind jobs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pool = cgexec.ThreadPoolExecutor(
            settings.max_workers or None,
            name="jobs",
            queue_size=settings.queue_size,
            when_full="raise",
            cpu_per_task=settings.cpu_per_task,
            memory_per_task=settings.memory_per_task or None,
            initializer=give_way,
        )
        # What the service needs to say that it has no memory must not wait for memory.
        self.io = cgexec.ThreadPoolExecutor(2, name="store", queue_size=math.inf, memory_guard=False)
        self.store = make_store(settings)
        self.hub = Hub(self.store, self.io, settings.poll)
        admission = Admission(settings, self.pool, lambda: self.closing)
        self.runner = Runner(Tools(settings, admission, self.store, self.io, self.hub.wake))
        self.lifespan = Lifespan(self.pool, grace=settings.grace, on_end=self._end, inner=self._inside, io_ratio=0.9)

    @property
    def closing(self) -> bool:
        """Whether the end has begun: nothing new is accepted."""
        return self.lifespan.closing

    @asynccontextmanager
    async def _inside(self, _: object) -> AsyncIterator[None]:
        # A full disk is no reason not to serve, and the keeper does it again: where one process does not start, uvicorn
        # ends them all.
        with _logging("see to the jobs of dead processes"):
            await self.io.run(self.store.recover)
        # What was loaded is not looked through again: a full collection took the loop 40 ms, now a few.
        gc.collect()
        gc.freeze()
        self.hub.listen(self._heed)
        last = await self.io.run(self.store.last_seq)
        tasks = [asyncio.create_task(self.hub.pump(last)), asyncio.create_task(self.runner.keep(_KEEP_S))]
        try:
            with reported(self.pool):
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with _logging("close the store"):
                await self.io.run(self.store.close)
            await self.io.adrain(_TELL_S)

    def _heed(self, event: Event) -> None:
        if event.state is State.CANCELLING:
            self.runner.heed(event.job)

    async def _end(self, _: cgexec.Leftovers) -> None:
        # A store that fails must not keep the server from closing; the next process marks what this one could not.
        with _logging("write down what was interrupted"):
            await self.runner.end()
        # The last events still have to reach those who listen; then the server closes their connections.
        await asyncio.sleep(_TELL_S)
