"""
Metrics for OpenTelemetry. Needs the extra: ``pip install "cgexec[otel]"``, which is the API alone; without an SDK that
the program configures nothing is measured.
"""

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from cgexec import __version__
from cgexec._extras import extra
from cgexec.metrics._table import Metric, every
from cgexec.metrics._watched import Pool, Watched

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

__all__ = ["Instrumentation", "instrument"]

# One look serves the callbacks of one collection, which follow one another at once. In seconds.
_ONE_COLLECTION = 0.1


class Instrumentation:
    """A pool that is reported. It ends by itself when the pool is closed or collected, and its last task has ended."""

    def __init__(self, watched: Watched, pool: Pool) -> None:
        self.name, self._source = watched.add(pool)
        self._watched = watched

    def close(self) -> None:
        """Report the pool no longer. Does nothing once the name is another pool's."""
        self._watched.remove(self.name, self._source)


def instrument(pool: Pool, meter: "Meter | None" = None) -> Instrumentation:
    """
    Report a pool, the process and its container. Any thread may call it, for as many pools as there are.

    The pool is not kept alive by it. Its name is the attribute ``cgexec.pool.name``.

    Args:
        pool: any executor of this package.
        meter: where; default is the meter ``cgexec`` of the global provider, which may be set later.

    Raises:
        MissingExtra: opentelemetry-api is not installed.
        ValueError: another pool of the same name is reported there.
    """
    with extra("otel", "cgexec.metrics.opentelemetry", "opentelemetry-api"):
        from opentelemetry.metrics import get_meter
    with _lock:
        if meter is None:
            meter = _default[0] if _default else get_meter("cgexec", __version__)
            _default[:] = [meter]
        watched = _by_meter.get(meter)
        if watched is None:
            watched = Watched()
            for row in every():
                _create(meter, row, watched)
            _by_meter[meter] = watched
    return Instrumentation(watched, pool)


_lock = threading.Lock()
_by_meter: "WeakKeyDictionary[Meter, Watched]" = WeakKeyDictionary()
_default: "list[Meter]" = []


def _create(meter: "Meter", row: Metric[Any], watched: Watched) -> None:  # of either kind
    make = meter.create_observable_counter if row.kind == "counter" else meter.create_observable_gauge
    make(f"cgexec.{row.name}", [_observer(row, watched)], unit=row.unit, description=row.help)


def _observer(row: Metric[Any], watched: Watched) -> "Callable[[CallbackOptions], Iterator[Observation]]":
    from opentelemetry.metrics import Observation

    def observe(_: "CallbackOptions") -> Iterator[Observation]:
        for sample in watched.look(not_older=_ONE_COLLECTION):
            if sample.metric is row:
                attributes = dict(zip(row.labels, sample.labels, strict=True))
                if sample.pool:
                    attributes["cgexec.pool.name"] = sample.pool
                yield Observation(sample.value, attributes)

    return observe
