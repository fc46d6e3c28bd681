"""The jobs of this process: accepted or refused, cancelled, looked after, and accounted for at the end."""

import asyncio
import logging
import time
import uuid

from fastapi_service.execution import Execution, Tools
from fastapi_service.states import Job, State

__all__ = ["Runner"]

_LOGGER = logging.getLogger("fastapi_service")
# At the end: for what was just finished to be written down.
_LAST_WORDS = 1.0


class Runner:
    """
    All methods belong to the loop's thread.

    A job takes a worker only while an attempt runs: one coroutine per job waits for the attempts and, between them, for
    the back-off. Where the pool is full a *new* job is refused; one that was accepted comes back until it gets in.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        # Of each job of this process that has not ended, from before it is in the store until its end is: what the
        # store shows and is not in here has been lost.
        self._executions: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[str, asyncio.Task[tuple[Job, bool]]] = {}

    # -- accepting --------------------------------------------------------------------------------------------------

    async def start(self, job_id: str | None = None) -> tuple[Job, bool]:
        """
        Accept a job, or return the one that has this id; and whether it is new.

        Raises:
            QueueFull: there is no place; there never was such a job then.
            Ending, Broken: there never will be; likewise.
        """
        if job_id is None:
            return await asyncio.shield(asyncio.create_task(self._accept(uuid.uuid4().hex)))
        starting, first = self._starting.get(job_id), False
        if starting is None:
            first = True
            starting = self._starting[job_id] = asyncio.create_task(self._find_or_accept(job_id))
            starting.add_done_callback(lambda _: self._starting.pop(job_id))
        # A caller that goes away must not leave a job half accepted.
        job, new = await asyncio.shield(starting)
        return job, new and first

    async def _find_or_accept(self, job_id: str) -> tuple[Job, bool]:
        found = await self._tools.io.run(self._tools.store.get, job_id)  # who asks for what is there needs no place
        return await self._accept(job_id) if found is None else (found, False)

    async def _accept(self, job_id: str) -> tuple[Job, bool]:
        """The place comes before the row: what can be seen in the store is accepted, in whichever process one looks."""
        tools = self._tools
        tools.admission.check(len(self._executions))
        execution = Execution(job_id, tools)
        execution.reserve()
        self._executions[job_id] = execution
        try:
            job, new = await tools.io.run(tools.store.create, job_id)
        except BaseException:
            self._withdraw(execution)
            raise
        if not new:  # another process was faster
            self._withdraw(execution)
            return job, False
        execution.accept()
        task = asyncio.create_task(self._see_through(execution), name=f"job {job_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        tools.wake()
        return job, True

    def _withdraw(self, execution: Execution) -> None:
        self._forget(execution)
        execution.withdraw()

    async def _see_through(self, execution: Execution) -> None:
        try:
            await execution.run()
        finally:
            self._forget(execution)

    def _forget(self, execution: Execution) -> None:
        # Its id may have been given to another one, where results are kept for no time at all.
        if self._executions.get(execution.id) is execution:
            del self._executions[execution.id]

    # -- cancelling -------------------------------------------------------------------------------------------------

    async def cancel(self, job_id: str) -> Job | None:
        """Ask a job of any process to end, and return it; None if there is no such job."""
        tools = self._tools
        # What is not in the store is not accepted yet: nobody can mean it, and its end would not be a cancelled one.
        if await tools.io.run(tools.store.get, job_id) is None:
            return None
        await tools.io.run(tools.store.move, job_id, State.CANCELLING)
        tools.wake()
        self.heed(job_id)
        return await tools.io.run(tools.store.get, job_id)

    def heed(self, job_id: str) -> None:
        """End a job of this process that is to be cancelled, whoever said so and however often."""
        execution = self._executions.get(job_id)
        if execution is not None:
            execution.stop()

    # -- looking after ----------------------------------------------------------------------------------------------

    async def keep(self, seconds: float) -> None:
        """Look again and again for jobs that are overdue or lost, processes that are gone, and old results."""
        while True:
            try:
                await self._look()
            except Exception:  # a full disk must not end the keeper for good
                _LOGGER.exception("could not look after the jobs")
            await asyncio.sleep(seconds)

    async def _look(self) -> None:
        store, io, settings = self._tools.store, self._tools.io, self._tools.settings
        lost: list[str] = []
        for job in await io.run(store.unfinished):
            if job.id not in self._executions:  # it was asked after the store: what has ended since is refused there
                lost.append(job.id)
            elif job.state is State.CANCELLING:  # in case the event was missed
                self.heed(job.id)
            elif job.state is State.RUNNING and time.time() - (job.started or 0) > settings.overdue_after:
                await io.run(store.move, job.id, State.OVERDUE)
                self._tools.wake()
        left = await io.run(lambda: store.interrupt(lost)) if lost else 0
        if left:
            _LOGGER.error("nothing in this process runs the jobs %s: they are interrupted", ", ".join(lost))
            self._tools.wake()
        if await io.run(store.recover):
            self._tools.wake()
        await io.run(store.sweep, settings.keep_seconds, settings.keep_jobs)

    # -- ending -----------------------------------------------------------------------------------------------------

    async def end(self) -> None:
        """Write down what became of everything; the pool has been drained. What is left was interrupted."""
        for execution in self._executions.values():
            execution.stop()
        if self._tasks:
            # Those that heed it write their own end, as those do that have just finished.
            await asyncio.wait(self._tasks, timeout=_LAST_WORDS)
        store, io = self._tools.store, self._tools.io
        unheeding = [job.id for job in await io.run(store.unfinished)]
        await io.run(store.interrupt, unheeding)
        self._tools.wake()
