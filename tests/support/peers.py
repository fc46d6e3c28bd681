"""Other people's executors, made for a test; each is skipped, with the reason, where its package is not there."""

import importlib.util
import os
import sys
from concurrent import futures
from concurrent.futures import Executor, Future
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import cgexec

__all__ = ["PEERS", "Peer", "bare", "start_cluster", "stop_cluster", "wrapped"]


class Peer(NamedTuple):
    """How to make one with so many workers, and what of the contract it cannot keep."""

    make: object
    package: str | None = None  # what it needs beside the standard library
    dies: str | None = None  # what a killed worker does: breaks the "pool", fails its "call", or is made good: "again"
    threads: bool = False  # closures need not be pickled
    tells_running: bool = True  # its futures say when they run


class PebbleExecutor(Executor):
    """pebble's process pool as an executor: its own submit() takes a time-out first. As in docs/howto/wrap.md."""

    def __init__(self, max_workers):
        import pebble

        self._max_workers = max_workers
        self.pool = pebble.ProcessPool(max_workers)

    def submit(self, fn, /, *args, **kwargs):
        return self.pool.schedule(fn, args, kwargs)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.pool.close()
        if wait:
            self.pool.join()


class InlineExecutor(Executor):
    """Runs everything at once, in submit()."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # as any executor does
            future.set_exception(error)
        return future


def interpreters(workers):
    # They begin with a path of their own. A built-in function, as they could not find one of ours yet.
    code = f"import sys; sys.path[:] = {sys.path!r}"
    return futures.InterpreterPoolExecutor(workers, initializer=exec, initargs=(code,))


def loky(workers):
    return importlib.import_module("loky").get_reusable_executor(workers, timeout=60)


def mpi(workers):
    # Where it was installed by pip, the launcher stands beside the interpreter.
    folder = str(Path(sys.executable).parent)
    if folder not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = folder + os.pathsep + os.environ["PATH"]
    return importlib.import_module("mpi4py.futures").MPIPoolExecutor(workers, path=[str(Path(__file__).parent.parent)])


@cache
def cluster():
    """Return a scheduler with two worker processes of one thread each, and a client; for the whole session."""
    distributed = importlib.import_module("distributed")
    made = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0, silence_logs=50
    )
    client = distributed.Client(made)
    client.submit(int).result(30)
    # Callbacks of its futures have a thread of their own, which never ends; it should not count as left by a test.
    client.get_executor().submit(int).result(30)
    return made, client


def start_cluster():
    """Have it, if it can be had, before a test looks which threads it leaves."""
    if importlib.util.find_spec("distributed") is not None:
        cluster()


def stop_cluster():
    if cluster.cache_info().currsize:
        made, client = cluster()
        client.close()
        made.close()
        cluster.cache_clear()


def dask(workers):
    assert workers <= 2
    return cluster()[1].get_executor()


def our_dask(workers):
    assert workers <= 2
    return importlib.import_module("cgexec.distributed").ClusterExecutor(cluster()[1])


PEERS = {
    "threads": Peer(futures.ThreadPoolExecutor, threads=True),
    "cgexec": Peer(cgexec.ThreadPoolExecutor, threads=True),
    "processes": Peer(futures.ProcessPoolExecutor, dies="pool"),
    "interpreters": Peer(interpreters, None if sys.version_info >= (3, 14) else "concurrent.futures.interpreter"),
    "loky": Peer(loky, "loky", dies="pool"),
    "pebble": Peer(PebbleExecutor, "pebble", dies="call"),
    "mpi": Peer(mpi, "mpi4py.MPI"),
    "dask": Peer(dask, "distributed", dies="again", tells_running=False),
    "dask, ours": Peer(our_dask, "distributed", dies="again", tells_running=False),
}


def bare(name, workers):
    """Return the executor itself."""
    peer = PEERS[name]
    if peer.package is not None:
        try:
            importlib.import_module(peer.package)
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"{peer.package} cannot be imported here: {error}")
    return peer.make(workers)


def wrapped(peer, workers=2, **settings):
    """Return it wrapped, with as many calls in flight as it has workers."""
    settings.setdefault("max_in_flight", workers)
    return cgexec.wrap(bare(peer, workers), **settings)
