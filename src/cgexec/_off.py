"""CGEXEC_MODE=off: the standard pool, and as much of ours as it can answer for, so that programs keep working."""

import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor as Stock
from contextvars import Context, copy_context
from queue import Empty
from time import monotonic
from typing import Any

from cgexec._leftovers import Leftovers, Unstarted
from cgexec._pool import awaiting, streaming
from cgexec._pool.front import join
from cgexec._pool.look import Stats

__all__ = ["adrain", "drain", "explain", "run", "stats", "stream", "submit"]


def submit(
    pool: Stock, copied: bool, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Future[Any]:
    """Submit the call; *copied*: in a copy of the context."""
    if copied:
        return Stock.submit(pool, _call_in, copy_context(), fn, args, kwargs)
    return Stock.submit(pool, fn, *args, **kwargs)


async def run(
    pool: Stock, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], loop: awaiting.Loop
) -> Any:
    """Submit the call in a copy of the context, and await it."""
    return await awaiting.result_of(submit(pool, True, fn, args, kwargs), loop, None)


def stream(
    pool: Stock, fn: Callable[..., Any], calls: streaming.Calls, ahead: int, ordered: bool,
    make_loop: Callable[[], awaiting.Loop],
) -> AsyncIterator[Any]:  # fmt: skip
    """Yield the results of the calls."""
    context = copy_context()

    def hand_in(args: tuple[Any, ...]) -> Future[Any]:
        return Stock.submit(pool, _call_in, context.copy(), fn, args, {})

    return streaming.stream(hand_in, calls, ahead, ordered, make_loop, pool)


def stats(pool: Stock, name: str) -> Stats:
    """Return what the standard pool tells of itself."""
    threads, waiting = len(pool._threads), pool._work_queue.qsize()  # noqa: SLF001  # it has no public way to tell
    return Stats(name, "off", pool._max_workers, threads, waiting=waiting, queue_size=math.inf)  # noqa: SLF001


def explain(pool: Stock, name: str) -> str:
    """Return that there is nothing to explain."""
    return f"pool {name!r}: {pool._max_workers} workers; CGEXEC_MODE=off: the standard pool, nothing is held or counted"  # noqa: SLF001


def drain(pool: Stock, timeout: float | None) -> Leftovers:
    """Drain as far as the standard pool can: it does not tell what is still running."""
    Stock.shutdown(pool, wait=False)
    join(set(pool._threads), None if timeout is None else monotonic() + timeout)  # noqa: SLF001
    return Leftovers(_take_out(pool))


async def adrain(pool: Stock, timeout: float | None, loop: awaiting.Loop) -> Leftovers:
    """Do the same without blocking the event loop."""
    Stock.shutdown(pool, wait=False)
    deadline = None if timeout is None else monotonic() + timeout
    await awaiting.threads_ended(set(pool._threads), deadline, loop)  # noqa: SLF001
    return Leftovers(_take_out(pool))


def _take_out(pool: Stock) -> tuple[Unstarted, ...]:
    """Cancel what has not started, and return it."""
    taken = []
    while True:
        try:
            item = pool._work_queue.get_nowait()  # noqa: SLF001
        except Empty:
            break
        if item is None or item.future.cancelled():  # None: the standard pool's word for "no more"
            continue
        item.future.cancel()
        item.future.set_running_or_notify_cancel()  # tells whoever waits for it
        taken.append(Unstarted(item.future, *_told(*_call_of(item))))
    Stock.shutdown(pool, wait=False)  # says "no more" again to the threads
    return tuple(taken)


def _call_of(item: Any) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return the call of one of the standard pool's items."""
    task = getattr(item, "task", None)  # since 3.14
    fn, args, kwargs = (item.fn, item.args, item.kwargs) if task is None else task
    return fn, args, kwargs


def _told(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return the call as it was handed in."""
    return args[1:] if fn is _call_in else (fn, args, kwargs)


def _call_in(context: Context, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return context.run(fn, *args, **kwargs)
