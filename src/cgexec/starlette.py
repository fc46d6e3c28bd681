"""
A service on FastAPI or Starlette: `Lifespan` sizes what the framework runs in threads and owns the end of the process's
pools, `add_queue_full_handler` answers a full pool with 503.

Needs the extra: ``pip install "cgexec[starlette]"`` (FastAPI brings it along).
"""

import asyncio
import inspect
import logging
import math
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from time import monotonic
from types import FrameType
from typing import Any, Unpack

from cgexec import asyncio as on_asyncio
from cgexec._errors import QueueFull
from cgexec._executor import ThreadPoolExecutor
from cgexec._leftovers import Leftovers
from cgexec._pool.here import cancel
from cgexec._settings import check_seconds
from cgexec._told import Told
from cgexec._wrap import BoundedExecutor

try:
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
except ImportError as error:
    raise ImportError('cgexec.starlette needs Starlette: pip install "cgexec[starlette]"') from error

__all__ = ["Lifespan", "add_queue_full_handler", "queue_full_response"]

_LOGGER = logging.getLogger("cgexec")
OnEnd = Callable[[Leftovers], object]
# Kubernetes' default, in seconds, and what is left of it for connections to be closed and the process to go.
_GRACE = 30.0
_MARGIN = 5.0
# What a client is told to wait while nothing is known, in seconds.
_RETRY_AFTER = 5.0
# RFC 6455, section 7.4 and its registry: "try again later".
_TRY_AGAIN_LATER = 1013


class Lifespan:
    """
    The ``lifespan=`` of an application: sizes its threads at the start, drains its pools at the end. ::

        pool = cgexec.ThreadPoolExecutor(cpu_per_task=0.1, name="jobs")
        lifespan = cgexec.starlette.Lifespan(pool, grace=330)
        app = FastAPI(lifespan=lifespan)

    While the application runs, the loop has the default executor of `cgexec.asyncio.install`, and AnyIO's limiter
    follows the container (`cgexec.anyio.size_default_limiter`).

    The end begins with SIGTERM, with SIGINT (Ctrl-C), or when the server ends the lifespan, whichever is first:

    1. `closing` is True (for the readiness probe, and to refuse new jobs) and the pools accept nothing more.
    2. They are drained until *margin* seconds before the end of *grace*. The server goes on meanwhile: who polls or
       listens gets what his job still brings.
    3. What is left is cancelled, running tasks at their next `cgexec.checkpoint`; *on_end* hears of it.
    4. Only then the server's own handler of the signal is called, which closes the connections.

    Further SIGTERMs change nothing meanwhile: a supervisor and an init that signals its whole group both send one. A
    SIGINT while the pools are drained ends step 2 now, and one more ends step 3: Ctrl-C waits for what runs, the second
    one no longer, and the third one not for *on_end* either.

    A server whose handler cannot be called later (none set with `signal.signal`, or a worker thread) ends at once, and
    the pools are drained when it ends the lifespan. A signal that is ignored stays so. Threads that do not check keep
    the process alive (see `cgexec.cancel`): a program that must not wait for SIGKILL ends with `os._exit`.

    Args:
        *pools: what to drain, all at the same time.
        grace: seconds between SIGTERM and SIGKILL: ``terminationGracePeriodSeconds``.
        margin: seconds of it left for steps 3 and 4.
        on_end: called on the loop with what is left of all pools, also if that is nothing; may be asynchronous. To mark
            jobs as interrupted and to flush.
        inner: the application's own lifespan; entered first, left after the end.
        default_executor: False leaves the loop's default executor as it is.
        limiter: False leaves AnyIO's limiter as it is.
        **told: what `cgexec.recommend` can be told of the plain endpoints and calls in those two, not of the pools'
            tasks: ``io_ratio=0.9``.

    Attributes:
        closing: whether the end has begun.

    Raises:
        ValueError: *grace* or *margin* is no number of seconds.
    """

    def __init__(
        self,
        *pools: ThreadPoolExecutor | BoundedExecutor,
        grace: float = _GRACE,
        margin: float = _MARGIN,
        on_end: OnEnd | None = None,
        inner: Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]] | None = None,
        default_executor: bool = True,
        limiter: bool = True,
        **told: Unpack[Told],
    ) -> None:
        self.closing = False
        self._pools = pools
        self._seconds = max(0.0, _seconds("grace", grace) - _seconds("margin", margin))
        self._on_end = on_end
        self._inner = inner
        self._default_executor = default_executor
        self._limiter = limiter
        self._told = told
        self._ending: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    # Any: an application of any framework; None or the state that *inner* yields, which frameworks type apart.
    def __call__(self, app: Any) -> AbstractAsyncContextManager[Any]:
        """Return the context that *app* runs in; for the framework."""
        return self._span(app)

    @asynccontextmanager
    async def _span(self, app: Any) -> AsyncIterator[Any]:
        self.closing, self._ending, self._hurry = False, None, asyncio.Event()
        inner = nullcontext() if self._inner is None else self._inner(app)
        with ExitStack() as stack:
            self._size(stack)
            async with inner as state:
                with self._heeding_signals():
                    try:
                        yield state
                    finally:
                        await self.end()

    def _size(self, stack: ExitStack) -> None:
        if self._limiter:
            from cgexec.anyio import size_default_limiter

            stack.enter_context(size_default_limiter(**self._told))
        if self._default_executor:
            stack.callback(on_asyncio.install(**self._told).uninstall)

    # -- the end ----------------------------------------------------------------------------------------------------

    async def end(self) -> None:
        """Begin the end (steps 1 to 3), or join it where it has begun. For servers that know other ways to end."""
        ending = self._begin_to_end()
        await asyncio.wait((ending,))  # who joins it and is cancelled does not cancel it
        if not ending.cancelled():
            ending.result()

    def _begin_to_end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self.closing = True
            self._ending = asyncio.create_task(self._drain(monotonic() + self._seconds))
        return self._ending

    async def _drain(self, deadline: float) -> None:
        begin = monotonic()
        each = await asyncio.gather(*(self._drain_one(pool, max(0.0, deadline - begin)) for pool in self._pools))
        left = Leftovers(
            tuple(task for one in each for task in one.unstarted), tuple(task for one in each for task in one.running)
        )
        for task in left.running:
            cancel(task.future)
        if self._pools:
            _LOGGER.info(
                "[drained] in %.3g s: %d tasks were not started, %d still run",
                monotonic() - begin, len(left.unstarted), len(left.running),
            )  # fmt: skip
        if self._on_end is not None:
            answer = self._on_end(left)
            if inspect.isawaitable(answer):
                await answer

    async def _drain_one(self, pool: ThreadPoolExecutor | BoundedExecutor, seconds: float) -> Leftovers:
        """Drain it; one that fails must not cut the others short, nor keep *on_end* from hearing of them."""
        try:
            return await self._drain_or_hurry(pool, seconds)
        except Exception:
            _LOGGER.exception("[drain-failed] pool %r could not be drained", pool.stats().name)
            return Leftovers((), ())

    async def _drain_or_hurry(self, pool: ThreadPoolExecutor | BoundedExecutor, seconds: float) -> Leftovers:
        draining = asyncio.ensure_future(pool.adrain(seconds))
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if draining.done():
            return draining.result()
        draining.cancel()
        return await pool.adrain(0)

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        """Have SIGTERM and SIGINT begin the end, and the handlers there were hear of it when that is over."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        heeded = [number for number, handler in former.items() if handler != signal.SIG_IGN]

        def heed(number: int, _: FrameType | None) -> None:
            # In the middle of whatever the main thread does: only leave word.
            loop.call_soon_threadsafe(self._heed, number, lambda: _pass_on(former[signal.Signals(number)], number))

        for number in heeded:
            signal.signal(number, heed)
        try:
            yield
        finally:
            for number in heeded:
                if signal.getsignal(number) is heed:
                    signal.signal(number, former[number])

    def _heed(self, number: int, then: Callable[[], None]) -> None:
        if self._ending is None:
            self._begin_to_end().add_done_callback(lambda _: then())
        elif self._ending.done():
            then()
        elif number == signal.SIGINT and not self._hurry.is_set():
            self._hurry.set()
        elif number == signal.SIGINT:
            self._ending.cancel()  # what *on_end* waits for does not come, and somebody has noticed


def _pass_on(handler: Any, number: int) -> None:  # Any: what `signal.getsignal` returns
    if callable(handler):
        handler(number, None)
    elif handler == signal.SIG_DFL:
        signal.signal(number, handler)
        signal.raise_signal(number)


def _seconds(name: str, value: float) -> float:
    seconds = check_seconds(name, value, least=0)
    if seconds is None:
        raise ValueError(f"{name}={value!r}: expected seconds; the end has one")
    return seconds


# -- answering for a full pool ----------------------------------------------------------------------------------------


def queue_full_response(full: QueueFull) -> JSONResponse:
    """Return the answer 503 with the reason and ``Retry-After``, whole seconds from 1 (RFC 9110, section 10.2.3)."""
    seconds = _whole_seconds(full)
    body = {"error": "busy", "reason": full.reason, "detail": str(full), "retry_after": seconds}
    return JSONResponse(body, status_code=503, headers={"Retry-After": str(seconds)})


def add_queue_full_handler(app: Any) -> None:  # Any: Starlette's application or FastAPI's, whatever its state's type
    """
    Have `QueueFull` raised by an endpoint of *app* answered by `queue_full_response` instead of 500.

    A WebSocket is closed with code 1013, "try again later", and the seconds in its reason. One that was not
    accepted yet is accepted for that: its client would hear of a 403 otherwise.
    """
    app.add_exception_handler(QueueFull, _answer)


async def _answer(connection: Request | WebSocket, error: Exception) -> Response | None:
    assert isinstance(error, QueueFull), "it is registered for nothing else"
    if isinstance(connection, WebSocket):
        await _close(connection, f"busy, try again in {_whole_seconds(error)} s")
        return None
    return queue_full_response(error)


async def _close(websocket: WebSocket, reason: str) -> None:
    with suppress(WebSocketDisconnect, OSError):  # the client may go first
        if websocket.application_state is WebSocketState.CONNECTING:
            await websocket.accept()
        if websocket.application_state is WebSocketState.CONNECTED:
            await websocket.close(_TRY_AGAIN_LATER, reason)


def _whole_seconds(full: QueueFull) -> int:
    return max(1, math.ceil(_RETRY_AFTER if full.retry_after is None else full.retry_after))
