"""One job of this process: its attempts in the pool, the waits between them, and every change written down."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

import cgexec
from fastapi_service import wire
from fastapi_service.admission import Admission, Broken, Ending
from fastapi_service.settings import Settings
from fastapi_service.states import Event, State
from fastapi_service.store import JobStore
from fastapi_service.work import Flaky, simulate

__all__ = ["Cancelled", "Execution", "Tools"]

_LOGGER = logging.getLogger("fastapi_service")
T = TypeVar("T")
# A store that refuses a change (disk full, file locked) is asked again after so many seconds, doubled up to the second.
_AGAIN, _AGAIN_MOST = 0.1, 5.0
_LONGEST_ERROR = 2000


class Cancelled(Exception):
    """The job was asked to end, and did."""


class Failed(Exception):
    """An attempt failed. With its words alone: the error's traceback would keep what the attempt held in memory."""


class Again(Failed):
    """It did so for a reason that may be gone the next time."""


class Tools(NamedTuple):
    """What the jobs of a process share."""

    settings: Settings
    admission: Admission
    store: JobStore
    io: cgexec.ThreadPoolExecutor
    wake: Callable[[], object]


class Execution:
    """
    A job from the place that is reserved for it to its end. All methods belong to the loop's thread; `_work` and
    `_tell` alone run in the pool.

    One coroutine, `run`, writes everything that becomes of the job here, one change after the other, each until the
    store has taken it. Nobody cancels it: `stop` ends its waits, never a write. So there is one end, and it cannot be
    lost on its way.
    """

    def __init__(self, job_id: str, tools: Tools) -> None:
        self.id = job_id
        self.future: Future[object] | None = None  # of the latest attempt
        self._settings, self._admission, self._store, self._io, self._wake = tools
        self._loop = asyncio.get_running_loop()
        self._accepted = threading.Event()  # or withdrawn: the attempt that keeps the place may go on
        self._stopped = False
        self._waiting: asyncio.Timeout | None = None  # what `stop` is to end
        # What the attempt said last, None: it has not begun. Set by its thread, which tells the loop only where no word
        # is under way: a job may report a hundred thousand times a second.
        self._heard: float | None = None
        self._told = False
        self._news = asyncio.Event()

    # -- acceptance -------------------------------------------------------------------------------------------------

    def reserve(self) -> None:
        """
        Take a place in the pool, for a first attempt that waits until the job is accepted.

        Raises:
            QueueFull: there is none.
            Ending, Broken: there never will be.
        """
        self.future = self._admission.submit(self._work, 1)

    def accept(self) -> None:
        """Let the attempt begin: the job is in the store."""
        self._accepted.set()

    def withdraw(self) -> None:
        """Give the place back: there is no such job, or somebody else has it."""
        self.stop()
        self._accepted.set()

    def stop(self) -> None:
        """Have the job end soon. Called again it does nothing; where the attempt has ended, its end holds."""
        self._stopped = True
        if self.future is not None:
            cgexec.cancel(self.future)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.reschedule(0.0)

    # -- the attempts -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the attempts and write down how they ended."""
        try:
            result = await self._attempts()
        except (Cancelled, Ending):
            await self._write(lambda: self._store.interrupt([self.id]))
        except (Failed, Broken) as error:
            text = str(error)
            await self._write(lambda: self._store.move(self.id, State.FAILED, error=text))
        else:
            await self._write(lambda: self._store.move(self.id, State.COMPLETED, result=result))

    async def _attempts(self) -> object:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_random_exponential(self._settings.backoff, self._settings.backoff_most),
            retry=retry_if_exception_type(Again),
            before_sleep=self._note_retry,
            sleep=self._back_off,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self._attempt(attempt.retry_state.attempt_number)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, number: int) -> object:
        if number > 1:
            await self._move(State.QUEUED)
            await self._enter(number)
        await self._follow()
        result, failure = self._outcome()
        if failure is not None:
            raise failure
        return result

    def _outcome(self) -> tuple[object, Cancelled | Failed | None]:
        """Return what the attempt returned, and what is to be raised of it."""
        future, self.future = self.future, None
        assert future is not None, "it was handed in"
        if future.cancelled():
            return None, Cancelled()
        error = future.exception()
        if error is None:
            return future.result(), None
        if isinstance(error, cgexec.TaskCancelled):
            return None, Cancelled()
        if isinstance(error, Flaky):
            return None, Again(_text(error))
        # Whatever a job raises is its result, also SystemExit, which must not end the loop.
        _LOGGER.error("job %s failed", self.id, exc_info=error)
        return None, Failed(_text(error))

    async def _enter(self, number: int) -> None:
        async with self._stoppable():
            self._heard = None
            self.future = await self._admission.line_up(self._work, number)

    async def _follow(self) -> None:
        """Write down that the attempt runs and how far it is, at most so often and its last word always."""
        ended = asyncio.Event()
        assert self.future is not None, "it was handed in"
        self.future.add_done_callback(lambda _: self._soon(self._note_end, ended))
        written: float | None = None
        while True:
            await self._news.wait()
            self._news.clear()
            over = ended.is_set()  # asked first: what was said by then is all that will be
            heard = self._heard
            if heard is not None and written is None:
                written = 0.0
                with suppress(Cancelled):  # the attempt says so itself, when it has ended
                    await self._move(State.RUNNING)
            if heard is not None and heard != written:
                written = heard
                await self._report(heard)
            if over:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.progress_every):
                    await ended.wait()

    async def _note_retry(self, seen: RetryCallState) -> None:
        assert seen.outcome is not None, "the attempt has ended"
        await self._move(State.RETRYING, error=str(seen.outcome.exception()))

    async def _back_off(self, seconds: float) -> None:
        async with self._stoppable():
            await asyncio.sleep(seconds)

    @asynccontextmanager
    async def _stoppable(self) -> AsyncIterator[None]:
        """Let `stop` end what is awaited in the block, by raising `Cancelled`."""
        if self._stopped:
            raise Cancelled
        try:
            async with asyncio.timeout(None) as self._waiting:
                yield
        except TimeoutError:
            raise Cancelled from None
        finally:
            self._waiting = None

    # -- in the pool ------------------------------------------------------------------------------------------------

    def _work(self, attempt: int) -> object:
        """One attempt."""
        self._accepted.wait()  # for as long as a store needs to write a row, and only if a worker was free
        cgexec.checkpoint()
        self._tell(0.0)
        result = simulate(self._settings, self.id, attempt, self._tell)
        wire.check(result)  # or nobody could fetch it, ever
        return result

    def _tell(self, progress: float) -> None:
        self._heard = progress
        if not self._told:
            self._told = True
            self._soon(self._hear)

    def _soon(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            self._loop.call_soon_threadsafe(call, *arguments)

    # -- what the pool said, on the loop ----------------------------------------------------------------------------

    def _hear(self) -> None:
        self._told = False  # before anybody reads: a word from now on is told again
        self._news.set()

    def _note_end(self, ended: asyncio.Event) -> None:
        ended.set()
        self._news.set()

    # -- writing ----------------------------------------------------------------------------------------------------

    async def _move(self, to: State, *, error: str | None = None) -> Event:
        """Bring the job into a state on its way; `Cancelled` if it is to end, or has been ended by somebody else."""
        event = await self._write(lambda: self._store.move(self.id, to, error=error))
        if event is None:
            self.stop()
            raise Cancelled
        return event

    async def _write(self, write: Callable[[], T]) -> T:
        again = _AGAIN
        while True:
            try:
                written = await self._io.run(write)
            except Exception:
                if again == _AGAIN:
                    _LOGGER.exception("job %s: the store did not take a change; trying on", self.id)
                await asyncio.sleep(again)
                again = min(2 * again, _AGAIN_MOST)
            else:
                self._wake()
                return written

    async def _report(self, progress: float) -> None:
        try:
            await self._io.run(self._store.report, self.id, progress)
        except Exception:
            _LOGGER.exception("job %s: its progress was not written", self.id)  # the next one may be
        else:
            self._wake()


def _text(error: BaseException) -> str:
    """Return what a store can keep of an error: no lone surrogates, as in names of files, and not without end."""
    text = f"{type(error).__name__}: {error}"
    return text[:_LONGEST_ERROR].encode(errors="replace").decode()
