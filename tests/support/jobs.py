"""The runner of the example service in the test's own loop, with jobs and stores that do as they are told."""

import asyncio
import contextlib
import math
import threading
from collections.abc import AsyncIterator, Callable

from fastapi_service.admission import Admission
from fastapi_service.execution import Tools
from fastapi_service.runner import Runner
from fastapi_service.settings import Settings
from fastapi_service.states import Job, State
from fastapi_service.store import JobStore, MemoryStore
from fastapi_service.work import Flaky

import cgexec
from support.pools import SOON

__all__ = ["NEVER", "Gate", "Held", "Jobs", "fail", "jobs", "line_up", "within"]

NEVER = 3600.0


class Gate:
    """Where a thread waits until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def wait(self) -> None:
        self._reached.set()
        assert self._open.wait(SOON)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, SOON)

    def open(self) -> None:
        self._open.set()


class Jobs:
    """A runner, its pool and its store."""

    def __init__(self, store: JobStore, workers: int, queue_size: int, **settings: object) -> None:
        self.store = store
        told = {"backoff": 0.001, "backoff_most": 0.001, "attempts": 2, "progress_every": 0, **settings}
        self.settings = Settings(**told, queue_size=queue_size)
        self.pool = cgexec.ThreadPoolExecutor(
            workers, queue_size=queue_size, when_full="raise", memory_guard=False, name="jobs"
        )
        self.io = cgexec.ThreadPoolExecutor(2, queue_size=math.inf, memory_guard=False, name="store")
        self.closing = False
        self.admission = Admission(self.settings, self.pool, lambda: self.closing)
        self.runner = Runner(Tools(self.settings, self.admission, store, self.io, lambda: None))

    async def line(self) -> None:
        """Wait until a job stands in the line for its next attempt."""
        await self.when(self.admission._line.locked)

    async def until(self, job_id: str, state: State) -> Job:
        return await self.when(lambda: (job := self.store.get(job_id)) is not None and job.state is state and job)

    async def when(self, condition: Callable[[], object]) -> object:
        while not (found := condition()):
            await asyncio.sleep(0.001)
        return found


@contextlib.asynccontextmanager
async def jobs(
    store: JobStore | None = None, *, workers: int = 1, queue_size: int = 0, **settings: object
) -> AsyncIterator[Jobs]:
    """Run jobs until the end of the block."""
    made = Jobs(store or MemoryStore(), workers, queue_size, **settings)
    try:
        yield made
    finally:
        made.closing = True
        await made.pool.adrain(0)
        await made.runner.end()
        await made.pool.adrain(SOON)
        await made.io.adrain(SOON)


def within(main):
    """Run a coroutine to its end."""

    async def timed():
        async with asyncio.timeout(SOON):
            return await main

    return asyncio.run(timed())


def fail(*_):
    raise Flaky("not now")


class Held(MemoryStore):
    """A next attempt begins when a test likes."""

    def __init__(self):
        super().__init__()
        self.gate = Gate()

    def move(self, job_id, to, **told):
        if to is State.QUEUED:
            self.gate.wait()
        return super().move(job_id, to, **told)


async def line_up(here, first, second):
    """Let *first* fail and *second* have the only worker meanwhile."""
    await here.runner.start(first)
    await here.store.gate.reached()
    await here.runner.start(second)
    here.store.gate.open()
    await here.line()
