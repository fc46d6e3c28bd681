"""A view of a pool for calls that need more than the pool's own settings."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cgexec._pool import awaiting, mapping, streaming
from cgexec._pool.task import Extra
from cgexec._settings import check_seconds
from cgexec._workload import parse_memory

if TYPE_CHECKING:
    from cgexec._executor import ThreadPoolExecutor
    from cgexec._wrap import BoundedExecutor

__all__ = ["Options", "view"]

P = ParamSpec("P")
T = TypeVar("T")


class Options:
    """
    What `ThreadPoolExecutor.options` returns: the same `submit`, `map`, `run` and `stream`, with these time-outs.
    Immutable and cheap; keep one for each kind of call. With CGEXEC_MODE=off it passes everything on.
    """

    def __init__(self, executor: "ThreadPoolExecutor | BoundedExecutor", extra: Extra) -> None:
        self._executor = executor
        self._extra = extra

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do what `ThreadPoolExecutor.submit` does."""
        pool = self._executor._cgexec_pool  # noqa: SLF001  # a view is a part of it
        if pool is None:
            return self._executor.submit(fn, *args, **kwargs)
        return pool.submit((fn, args, kwargs), self._extra)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Do what `ThreadPoolExecutor.map` does."""
        pool = self._executor._cgexec_pool  # noqa: SLF001
        if pool is None:
            return self._executor.map(fn, *iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize)
        mapping.check_buffersize(buffersize)
        end = mapping.deadline(timeout)
        submit = pool.submitter(fn, self._extra, end)
        keep = None if buffersize is None else self._executor
        return mapping.map_over(submit, zip(*iterables, strict=False), end, buffersize, keep)

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what `ThreadPoolExecutor.run` does."""
        pool = self._executor._cgexec_pool  # noqa: SLF001
        if pool is None:
            return await self._executor.run(fn, *args, **kwargs)
        extra = self._extra._replace(context=copy_context())
        result: T = await pool.run((fn, args, kwargs), extra, awaiting.AsyncioLoop())
        return result

    def stream(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> AsyncIterator[T]:
        """Do what `ThreadPoolExecutor.stream` does."""
        pool = self._executor._cgexec_pool  # noqa: SLF001
        if pool is None:
            return self._executor.stream(fn, *iterables, buffersize=buffersize, ordered=ordered)
        mapping.check_buffersize(buffersize)
        calls = streaming.each_call(iterables)
        return pool.stream(fn, calls, buffersize, ordered, self._extra, awaiting.AsyncioLoop, self._executor)


def view(
    executor: "ThreadPoolExecutor | BoundedExecutor",
    memory: str | float | None,
    queue_timeout: float | None,
    run_timeout: float | None,
    retry_on_memory_error: bool | None = None,
) -> Options:
    """Return the view with these, checked."""
    return Options(
        executor,
        Extra(
            queue_timeout=check_seconds("queue_timeout", queue_timeout, least=0),
            run_timeout=check_seconds("run_timeout", run_timeout, least=0),
            memory=None if memory is None else parse_memory("memory", memory),
            retry=None if retry_on_memory_error is None else bool(retry_on_memory_error),
        ),
    )
