"""
asyncio's own places for threads: `install` gives the loop a default executor that fits the container, `Bridge` brings
what threads have to say to a coroutine.

The default executor is for short blocking calls (``asyncio.to_thread``, files). Jobs of minutes belong into a pool of
their own, or everything else waits behind them.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor as Stock
from typing import Any, ParamSpec, TypeVar, Unpack

from cgexec._bridge import Bridge
from cgexec._executor import ThreadPoolExecutor
from cgexec._told import Told

__all__ = ["Bridge", "DefaultExecutor", "install"]

P = ParamSpec("P")
T = TypeVar("T")

# What a loop hands to its default executor to look names up, by the functions' names: those of `socket`, and the one
# around the first that a loop in debug mode hands over. uvloop has threads of its own for them.
_LOOKUPS = frozenset({"getaddrinfo", "getnameinfo", "_getaddrinfo_debug"})
# Threads for them. A resolver that does not answer holds one for its time-out, 5 to 30 s. Chosen by hand.
_LOOKUP_WORKERS = 4
_IDLE_S = 60.0


class DefaultExecutor(ThreadPoolExecutor):
    """
    A loop's default executor: bounded, of the size that `recommend` gives, with threads apart for name look-ups.

    A look-up that found no place would raise `QueueFull` out of a connect, where nobody expects anything but a network
    error; one behind eight slow calls would look like a DNS server that does not answer. So they have up to four
    threads of their own, started on use, and no bound; the connects that wait for them are their bound.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_workers: int | None, **arguments: Any) -> None:
        # Any: what `install` passes on
        super().__init__(max_workers, when_full="raise", **arguments)
        self._lookups = ThreadPoolExecutor(
            _LOOKUP_WORKERS,
            name=f"{self._cgexec_name}-dns",
            queue_size=float("inf"),
            idle_timeout=_IDLE_S,
            memory_guard=False,  # kilobytes, and what waits for them holds more
        )
        self._loop: asyncio.AbstractEventLoop | None = loop
        # asyncio has no public way to ask. Where it cannot be seen (uvloop), what asyncio would make takes its place.
        self._former: Stock | None = getattr(loop, "_default_executor", None)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """
        Do what `ThreadPoolExecutor.submit` does with ``when_full="raise"``; name look-ups go to their own threads.

        Raises:
            QueueFull: there is no place.
        """
        if getattr(fn, "__name__", None) in _LOOKUPS:
            return self._lookups.submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do what `ThreadPoolExecutor.shutdown` does, for the look-ups too. A loop that ends calls it."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._lookups.shutdown(wait, cancel_futures=cancel_futures)

    def uninstall(self) -> None:
        """
        Give the loop its former default executor back; what was handed to this one is finished. Does not block.

        One that was installed later stays, and leads back to the former one in its turn. On the loop's thread. A second
        call does nothing.
        """
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if not loop.is_closed():
            self._leave(loop)
        self._former = None
        self.shutdown(wait=False)

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        present = getattr(loop, "_default_executor", self)
        if present is self:
            # None cannot be put back: a new one of asyncio's own kind starts no thread before it is used.
            loop.set_default_executor(self._former or Stock(thread_name_prefix="asyncio"))
        while isinstance(present, DefaultExecutor):
            former = present._former  # noqa: SLF001  # another of its kind
            if former is self:
                present._former = self._former  # noqa: SLF001
            present = former


def install(
    loop: asyncio.AbstractEventLoop | None = None,
    *,
    max_workers: int | None = None,
    queue_size: float | None = None,
    name: str = "default",
    **told: Unpack[Told],
) -> DefaultExecutor:
    """
    Make a pool that fits the container the loop's default executor, and return it. Does not block.

    ``asyncio.to_thread`` and ``loop.run_in_executor(None, ...)`` then raise `QueueFull` where the standard one would
    queue without end. Call it on the loop's thread, or before the loop runs. The loop's end shuts it down.

    Args:
        loop: None: the running one.
        max_workers: None: what `cgexec.recommend` says; CGEXEC_MAX_WORKERS and CGEXEC_FORCE_MAX_WORKERS apply.
        queue_size: places for calls that wait. Default: 1024, or 32 for each worker if that is more.
        name: what it is called in `stats`, errors and the log.
        **told: what `cgexec.recommend` can be told of those calls, such as ``io_ratio=0.9``.

    Returns:
        The executor: its `stats()` are the numbers, `uninstall()` takes it out again.

    Raises:
        ValueError: an argument or a ``CGEXEC_*`` variable is out of range.
        RuntimeError: no loop is running, and none was given.
    """
    if loop is None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("no event loop is running: call install() in a coroutine, or pass loop=") from None
    executor = DefaultExecutor(loop, max_workers, queue_size=queue_size, name=name, **told)
    loop.set_default_executor(executor)
    return executor
