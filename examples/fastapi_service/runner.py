"""Jobs from acceptance to their end: attempts in the pool, waits outside it, and every end written down."""

import asyncio
import concurrent.futures
import functools
import logging
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

import cgexec
from fastapi_service.settings import Settings
from fastapi_service.states import Event, Job, State
from fastapi_service.store import JobStore
from fastapi_service.work import Flaky, simulate

__all__ = ["Cancelled", "Ending", "Runner"]

_LOGGER = logging.getLogger("fastapi_service")
T = TypeVar("T")
# How long a retry that finds the pool full waits before it asks again where the pool does not know, in seconds.
_FULL_WAIT = 1.0
# At the end: for what was just finished to be written down.
_LAST_WORDS = 1.0


class Cancelled(Exception):
    """The job was asked to end, and did."""


class Ending(Exception):
    """The process is about to end and starts nothing more."""


class Runner:
    """
    Runs the jobs of this process. All methods belong to the loop's thread; `_work` alone runs in the pool.

    A job takes a worker only while an attempt runs: one coroutine per job waits for the attempts and, between them,
    for the back-off. Where the pool is full a *new* job is refused; one that was accepted comes back until it gets in.
    """

    def __init__(
        self,
        settings: Settings,
        pool: cgexec.ThreadPoolExecutor,
        store: JobStore,
        io: cgexec.ThreadPoolExecutor,
        wake: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._jobs = pool.options(run_timeout=settings.overdue_after)
        self._store = store
        self._io = io
        self._wake = wake
        self._futures: dict[str, Future[None]] = {}  # of attempts in the pool
        self._tasks: dict[str, asyncio.Task[None]] = {}  # of jobs not ended

    # -- accepting --------------------------------------------------------------------------------------------------

    async def start(self, job_id: str | None = None) -> tuple[Job, bool]:
        """
        Accept a job, or return the one that has this id; and whether it is new.

        Raises:
            QueueFull: there is no place; nothing is left of the job then.
            Ending: the process is about to end; likewise.
        """
        # A caller that goes away must not leave a job half accepted.
        return await asyncio.shield(asyncio.ensure_future(self._start(job_id or uuid.uuid4().hex)))

    async def _start(self, job_id: str) -> tuple[Job, bool]:
        job, new = await self._io.run(self._store.create, job_id)
        if new:
            try:
                future = self._submit(job_id, 1)
            except BaseException:
                await self._io.run(self._store.discard, job_id)
                raise
            self._futures[job_id] = future
            task = asyncio.create_task(self._see_through(job_id), name=f"job {job_id}")
            self._tasks[job_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(job_id, None))
            self._wake()
        return job, new

    def _submit(self, job_id: str, attempt: int) -> Future[None]:
        try:
            return self._jobs.submit(self._work, job_id, attempt)
        except RuntimeError as error:  # after shutdown
            raise Ending(str(error)) from None

    # -- one job ----------------------------------------------------------------------------------------------------

    async def _see_through(self, job_id: str) -> None:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_random_exponential(self._settings.backoff, self._settings.backoff_most),
            retry=retry_if_exception_type(Flaky),
            before_sleep=functools.partial(self._note_retry, job_id),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await self._attempt(job_id, attempt.retry_state.attempt_number)
        except Ending:
            return  # `end` writes it down for all
        except Cancelled:
            await self._move(job_id, State.CANCELLED)
        except asyncio.CancelledError:
            # By `cancel` during the back-off, or by the end of the process, which writes it down for all.
            task = asyncio.current_task()
            assert task is not None, "this is one"
            task.uncancel()
            await self._move(job_id, State.CANCELLED)  # refused unless it was asked to end
        except Exception as error:  # whatever a job raises is its result
            if not isinstance(error, Flaky):
                _LOGGER.exception("job %s failed", job_id)
            # It is refused if the job was cancelled while it failed.
            if await self._move(job_id, State.FAILED, error=f"{type(error).__name__}: {error}") is None:
                await self._move(job_id, State.CANCELLED)

    async def _attempt(self, job_id: str, number: int) -> None:
        if number > 1 and await self._move(job_id, State.QUEUED) is None:
            raise Cancelled
        future = self._futures.get(job_id) if number == 1 else await self._enter(job_id, number)
        assert future is not None, "the first attempt is in the pool"
        self._futures[job_id] = future
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
        try:
            await ended.wait()
        finally:
            self._futures.pop(job_id, None)
        if future.cancelled() or isinstance(future.exception(), concurrent.futures.CancelledError):
            raise Cancelled
        future.result()

    async def _enter(self, job_id: str, number: int) -> Future[None]:
        """Hand a later attempt in; it was accepted before, so it is not refused now."""
        while True:
            try:
                return self._submit(job_id, number)
            except cgexec.QueueFull as full:
                await asyncio.sleep(full.retry_after or _FULL_WAIT)

    async def _note_retry(self, job_id: str, seen: RetryCallState) -> None:
        error = None if seen.outcome is None else seen.outcome.exception()
        if await self._move(job_id, State.RETRYING, error=str(error)) is None:
            raise Cancelled

    def _work(self, job_id: str, attempt: int) -> None:
        """One attempt, in the pool. What it achieved is stored before its worker is free again."""
        if self._store.move(job_id, State.RUNNING) is None:
            raise Cancelled  # between the queue and here
        self._wake()

        def report(progress: float) -> None:
            self._store.report(job_id, progress)
            self._wake()

        result = simulate(self._settings, job_id, attempt, report)
        self._store.move(job_id, State.COMPLETED, result=result)
        self._wake()

    async def _move(self, job_id: str, to: State, *, error: str | None = None) -> Event | None:
        event = await self._io.run(lambda: self._store.move(job_id, to, error=error))
        self._wake()
        return event

    # -- ending -----------------------------------------------------------------------------------------------------

    async def cancel(self, job_id: str) -> Job | None:
        """Ask a job of any process to end, and return it; None if there is no such job."""
        await self._move(job_id, State.CANCELLING)
        self.heed(job_id)
        return await self._io.run(self._store.get, job_id)

    def heed(self, job_id: str) -> None:
        """End a job of this process that is to be cancelled, whoever said so."""
        future, task = self._futures.get(job_id), self._tasks.get(job_id)
        if future is not None:
            cgexec.cancel(future)
        elif task is not None:  # between two attempts
            task.cancel()

    async def end(self, left: cgexec.Leftovers) -> None:
        """Write down what became of everything; the pool has been drained. What is left was interrupted."""
        running = {each.future for each in left.running}
        for job_id, task in self._tasks.items():
            if self._futures.get(job_id) is None:  # in a back-off
                task.cancel()
        ended = [task for job_id, task in self._tasks.items() if self._futures.get(job_id) not in running]
        if ended:
            await asyncio.wait(ended, timeout=_LAST_WORDS)
        interrupted = await self._io.run(self._store.interrupt)
        if interrupted:
            _LOGGER.warning("%d jobs were interrupted", interrupted)
        self._wake()

    async def keep(self, seconds: float) -> None:
        """Look again and again for jobs that are overdue, processes that are gone, and results too old to keep."""
        while True:
            await self._guarded(self._look())
            await asyncio.sleep(seconds)

    async def _look(self) -> None:
        for job_id in await self._io.run(self._store.overdue, self._settings.overdue_after):
            await self._move(job_id, State.OVERDUE)
        if await self._io.run(self._store.recover):
            self._wake()
        await self._io.run(self._store.sweep, self._settings.keep_seconds, self._settings.keep_jobs)

    async def _guarded(self, look: Coroutine[Any, Any, T]) -> None:
        try:
            await look
        except Exception:  # a full disk must not end the keeper for good
            _LOGGER.exception("could not look after the jobs")
