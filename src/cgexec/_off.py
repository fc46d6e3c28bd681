"""CGEXEC_MODE=off: the standard pool, and as much of ours as it can answer for, so that programs keep working."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor as Stock
from contextvars import Context, copy_context
from time import monotonic
from typing import Any

from cgexec._leftovers import Leftovers
from cgexec._pool import awaiting
from cgexec._pool.front import join
from cgexec._pool.look import Stats

__all__ = ["adrain", "drain", "explain", "run", "stats", "stream"]


async def run(
    pool: Stock, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], loop: awaiting.Loop
) -> Any:
    """Submit the call in a copy of the context, and await it."""
    return await awaiting.result_of(Stock.submit(pool, _call_in, copy_context(), fn, args, kwargs), loop, None)


def stream(
    pool: Stock, fn: Callable[..., Any], calls: AsyncGenerator[tuple[Any, ...], None], ahead: int, ordered: bool,
    make_loop: Callable[[], awaiting.Loop],
) -> AsyncIterator[Any]:  # fmt: skip
    """Yield the results of the calls."""
    context = copy_context()

    def hand_in(args: tuple[Any, ...]) -> Future[Any]:
        return Stock.submit(pool, _call_in, context.copy(), fn, args, {})

    return awaiting.stream(hand_in, calls, ahead, ordered, make_loop, pool)


def stats(pool: Stock, name: str) -> Stats:
    """Return what the standard pool tells of itself."""
    threads, waiting = len(pool._threads), pool._work_queue.qsize()  # noqa: SLF001  # it has no public way to tell
    return Stats(name, "off", pool._max_workers, threads, waiting=waiting, queue_size=math.inf)  # noqa: SLF001


def explain(pool: Stock, name: str) -> str:
    """Return that there is nothing to explain."""
    return f"pool {name!r}: {pool._max_workers} workers; CGEXEC_MODE=off: the standard pool, nothing is held or counted"  # noqa: SLF001


def drain(pool: Stock, timeout: float | None) -> Leftovers:
    """Drain as far as the standard pool can: it cancels what has not started, and does not tell what that was."""
    Stock.shutdown(pool, wait=False)
    join(set(pool._threads), None if timeout is None else monotonic() + timeout)  # noqa: SLF001
    Stock.shutdown(pool, wait=False, cancel_futures=True)
    return Leftovers()


async def adrain(pool: Stock, timeout: float | None, loop: awaiting.Loop) -> Leftovers:
    """Do the same without blocking the event loop."""
    Stock.shutdown(pool, wait=False)
    deadline = None if timeout is None else monotonic() + timeout
    await awaiting.threads_ended(set(pool._threads), deadline, loop)  # noqa: SLF001
    Stock.shutdown(pool, wait=False, cancel_futures=True)
    return Leftovers()


def _call_in(context: Context, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return context.run(fn, *args, **kwargs)
