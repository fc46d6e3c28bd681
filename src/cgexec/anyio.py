"""
The asynchronous side of a pool under any event loop that AnyIO runs on: trio, and asyncio too.

Needs the extra: ``pip install "cgexec[anyio]"``. Under plain asyncio the pool's own `run`, `stream` and `adrain` do the
same without it.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from cgexec import _off
from cgexec._executor import ThreadPoolExecutor
from cgexec._leftovers import Leftovers
from cgexec._pool import awaiting, mapping
from cgexec._pool.here import trio_token
from cgexec._pool.task import Extra
from cgexec._settings import check_seconds

try:
    import anyio
    import anyio.lowlevel
except ImportError as error:
    raise ImportError('cgexec.anyio needs AnyIO: pip install "cgexec[anyio]"') from error

__all__ = ["drain", "run", "stream"]

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


async def run(pool: ThreadPoolExecutor, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``fn(*args, **kwargs)`` in a worker of *pool* and return its result; see `ThreadPoolExecutor.run`."""
    inner = pool._pool  # noqa: SLF001  # the same package
    if inner is None:
        result: T = await _off.run(pool, fn, args, kwargs, _AnyLoop())
    else:
        result = await inner.run((fn, args, kwargs), Extra(copy_context()), _AnyLoop())
    return result


def stream(
    pool: ThreadPoolExecutor,
    fn: Callable[..., T],
    *iterables: Iterable[Any] | AsyncIterable[Any],
    buffersize: int | None = None,
    ordered: bool = True,
) -> AsyncIterator[T]:
    """
    Iterate over the results of ``map(fn, *iterables)``; see `ThreadPoolExecutor.stream`.

    Under trio an asynchronous generator that is left early should be closed: ``async with aclosing(stream(...)) as
        results``.
    """
    mapping.check_buffersize(buffersize)
    inner, calls = pool._pool, awaiting.each_call(iterables)  # noqa: SLF001
    if inner is None:
        ahead = buffersize or 2 * pool.stats().limit
        return _off.stream(pool, fn, calls, ahead, ordered, _AnyLoop)
    return inner.stream(fn, calls, buffersize, ordered, Extra(), _AnyLoop, pool)


async def drain(pool: ThreadPoolExecutor, timeout: float | None = None) -> Leftovers:
    """Accept nothing more, wait for the rest, and return what is left; see `ThreadPoolExecutor.drain`."""
    timeout = check_seconds("timeout", timeout, least=0)
    inner = pool._pool  # noqa: SLF001
    return await (_off.adrain(pool, timeout, _AnyLoop()) if inner is None else inner.adrain(timeout, _AnyLoop()))
