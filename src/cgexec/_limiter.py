"""AnyIO's default limiter, the forty threads that Starlette runs plain functions in, by the container's size."""

import functools
import logging
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from cgexec._environ import told_mode
from cgexec._pool.here import trio_token
from cgexec._recommend import recommend
from cgexec._settings import check_seconds
from cgexec._told import Told
from cgexec._usage import usage

__all__ = ["LimiterSize"]

_LOGGER = logging.getLogger("cgexec")


@dataclass(eq=False, slots=True)
class _Former:
    """The limiter's number before somebody changed it."""

    tokens: float


class LimiterSize:
    """
    Keeps a limiter's `total_tokens` at what `recommend` says. A context manager; on its loop's thread only.

    Memory and threads in use are those of the start: what runs under the limiter itself must not lower it, or it saws
    up and down. So it follows the *limits*, and nothing else.

    Of several at a time the latest decides; each that stops, in whatever order, leaves what there was before it.
    """

    def __init__(self, every: float | None, told: Told) -> None:
        import anyio.to_thread

        self._anyio = anyio
        self._every = check_seconds("every", every, least=0.001)
        self._told: dict[str, Any] = {**told}
        if told.get("usage") is None:
            self._told["usage"] = usage()
        self._limiter = anyio.to_thread.current_default_thread_limiter()
        self._own = anyio.CapacityLimiter(1)  # the look must not wait for the places that it is about
        self._former = _Former(self._limiter.total_tokens)
        self._all = _formers()
        self._mode = told_mode(os.environ)
        self._scope: Any = None  # AnyIO's CancelScope
        self._task: object = None  # asyncio holds its tasks weakly
        self._stopped = False
        self._apply(recommend(**self._told).max_workers)
        if self._mode == "enforce":
            self._all.append(self._former)
            if self._every is not None:
                self._start()

    @property
    def tokens(self) -> float:
        """How many plain functions may run at once now."""
        return float(self._limiter.total_tokens)

    def stop(self) -> None:
        """Follow no more, and give the limiter its former number back. A second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel()
        if self._mode == "enforce":
            self._leave()

    def _leave(self) -> None:
        at = self._all.index(self._former)
        del self._all[at]
        if at < len(self._all):  # a later one decides, and puts that number back in its turn
            self._all[at].tokens = self._former.tokens
        else:
            self._limiter.total_tokens = self._former.tokens

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        if trio_token() is not None:
            import trio

            self._task = trio.lowlevel.spawn_system_task(self._follow)
        else:
            import asyncio

            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        """Look again and again, as long as something ran since the last look."""
        assert self._every is not None, "it would not have been started"
        with self._anyio.CancelScope() as self._scope:
            while not self._stopped:
                await self._anyio.sleep(self._every)
                if self._limiter.borrowed_tokens:
                    await self._look()

    async def _look(self) -> None:
        try:
            answer = await self._anyio.to_thread.run_sync(lambda: recommend(**self._told), limiter=self._own)
        except Exception:  # under trio it would end the whole program
            _LOGGER.exception(
                "[limiter-trouble] could not look at the container's limits; AnyIO's limiter stays at %g", self.tokens
            )
            return
        if not self._stopped and self._all[-1] is self._former:
            self._apply(answer.max_workers)

    def _apply(self, tokens: int) -> None:
        before = self.tokens
        if tokens == before:
            return
        if self._mode != "enforce":
            _LOGGER.info(
                "[limiter-size] CGEXEC_MODE=%s: AnyIO's limiter stays at %g; it would be %d", self._mode, before, tokens
            )
            return
        self._limiter.total_tokens = tokens
        _LOGGER.info("[limiter-size] AnyIO's limiter %g -> %d, what the container allows", before, tokens)


def _formers() -> list[_Former]:
    """Return what the sizes of this loop that have not stopped have found, the latest last."""
    variable = _variable()
    found: list[_Former] | None = variable.get(None)
    if found is None:
        found = []
        variable.set(found)
    return found


@functools.cache
def _variable() -> Any:  # AnyIO's RunVar; it goes with its loop, so what is in it must not hold that
    from anyio.lowlevel import RunVar

    return RunVar("cgexec.limiter_sizes")
