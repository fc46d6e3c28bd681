"""`map` over a pool, with the standard library's promises and 3.14's buffersize on every version."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from time import monotonic
from typing import Any, TypeVar

__all__ = ["check_buffersize", "map_over"]

T = TypeVar("T")


def check_buffersize(buffersize: int | None) -> None:
    """Refuse what 3.14 refuses, in its words."""
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")


def map_over(
    submit: Callable[..., Future[T]],
    arguments: Iterable[tuple[Any, ...]],
    timeout: float | None,
    buffersize: int | None,
    keep: object,
) -> Iterator[T]:
    """
    Submit a call for each of *arguments*, now or, with *buffersize*, as their results are taken; return the results.

    The consumer never sees more than *buffersize* tasks submitted whose results it has not been given. If a submit or
    *arguments* fails, what was submitted is cancelled. *keep* lives as long as the results do.
    """
    end = None if timeout is None else monotonic() + timeout
    futures: deque[Future[T]] = deque()
    more = iter(arguments)
    try:
        if buffersize is None:
            for args in more:
                futures.append(submit(*args))
        else:
            for args in islice(more, buffersize):
                futures.append(submit(*args))
    except BaseException:
        _cancel(futures)
        raise
    return _results(futures, end) if buffersize is None else _buffered(submit, more, futures, end, keep)


def _results(futures: deque[Future[T]], end: float | None) -> Iterator[T]:
    try:
        while futures:
            # No reference to the future is kept while the consumer has its result.
            yield _result(futures.popleft(), None if end is None else end - monotonic())
    finally:
        _cancel(futures)


def _buffered(
    submit: Callable[..., Future[T]],
    more: Iterator[tuple[Any, ...]],
    futures: deque[Future[T]],
    end: float | None,
    keep: object,
) -> Iterator[T]:
    try:
        while futures:
            ready = [_result(futures.popleft(), None if end is None else end - monotonic())]
            for args in islice(more, 1):  # before the result is given out: work goes on while the consumer has it
                futures.append(submit(*args))
            yield ready.pop()
    finally:
        _cancel(futures)
        del keep


def _result(future: Future[T], timeout: float | None) -> T:
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise
    finally:
        del future  # or: error, traceback, this frame, future, error


def _cancel(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
