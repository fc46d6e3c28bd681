"""The numbers of all processes of the service, in Prometheus' text format."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import prometheus_client
import psutil
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

import cgexec
from cgexec.metrics import prometheus
from fastapi_service.states import State

__all__ = ["REFUSED", "exposition", "reported"]

REFUSED = prometheus_client.Counter("cgexec_jobs_refused", "Jobs that were refused, by reason.", ["reason"])
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def reported(pool: cgexec.ThreadPoolExecutor) -> Iterator[None]:
    """Report the pool for the length of the block."""
    registration = prometheus.register(pool)
    try:
        yield
    finally:
        registration.close()
        _bury(os.getpid())


def exposition(counts: dict[State, int]) -> bytes:
    """Return all there is, with how many jobs there are in each state. Blocks for files."""
    registry = prometheus_client.REGISTRY
    if _FOLDER in os.environ:
        for pid in _written_by():
            if not psutil.pid_exists(pid):  # killed: what it had running would be added up for good
                _bury(pid)
        registry = prometheus_client.CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # theirs
    jobs = prometheus_client.CollectorRegistry()
    jobs.register(_Jobs(counts))
    return prometheus_client.generate_latest(registry) + prometheus_client.generate_latest(jobs)


class _Jobs:
    """What the store knows, which is the same in every process."""

    def __init__(self, counts: dict[State, int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("cgexec_jobs", "Jobs in the store, by state.", labels=["state"])
        for state, count in self._counts.items():
            family.add_metric([str(state)], count)
        yield family


def _written_by() -> set[int]:
    """Return the processes that have gauges in the folder."""
    return {int(path.stem.rpartition("_")[2]) for path in Path(os.environ[_FOLDER]).glob("gauge_live*_*.db")}


def _bury(pid: int) -> None:
    """Take away the gauges of a process; its counters stay, or sums would go down."""
    if _FOLDER in os.environ:
        with suppress(FileNotFoundError):  # another process does it, too
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # theirs
