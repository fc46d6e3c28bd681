"""
For work that has outgrown one machine: the limits of a `dask.distributed` cluster, and an executor that keeps to them.

Needs the extra: ``pip install "cgexec[dask]"``, and cgexec on the workers, too: each reads its own container.
"""

import asyncio
import logging
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from time import monotonic
from typing import Any, Literal, TypeVar

from cgexec._cluster import ClusterLimits, ClusterRecommendation, WorkerLimits, put_together, read_here
from cgexec._pool.hands import SHUT_DOWN
from cgexec._settings import WhenFull, check_workers
from cgexec._wrap import BoundedExecutor, ahead, wrap

try:
    import distributed as dask
except ImportError as error:
    raise ImportError('cgexec.distributed needs dask.distributed: pip install "cgexec[dask]"') from error

__all__ = ["ClusterLimits", "ClusterRecommendation", "WorkerLimits", "cluster_limits", "executor"]

T = TypeVar("T")

_LOGGER = logging.getLogger("cgexec")
# How often it is looked which workers there are, in seconds; and how often all are asked for their limits again, which
# Kubernetes may change in place.
_LOOK_S = 1.0
_READ_AGAIN_S = 60.0


def cluster_limits(client: dask.Client) -> ClusterLimits:
    """
    Return what the workers of a cluster may really use, each read on that worker.

    Blocks for one round trip to each worker. Workers in one container, or on one machine without a limit, are counted
    once for what they share. One that cannot be asked (cgexec is not installed there, it is about to end) is in
    ``unreadable``.

    Raises:
        ValueError: the client is asynchronous.
    """
    _check(client)
    threads: Any = client.nthreads()  # coroutines, were the client asynchronous
    answers: Any = client.run(read_here, on_error="return")
    return put_together(threads, answers)


def executor(  # noqa: D417  # what is the same elsewhere is described there
    client: dask.Client,
    *,
    max_in_flight: int | None = None,
    retries: int = 0,
    name: str | None = None,
    queue_size: float | None = None,
    when_full: WhenFull = "block",
    submit_timeout: float | None = None,
    max_wait: float | None = None,
    memory_per_task: str | float | None = None,
    io_ratio: float | None = None,
    cpu_per_task: float | None = None,
    releases_gil: bool = True,
    reserve: str | float | None = None,
    basis: Literal["limit", "now"] = "limit",
) -> BoundedExecutor:
    """
    Return an executor whose calls run on the cluster, no more at once than its workers' containers allow.

    The bound follows the workers: within a second or two of one coming or going it is worked out anew. A call whose
    worker died is run again elsewhere by the scheduler (``distributed.scheduler.allowed-failures`` times, 3 by
    default, then its future raises ``KilledWorker``), so calls should bear being repeated. Equal calls each run.

    Args:
        client: a synchronous ``distributed.Client``. It is not closed with the executor.
        max_in_flight: a fixed bound instead.
        retries: how often a call that raises is run again.
        name, queue_size, when_full, submit_timeout, max_wait: see `cgexec.ThreadPoolExecutor`.
        memory_per_task, io_ratio, cpu_per_task, releases_gil, reserve, basis: see `cgexec.recommend`, which is asked
            for each worker. No worker counts with more calls than it has threads.

    Raises:
        ValueError: an argument is out of range, or the client is asynchronous.
    """
    _check(client)
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries={retries!r}: expected a whole number, at least 0")
    told: dict[str, Any] = {
        "memory_per_task": memory_per_task,
        "io_ratio": io_ratio,
        "cpu_per_task": cpu_per_task,
        "releases_gil": releases_gil,
        "reserve": reserve,
        "basis": basis,
    }
    if max_in_flight is not None:
        check_workers("max_in_flight", max_in_flight)
    found = cluster_limits(client)
    limit, why = _bound_of(found, told)
    pool = wrap(
        ClusterExecutor(client, retries),
        max_in_flight=max_in_flight or limit,
        name=name,
        queue_size=queue_size,
        when_full=when_full,
        submit_timeout=submit_timeout,
        max_wait=max_wait,
        memory_guard=False,  # the work is elsewhere
    )
    if max_in_flight is None:
        pool.resize_because(limit, why)
        loop: Any = client.loop  # tornado's
        following = asyncio.run_coroutine_threadsafe(
            _follow(client, weakref.ref(pool), pool.stats().name, told, {*found.workers, *found.unreadable}),
            loop.asyncio_loop,
        )
        weakref.finalize(pool, following.cancel).atexit = False
    return pool


class ClusterExecutor(Executor):
    """
    The cluster as an executor, for `wrap` alone, which knows what is in flight: its `shutdown` waits for nothing.

    A future of Dask's own executor never ends where the result cannot be brought here (it cannot be pickled, say).
    """

    def __init__(self, client: dask.Client, retries: int = 0) -> None:
        self._client = client
        self._retries = retries
        self._shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have it run on the cluster, also if it is equal to one before."""
        if self._shut:
            raise RuntimeError(SHUT_DOWN.text)
        theirs = self._client.submit(fn, *args, pure=False, retries=self._retries, **kwargs)
        # Asked afterwards: one that closes takes calls, and ends only those that it had when it began to.
        if self._client.status in ("closing", "closed"):
            theirs.release()
            raise RuntimeError("the client has been closed, so the call would never end")
        loop: Any = self._client.loop  # tornado's
        return asyncio.run_coroutine_threadsafe(_result_of(theirs), loop.asyncio_loop)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002  # see the class
        """Accept nothing more. The client is left open."""
        self._shut = True


async def _result_of(theirs: Any) -> Any:  # Any: Dask's future, and what the call returns
    try:
        return await theirs
    finally:
        theirs.release()  # done with, or cancelled: then the scheduler forgets the call


def _check(client: dask.Client) -> None:
    if client.asynchronous:
        raise ValueError("the client is asynchronous: make one with distributed.Client(..., asynchronous=False)")


def _bound_of(found: ClusterLimits, told: dict[str, Any]) -> tuple[int, str]:
    """Return how many calls to have in flight, and why."""
    answer = found.recommend(**told)
    limit = answer.max_in_flight
    count = len(found.workers)
    why = f"{count} worker{'' if count == 1 else 's'} of the cluster with {found.threads} threads"
    if limit < found.threads:
        return limit, f"{why}, whose containers allow {limit} calls"
    return limit + ahead(limit), why


async def _follow(
    client: dask.Client, pool: "weakref.ref[BoundedExecutor]", name: str, told: dict[str, Any], known: set[str]
) -> None:
    """Keep the bound up with the cluster, on the client's own loop, until the executor or the client has gone."""
    due = monotonic() + _READ_AGAIN_S
    while True:
        await asyncio.sleep(_LOOK_S)
        if _has_gone(pool) or client.status == "closed":
            return
        if monotonic() >= due:
            known, due = set(), monotonic() + _READ_AGAIN_S
        try:
            threads = await client.nthreads()
            if set(threads) == known:
                continue
            found = put_together(threads, await client.run(read_here, on_error="return"))
            known = set(threads)
            _resize(pool, *_bound_of(found, told))
        except Exception as error:  # noqa: BLE001  # the scheduler is away, a variable is nonsense now: it must go on
            _LOGGER.info(
                "[cluster-unreachable] pool %r: the cluster could not be asked (%r); trying again", name, error
            )


# Functions of their own, so that the follower does not hold the executor while it sleeps.
def _has_gone(pool: "weakref.ref[BoundedExecutor]") -> bool:
    executor = pool()
    return executor is None or executor.stats().closed is not None


def _resize(pool: "weakref.ref[BoundedExecutor]", limit: int, why: str) -> None:
    executor = pool()
    if executor is not None and limit != executor.stats().limit:
        executor.resize_because(limit, why)
