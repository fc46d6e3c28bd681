"""
The asynchronous side of a pool under any event loop that AnyIO runs on: trio, and asyncio too. And AnyIO's own limiter,
sized by the container.

Needs the extra: ``pip install "cgexec[anyio]"``. Under plain asyncio the pool's own `run`, `stream` and `adrain` do the
same without it.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar, Unpack

from cgexec import _off
from cgexec._executor import ThreadPoolExecutor
from cgexec._leftovers import Leftovers
from cgexec._limiter import LimiterSize
from cgexec._pool import awaiting, mapping, streaming
from cgexec._pool.here import trio_token
from cgexec._pool.task import Extra
from cgexec._told import Told
from cgexec._wrap import BoundedExecutor

try:
    import anyio
    import anyio.lowlevel
except ImportError as error:
    raise ImportError('cgexec.anyio needs AnyIO: pip install "cgexec[anyio]"') from error

__all__ = ["LimiterSize", "drain", "run", "size_default_limiter", "stream"]

P = ParamSpec("P")
T = TypeVar("T")


class _AnyLoop:
    """The loop of the current task, as `awaiting.Loop`."""

    def __init__(self) -> None:
        token = trio_token()
        if token is not None:
            self._call_soon: Callable[..., object] = token.run_sync_soon
        else:
            import asyncio

            self._call_soon = asyncio.get_running_loop().call_soon_threadsafe

    def event(self) -> anyio.Event:
        return anyio.Event()

    async def wait(self, event: anyio.Event, seconds: float | None) -> bool:
        if seconds is None:
            await event.wait()
        else:
            with anyio.move_on_after(seconds):
                await event.wait()
        return bool(event.is_set())

    def call_soon(self, fn: Callable[..., object], *args: object) -> None:
        try:
            self._call_soon(fn, *args)
        except RuntimeError:  # the loop has gone: nobody is waiting any more
            return

    async def pause(self) -> None:
        await anyio.lowlevel.checkpoint()

    def start(self, fn: Callable[[], Coroutine[Any, Any, None]], ended: Callable[[], None]) -> Callable[[], object]:
        if trio_token() is None:
            return awaiting.AsyncioLoop().start(fn, ended)
        import trio

        scope = trio.CancelScope()

        async def run() -> None:
            try:
                with scope:
                    await fn()
            finally:
                ended()

        trio.lowlevel.spawn_system_task(run, context=copy_context())
        return scope.cancel


async def run(
    pool: ThreadPoolExecutor | BoundedExecutor, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call ``fn(*args, **kwargs)`` in a worker of *pool* and return its result; see `ThreadPoolExecutor.run`."""
    inner = pool._cgexec_pool  # noqa: SLF001  # the same package
    if inner is None:
        assert isinstance(pool, ThreadPoolExecutor), "no other is the standard pool"
        result: T = await _off.run(pool, fn, args, kwargs, _AnyLoop())
    else:
        result = await inner.run((fn, args, kwargs), Extra(copy_context()), _AnyLoop())
    return result


def stream(
    pool: ThreadPoolExecutor | BoundedExecutor,
    fn: Callable[..., T],
    *iterables: Iterable[Any] | AsyncIterable[Any],
    buffersize: int | None = None,
    ordered: bool = True,
) -> AsyncIterator[T]:
    """
    Iterate over the results of ``map(fn, *iterables)``; see `ThreadPoolExecutor.stream`.

    Under trio an asynchronous generator that is left early should be closed:
    ``async with aclosing(stream(...)) as results``.
    """
    mapping.check_buffersize(buffersize)
    inner, calls = pool._cgexec_pool, streaming.each_call(iterables)  # noqa: SLF001
    if inner is None:
        assert isinstance(pool, ThreadPoolExecutor), "no other is the standard pool"
        ahead = buffersize or 2 * pool.stats().limit
        return _off.stream(pool, fn, calls, ahead, ordered, _AnyLoop)
    return inner.stream(fn, calls, buffersize, ordered, Extra(), _AnyLoop, pool)


async def drain(pool: ThreadPoolExecutor | BoundedExecutor, timeout: float | None = None) -> Leftovers:
    """Accept nothing more, wait for the rest, and return what is left; see `ThreadPoolExecutor.drain`."""
    return await pool._cgexec_adrain(timeout, _AnyLoop())  # noqa: SLF001  # the same package


def size_default_limiter(*, every: float | None = 10.0, **told: Unpack[Told]) -> LimiterSize:
    """
    Set the number of plain functions that AnyIO runs at once to what the container allows, and keep it there.

    AnyIO has 40 threads for every container; Starlette and FastAPI run plain endpoints, dependencies and background
    tasks in them. Those are not taken from any executor, so neither `cgexec.asyncio.install` nor a pool changes them.

    Call it on the loop's thread; it takes some milliseconds once. From then on a task of the loop reads the limits
    every *every* seconds, in a thread, if functions run under the limiter at that moment; it ends with the loop. A
    smaller number waits for calls that run to end. Nothing is changed with CGEXEC_MODE=observe or off.

    Args:
        every: seconds between two looks, at least a thousandth; None looks once.
        **told: what `cgexec.recommend` can be told of those functions. Most wait for a database or another service:
            ``io_ratio=0.9``.

    Returns:
        A handle: `stop()` ends it and puts the former number back; so does the end of its ``with`` block.

    Raises:
        ValueError: an argument or a ``CGEXEC_*`` variable is out of range.
    """
    return LimiterSize(every, told)
