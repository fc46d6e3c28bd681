"""
Metrics for Prometheus. Needs the extra: ``pip install "cgexec[prometheus]"``.

With one process the numbers are taken when they are scraped. In prometheus-client's multi-process mode
(``PROMETHEUS_MULTIPROC_DIR``) the process that is scraped sees only files that the others have written, so each process
writes its numbers every few seconds.
"""

import math
import os
import threading
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from cgexec._extras import extra
from cgexec._pool import ticker
from cgexec._pool.parting import at_end
from cgexec.metrics._table import POOL, Metric, every, prometheus_name
from cgexec.metrics._watched import Pool, Sample, Watched

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

__all__ = ["Registration", "register"]

_VARIABLES = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")


class Registration:
    """A pool that is reported. It ends by itself when the pool is closed or collected, and its last task has ended."""

    def __init__(self, collector: "_Collector | _Files", pool: Pool) -> None:
        self.name, self._source = collector.watched.add(pool)
        self._collector = collector

    def update(self) -> None:
        """In multi-process mode write the numbers now instead of at the next interval; else nothing is to be done."""
        if isinstance(self._collector, _Files):
            self._collector.write()

    def close(self) -> None:
        """
        Report the pool no longer. Counters that were written stay, as Prometheus expects.

        Does nothing once the name is another pool's.
        """
        self.update()
        removed = self._collector.watched.remove(self.name, self._source)
        if removed and isinstance(self._collector, _Files) and not self._collector.write():
            ticker.forget(self._collector)


def register(pool: Pool, registry: "CollectorRegistry | None" = None, *, interval: float = 5.0) -> Registration:
    """
    Report a pool, the process and its container. Any thread may call it, for as many pools as there are.

    The pool is not kept alive by it. In multi-process mode call it in each worker process, after it was forked; the
    files of processes that are gone count until `prometheus_client.multiprocess.mark_process_dead` is called for them.

    Args:
        pool: any executor of this package.
        registry: where; default is prometheus-client's. Without meaning in multi-process mode.
        interval: seconds between two writes in multi-process mode.

    Raises:
        MissingExtra: prometheus-client is not installed.
        ValueError: another pool of the same name is registered there.
    """
    with extra("prometheus", "cgexec.metrics.prometheus", "prometheus-client"):
        import prometheus_client
    if any(variable in os.environ for variable in _VARIABLES):
        files = _files(interval)
        registration = Registration(files, pool)
        files.start()
        return registration
    registry = prometheus_client.REGISTRY if registry is None else registry
    with _lock:
        collector = _collectors.get(registry)
        if collector is None:
            collector = _Collector()
            registry.register(collector)  # raises where a name is taken: the next call tries again
            _collectors[registry] = collector
    return Registration(collector, pool)


_lock = threading.Lock()  # nothing is taken under it but the registry's own, since describing looks at nothing
_collectors: "WeakKeyDictionary[CollectorRegistry, _Collector]" = WeakKeyDictionary()


def _label_names(metric: Metric[Any]) -> list[str]:  # of either kind
    return [*(("pool",) if metric in POOL else ()), *metric.labels]


def _labels(sample: Sample) -> list[str]:
    return [*((sample.pool,) if sample.pool else ()), *sample.labels]


class _Collector:
    """Looks when it is scraped."""

    def __init__(self) -> None:
        self.watched = Watched()

    def describe(self) -> Iterator["Family"]:
        """Yield every family without values, so that registering looks at nothing."""
        return iter(self._families().values())

    def collect(self) -> Iterator["Family"]:
        """Yield every family."""
        families = self._families()
        for sample in self.watched.look():
            families[sample.metric.name].add_metric(_labels(sample), sample.value)
        return iter(families.values())

    @staticmethod
    def _families() -> dict[str, Any]:  # gauges and counters, which have no common base with add_metric
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        makers = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        return {row.name: makers[row.kind](prometheus_name(row), row.help, labels=_label_names(row)) for row in every()}


class _Files:
    """
    Writes by time into the files that prometheus-client keeps for each process. One a process; called by the ticker.

    *_written* is what counters were last seen at, so that they are moved on by the difference.
    """

    def __init__(self, interval: float) -> None:
        self.watched = Watched()
        self.interval = interval
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._written: dict[tuple[str, ...], float] = {}
        self._gauges: set[tuple[str, ...]] = set()
        self._metrics: dict[str, Any] = {}  # Counter or Gauge

    def start(self) -> None:
        self.write()
        ticker.call_at(self, monotonic() + self.interval)

    def tick(self, now: float) -> float | None:
        """Write, and come again as long as there are pools."""
        return now + self.interval if self.write() else None

    def end(self) -> None:
        """Write what has happened since the last time, and that the pools are no more."""
        if self.write():
            self.write()

    def write(self) -> bool:
        """Write what there is; return whether there was a pool."""
        with self._lock:
            samples = self.watched.look()
            if not any(sample.pool for sample in samples):
                samples = []  # nobody comes again, and the container's numbers would stand still
            seen = set()
            for sample in samples:
                key = (sample.metric.name, *_labels(sample))
                seen.add(key)
                self._set(sample, key)
            for name, *labels in self._gauges - seen:  # prometheus-client cannot take back what is in a file
                metric, row = self._metrics[name], _ROWS[name]
                (metric.labels(*labels) if labels else metric).set(math.inf if row.across == "min" else 0)
            return bool(samples)

    def _set(self, sample: Sample, key: tuple[str, ...]) -> None:
        metric, labels = self._metric(sample.metric), _labels(sample)
        child = metric.labels(*labels) if labels else metric
        if _is_summed(sample.metric):
            child.inc(max(0.0, sample.value - self._written.get(key, 0.0)))
            self._written[key] = sample.value
        else:
            child.set(sample.value)
            if sample.metric.kind == "gauge":  # a counter of the container has not gone back
                self._gauges.add(key)

    def _metric(self, row: Metric[Any]) -> Any:
        """Return prometheus-client's metric, made with the first value: one without labels writes 0 when it is made."""
        metric = self._metrics.get(row.name)
        if metric is None:
            from prometheus_client import Counter, Gauge

            name, names = prometheus_name(row), _label_names(row)
            # Theirs. Of a dead process the gauges go, but a counter's value was true, and without it the greatest of
            # the others, who looked before, would be a reset for Prometheus.
            mode: Any = row.across if row.kind == "counter" else f"live{row.across}"
            metric = self._metrics[row.name] = (
                Counter(name, row.help, names, registry=None)
                if _is_summed(row)
                else Gauge(name, row.help, names, registry=None, multiprocess_mode=mode)
            )
        return metric


_ROWS = {row.name: row for row in every()}


def _is_summed(metric: Metric[Any]) -> bool:
    """Return whether it is a counter of this process; the container's is the same in every process."""
    return metric.kind == "counter" and metric.across == "sum"


_writers: list[_Files] = []


def _files(interval: float) -> _Files:
    """Return the writer of this process; a forked child makes its own, as prometheus-client does with its files."""
    with _lock:
        if not _writers or _writers[0].pid != os.getpid():
            _writers[:] = [_Files(interval)]
            at_end(_writers[0].end)  # after the pools have ended: the interpreter waits for their threads before
        return _writers[0]
