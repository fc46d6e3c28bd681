"""A scheduler of dask.distributed without workers, and worker processes that a test starts and may kill."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from support.pools import SOON

__all__ = ["dask_workers", "empty_cluster"]


@contextmanager
def empty_cluster():
    """Yield a client."""
    import distributed
    from distributed.utils import offload

    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as made,
        distributed.Client(made) as client,
    ):
        # A thread of Dask's that never ends should be there before a test counts them.
        client.sync(offload, int)
        yield client


class _Start:
    def __init__(self, address):
        self.address = address
        self.started = []

    def __call__(self, *prefix, threads=1):
        """Start a worker process, behind a command that puts it somewhere; return the process."""
        options = ["--no-nanny", "--no-dashboard", "--nthreads", str(threads), "--memory-limit", "0"]
        command = [*prefix, sys.executable, "-m", "distributed.cli.dask_worker", self.address, *options]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.started.append(process)
        return process


@contextmanager
def dask_workers(client):
    """Yield what starts a worker; all of them end with the block."""
    start = _Start(client.scheduler.address)
    try:
        yield start
    finally:
        for process in start.started:
            process.terminate()
        for process in start.started:
            try:
                process.wait(SOON)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(SOON)
