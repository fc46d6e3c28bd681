"""`map` over a pool, with the standard library's promises and 3.14's buffersize on every version."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from inspect import GEN_CREATED, getgeneratorstate
from itertools import islice, takewhile
from time import monotonic
from typing import Any, TypeVar

__all__ = ["Late", "Results", "check_buffersize", "deadline", "flat", "map_over"]

T = TypeVar("T")


class Late(TimeoutError):
    """The time of a `map` was up before there was a place for the next call. Raised by its *submit*, for `map_over`."""


class Results(Iterator[T]):
    """
    The results of a `map`. Closed or dropped early, what has not started is cancelled; but dropped before the first of
    them was asked for, as by those who want no results, all of it is done, as with the standard pool.
    """

    def __init__(self, results: Generator[T, None, None], futures: deque[Future[Any]]) -> None:
        self._results = results
        self.futures = futures  # whose results have not been given out

    def __next__(self) -> T:
        return next(self._results)

    def close(self) -> None:
        """Cancel what has not started; give no more results."""
        if getgeneratorstate(self._results) == GEN_CREATED:  # one that has not begun does not clean up
            _cancel(self.futures)
        self._results.close()


def check_buffersize(buffersize: int | None) -> None:
    """Refuse what 3.14 refuses, in its words."""
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")


def deadline(timeout: float | None) -> float | None:
    """Return when a `map` that begins now is late, in monotonic seconds."""
    return None if timeout is None else monotonic() + timeout


def map_over(
    submit: Callable[..., Future[T]],
    arguments: Iterable[tuple[Any, ...]],
    end: float | None,
    buffersize: int | None,
    keep: object,
) -> Results[T]:
    """
    Submit a call for each of *arguments*, now or, with *buffersize*, as their results are taken; return the results.

    The consumer never sees more than *buffersize* tasks submitted whose results it has not been given. If a submit or
    *arguments* fails, what was submitted is cancelled. If a submit is `Late`, what has not started is cancelled and
    TimeoutError comes in place of its results. *keep* lives as long as the results do.
    """
    futures: deque[Future[T]] = deque()
    more = iter(arguments)
    in_time = _submit_each(submit, more if buffersize is None else islice(more, buffersize), futures)
    if buffersize is None or not in_time:
        return Results(_results(futures, end, late=not in_time), futures)
    return Results(_buffered(submit, more, futures, end, keep), futures)


def flat(chunks: Results[list[T]]) -> Results[T]:
    """Return what is in the *chunks*, one by one."""

    def each() -> Generator[T, None, None]:
        try:
            for chunk in chunks:
                yield from chunk
        finally:
            chunks.close()

    return Results(each(), chunks.futures)


def _submit_each(
    submit: Callable[..., Future[T]], arguments: Iterable[tuple[Any, ...]], futures: deque[Future[T]]
) -> bool:
    """Submit a call for each of *arguments*; False if the time was up before all had a place."""
    try:
        for args in arguments:
            futures.append(submit(*args))
    except Late:
        _cancel(futures)
        in_order = list(takewhile(lambda future: not future.cancelled(), futures))
        futures.clear()
        futures.extend(in_order)
        return False
    except BaseException:
        _cancel(futures)
        raise
    return True


def _results(futures: deque[Future[T]], end: float | None, *, late: bool) -> Generator[T, None, None]:
    try:
        while futures:
            # No reference to the future is kept while the consumer has its result.
            yield _result(futures.popleft(), None if end is None else end - monotonic())
        if late:
            raise TimeoutError
    finally:
        _cancel(futures)


def _buffered(
    submit: Callable[..., Future[T]],
    more: Iterator[tuple[Any, ...]],
    futures: deque[Future[T]],
    end: float | None,
    keep: object,
) -> Generator[T, None, None]:
    in_time = True
    try:
        while futures:
            ready = [_result(futures.popleft(), None if end is None else end - monotonic())]
            if in_time:  # before the result is given out: work goes on while the consumer has it
                in_time = _submit_each(submit, islice(more, 1), futures)
            yield ready.pop()
        if not in_time:
            raise TimeoutError
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
