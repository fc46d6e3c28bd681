"""`wrap`: bounded queue, memory guard and the asynchronous side in front of an executor that somebody else wrote."""

import functools
import itertools
import logging
import math
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import copy_context as current_context
from typing import Any, Literal, ParamSpec, TypeVar

from cgexec._leftovers import Leftovers
from cgexec._limits import Limits
from cgexec._options import Options, view
from cgexec._pool import awaiting, mapping, streaming
from cgexec._pool.admission import Admission
from cgexec._pool.front import Pool
from cgexec._pool.inner import Inner, inner
from cgexec._pool.look import Stats
from cgexec._pool.relay import Relay
from cgexec._pool.relayed import Relayed, RelayedHere
from cgexec._pool.task import Extra
from cgexec._settings import Settings, WhenFull, check_seconds, check_workers, settings
from cgexec._usage import Usage

__all__ = ["BoundedExecutor", "ahead", "wrap"]

P = ParamSpec("P")
T = TypeVar("T")

# In flight where nothing is bounded (CGEXEC_MODE=off and observe): more than anybody submits.
_UNBOUNDED = 1 << 30
# Beside the executor's own workers so many of their number are in flight, at least one: a worker that ends finds the
# next call there, and the executor's own queue stays short. Chosen by measurement (bench/wrap.py).
_AHEAD = 4
_numbers = itertools.count().__next__


def wrap(  # noqa: D417  # what is the same elsewhere is described there
    executor: Executor,
    *,
    max_in_flight: int | None = None,
    name: str | None = None,
    queue_size: float | None = None,
    when_full: WhenFull = "block",
    submit_timeout: float | None = None,
    max_wait: float | None = None,
    memory_guard: bool | None = None,
    copy_context: bool | None = None,
    shutdown_inner: bool = True,
    memory_per_task: str | float | None = None,
    io_ratio: float | None = None,
    cpu_per_task: float | None = None,
    releases_gil: bool = True,
    processes: int | None = None,
    kind: Literal["thread", "process"] | None = None,
    reserve: str | float | None = None,
    basis: Literal["limit", "now", "request"] = "limit",
    limits: Limits | None = None,
    usage: Usage | None = None,
) -> "BoundedExecutor":
    """
    Return an executor that hands its calls on to *executor*, no more at once than that can use and memory allows.

    For process pools, interpreter pools, loky, MPI and others; for threads `ThreadPoolExecutor` does more. Reads the
    limits as `recommend` does; starts nothing.

    Args:
        executor: any ``concurrent.futures.Executor``. Nobody else should submit to it meanwhile: what it gets from
            others is neither counted nor bounded.
        max_in_flight: how many calls *executor* is given at once. Default: its own number of workers and a quarter
            more, at least one, so that none of them waits for us; for one that does not tell, what `recommend` says.
            CGEXEC_FORCE_MAX_WORKERS beats both.
        name: what it is called in `stats`, errors and the log. Default: the class of *executor*, with a number.
        queue_size, when_full, submit_timeout, max_wait: see `ThreadPoolExecutor`. A call made or a callback run by one
            of its own workers in this process never blocks.
        memory_guard: see `ThreadPoolExecutor`; child processes are counted, as they are in the same container. Default:
            True, but False for executors whose workers are elsewhere (MPI, Dask).
        copy_context: see `ThreadPoolExecutor`. Only for thread pools: a context cannot leave its interpreter, and `run`
            and `stream` copy none for other executors.
        shutdown_inner: whether `shutdown` and ``with`` end *executor*, too; then it belongs to the wrapper.
        memory_per_task, io_ratio, cpu_per_task, releases_gil, processes, kind, reserve, basis, limits, usage: see
            `cgexec.recommend`. *kind* is ``"process"`` by default for whatever does not run in threads.

    Raises:
        TypeError: *executor* is no ``concurrent.futures.Executor``.
        ValueError: an argument or a ``CGEXEC_*`` variable is out of range.
    """
    found = inner(executor)
    if copy_context and found.kind != "thread":
        raise ValueError(
            f"copy_context=True: a context cannot leave its interpreter, and {found.name} is no thread pool"
        )
    limit = _limit_of(found) if max_in_flight is None else check_workers("max_in_flight", max_in_flight)
    told = {
        "memory_per_task": memory_per_task,
        "io_ratio": io_ratio,
        "cpu_per_task": cpu_per_task,
        "releases_gil": releases_gil,
        "processes": processes,
        "kind": kind or ("thread" if found.kind in ("thread", "interpreter") else "process"),
        "reserve": reserve,
        "basis": basis,
        "limits": limits,
        "usage": usage,
    }
    kept = settings(
        max_workers=limit,
        stock_workers=_UNBOUNDED,
        queue_size=queue_size,
        when_full=when_full,
        submit_timeout=submit_timeout,
        max_wait=max_wait,
        min_workers=None,
        idle_timeout=None,
        copy_context=copy_context,
        memory_guard=found.kind != "remote" if memory_guard is None else memory_guard,
        adaptive=False,
        memory_fuse=False,
        on_memory_error="raise",
        told=told,
    )
    kept = kept._replace(care=kept.care._replace(children=found.kind == "process"))
    why = f"max_in_flight={limit}" if max_in_flight is not None else f"the {found.workers} workers of {found.name}"
    return BoundedExecutor(found, _bare_where_told(kept, None if limit is None else why), name, shutdown_inner)


def _limit_of(found: Inner) -> int | None:
    return None if found.workers is None else found.workers + ahead(found.workers)


def ahead(workers: int) -> int:
    """Return how many calls are in flight beside those that so many workers run."""
    return max(1, workers // _AHEAD)


def _bare_where_told(kept: Settings, why: str | None) -> Settings:
    """Return the settings without a bound if CGEXEC_MODE says so; *why* the limit is what it is, if we decided it."""
    if kept.size.forced:
        return kept
    if kept.mode == "enforce":
        return kept if why is None else kept._replace(size=kept.size._replace(why=why))
    kept = kept._replace(size=kept.size._replace(limit=_UNBOUNDED, why=f"CGEXEC_MODE={kept.mode}"))
    if kept.mode == "observe":
        return kept
    return kept._replace(places=math.inf, places_given=True, care=kept.care._replace(guard=False))


class BoundedExecutor(Executor):
    """
    What `wrap` returns: the methods of `ThreadPoolExecutor`, in front of another executor.

    ``stats().workers`` counts permits: calls in flight and those that could be. Every method may be called by any
    thread. A future that `submit` returns is ours: cancelled while it waits here, it gives up its place at once; in
    flight it is cancelled if the other executor can. `cgexec.cancel` asks a running call only in a thread pool.
    """

    # Names that no subclass has by chance.
    _cgexec_relay: Relay

    def __init__(self, found: Inner, kept: Settings, name: str | None, shutdown_inner: bool) -> None:
        self.executor = found.executor  # what is wrapped
        name = name or f"{found.name}-{_numbers()}"
        self._cgexec_shutdown_inner = shutdown_inner

        def relay(state: Admission) -> Relay:
            self._cgexec_relay = Relay(state, name, found)
            return self._cgexec_relay

        self._cgexec_pool = Pool(kept, name, relay, RelayedHere if found.kind == "thread" else Relayed)
        # As a thread pool that is dropped by its user: what waits is finished.
        weakref.finalize(self, self._cgexec_relay.close).atexit = False

    # -- handing work in --------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """
        Have ``fn(*args, **kwargs)`` called by the other executor and return its future.

        Without a place, *when_full* decides; ``"block"`` may block, except on threads that must not.

        Raises:
            QueueFull: there is no place, or the wait would be longer than *max_wait*.
            RuntimeError: it was shut down, or the interpreter is ending.
            BrokenExecutor: the other executor is broken. What waited here has failed with the same error.
            Exception: whatever else the other executor's ``submit`` raised. Nothing is queued then.
        """
        return self._cgexec_pool.submit((fn, args, kwargs))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """
        Return an iterator over the results of ``map(fn, *iterables)``, in order; see `ThreadPoolExecutor.map`.

        Args:
            fn: takes as many arguments as there are iterables.
            *iterables: the first arguments of the calls, the second ones, and so on; the shortest ends it.
            timeout: seconds from now until all results must have come; None is without end.
            chunksize: calls that are handed over as one, as by the standard process pool.
            buffersize: at most so many chunks are submitted whose results have not been taken.

        Raises:
            TimeoutError: by the iterator, after *timeout*.
            ValueError: *chunksize* is less than 1.
        """
        return _map(self._cgexec_pool, fn, iterables, mapping.deadline(timeout), chunksize, buffersize, self)

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``fn(*args, **kwargs)`` over there and return its result; see `ThreadPoolExecutor.run`."""
        result: T = await self._cgexec_pool.run((fn, args, kwargs), Extra(current_context()), awaiting.AsyncioLoop())
        return result

    def stream(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> AsyncIterator[T]:
        """Iterate over the results of ``map(fn, *iterables)`` with ``async for``; see `ThreadPoolExecutor.stream`."""
        mapping.check_buffersize(buffersize)
        calls = streaming.each_call(iterables)
        return self._cgexec_pool.stream(fn, calls, buffersize, ordered, Extra(), awaiting.AsyncioLoop, self)

    def options(
        self,
        *,
        memory: str | float | None = None,
        queue_timeout: float | None = None,
        run_timeout: float | None = None,
    ) -> Options:
        """Return a light view whose calls have these; see `ThreadPoolExecutor.options`."""
        return view(self, memory=memory, queue_timeout=queue_timeout, run_timeout=run_timeout)

    # -- looking ----------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return the numbers of this instant: ``workers`` are permits, ``idle`` those that are free."""
        return self._cgexec_pool.stats()

    def explain(self) -> str:
        """Return in a few lines why so many calls are in flight at most, and what is going on."""
        return self._cgexec_pool.explain()

    def __repr__(self) -> str:
        seen = self._cgexec_pool.stats()
        places = "" if seen.queue_size == math.inf else f" of {seen.queue_size:g}"
        most = "" if seen.limit == _UNBOUNDED else f" of {seen.limit}"
        end = "" if seen.closed is None else ", closed"
        what = f"{seen.running}{most} in flight, {seen.waiting}{places} waiting{end}"
        return f"<cgexec.{type(self).__name__} {self._cgexec_pool.name!r}: {what}>"

    # -- changing and ending ----------------------------------------------------------------------------------------

    def resize(self, max_in_flight: int) -> None:
        """Change how many calls are in flight at most. Does not block, and does not resize the other executor."""
        limit = check_workers("max_in_flight", max_in_flight)
        if self._cgexec_pool.kept.mode == "off":
            logging.getLogger("cgexec").info(
                "pool %r: resize(%d) is passed over because of CGEXEC_MODE=off", self._cgexec_pool.name, limit
            )
        else:
            self._cgexec_pool.resize(limit)

    def resize_because(self, max_in_flight: int, why: str) -> None:
        """Do what `resize` does, for a reason that `explain` and `stats` then give."""
        kept = self._cgexec_pool.kept
        if kept.mode == "enforce" and not kept.size.forced:
            self._cgexec_pool.kept = kept._replace(size=kept.size._replace(why=why))
        if kept.mode != "off":
            self._cgexec_pool.resize(max_in_flight, why)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """
        Accept nothing more, and finish what waits or, with *cancel_futures*, cancel it and what has been handed over
        and has not started. Then end the other executor, unless ``shutdown_inner=False``.

        Blocks until all of it has ended, unless *wait* is False.

        Raises:
            RuntimeError: called with *wait* from one of its own calls or callbacks, or from that of any expired task:
                it would wait for itself.
        """
        self._cgexec_pool.shutdown(wait=False, cancel=cancel_futures)
        if cancel_futures:
            self._cgexec_relay.cancel_in_flight()
        if wait:
            self._cgexec_pool.shutdown(wait=True, cancel=False)
        if self._cgexec_shutdown_inner:
            self._cgexec_relay.shut_inner(wait=wait)

    def drain(self, timeout: float | None = None) -> Leftovers:
        """
        Accept nothing more, wait until everything has ended or *timeout* seconds have gone by, and return what is left;
        see `ThreadPoolExecutor.drain`. The other executor is ended when nothing is left, unless
        ``shutdown_inner=False``; that is not waited for.
        """
        left = self._cgexec_pool.drain(check_seconds("timeout", timeout, least=0))
        if self._cgexec_shutdown_inner:
            self._cgexec_relay.shut_inner(wait=False)
        return left

    async def adrain(self, timeout: float | None = None) -> Leftovers:
        """Do what `drain` does without blocking the event loop. Under trio: `cgexec.anyio.drain`."""
        return await self._cgexec_adrain(timeout, awaiting.AsyncioLoop())

    async def _cgexec_adrain(self, timeout: float | None, loop: awaiting.Loop) -> Leftovers:
        left = await self._cgexec_pool.adrain(check_seconds("timeout", timeout, least=0), loop)
        if self._cgexec_shutdown_inner:
            self._cgexec_relay.shut_inner(wait=False)
        return left


def _map(
    pool: Pool, fn: Callable[..., T], iterables: tuple[Iterable[Any], ...], end: float | None, chunksize: int,
    buffersize: int | None, keep: object,
) -> Iterator[T]:  # fmt: skip
    mapping.check_buffersize(buffersize)
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    calls = zip(*iterables, strict=False)
    held = None if buffersize is None else keep
    if chunksize == 1:
        return mapping.map_over(pool.submitter(fn, end=end), calls, end, buffersize, held)
    chunks = iter(lambda: (tuple(itertools.islice(calls, chunksize)),), ((),))
    submit = pool.submitter(functools.partial(_call_each, fn), end=end)
    return mapping.flat(mapping.map_over(submit, chunks, end, buffersize, held))


def _call_each(fn: Callable[..., T], calls: tuple[tuple[Any, ...], ...]) -> list[T]:
    """Do one chunk of a `map`, over there."""
    return [fn(*args) for args in calls]
