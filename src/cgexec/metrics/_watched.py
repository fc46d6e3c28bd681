"""The pools that one registry or meter reports, held weakly, and the look that all its metrics share."""

import threading
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import NamedTuple, Protocol, TypeVar
from weakref import ref

from cgexec._limits import limits
from cgexec._pool.look import Stats
from cgexec._usage import usage
from cgexec.metrics._table import CONTAINER, POOL, PROCESS, UNKNOWN_WHEN_OFF, Container, Metric

__all__ = ["Pool", "Sample", "Watched"]

T = TypeVar("T")


class Pool(Protocol):
    """What can be watched: any executor of this package."""

    def stats(self) -> Stats:
        """Return its numbers."""


class Sample(NamedTuple):
    """A value of a metric; *pool* is "" for those of the process and the container."""

    metric: Metric[Stats] | Metric[Container]
    pool: str
    labels: tuple[str, ...]
    value: float


class Watched:
    """
    Pools by name, until they are collected, or closed and looked at once more when their last task has ended.

    Thread-safe: the lock guards the list, and nothing is called while it is held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[str, ref[Pool]] = {}
        # The last look and its time, replaced as a whole.
        self._kept: tuple[float, list[Sample]] | None = None

    def add(self, pool: Pool) -> str:
        """
        Watch a pool, and return its name. The place of one that is closed or collected is taken over.

        Raises:
            ValueError: another pool of that name is watched.
        """
        name = pool.stats().name
        before = self._live().get(name)
        with self._lock:
            if before is not None and before[0] is not pool and before[1].closed is None:
                raise ValueError(
                    f"a pool named {name!r} is registered already, and its numbers would be mixed with this one's: "
                    "give each its own name="
                )
            self._pools[name] = ref(pool)
            self._kept = None
        return name

    def remove(self, name: str) -> None:
        """Watch it no longer."""
        with self._lock:
            self._pools.pop(name, None)
            self._kept = None

    def _live(self) -> dict[str, tuple[Pool, Stats]]:
        with self._lock:
            pools = {name: pool for name, weak in self._pools.items() if (pool := weak()) is not None}
        return {name: (pool, pool.stats()) for name, pool in pools.items()}

    def look(self, *, not_older: float = 0.0) -> list[Sample]:
        """Return every value there is now; a look that is at most *not_older* seconds old will do."""
        now = monotonic()
        kept = self._kept
        if kept is not None and now - kept[0] < not_older:
            return kept[1]
        live = self._live()
        samples = list(_samples({name: stats for name, (_, stats) in live.items()}))
        self._kept = (now, samples)
        over = {name: pool for name, (pool, stats) in live.items() if _is_over(stats)}
        with self._lock:
            for name, pool in over.items():
                if (weak := self._pools.get(name)) is not None and weak() is pool:
                    del self._pools[name]
        return samples


def _is_over(stats: Stats) -> bool:
    return stats.closed is not None and not stats.running and not stats.waiting


def _samples(pools: Mapping[str, Stats]) -> Iterator[Sample]:
    for name, stats in pools.items():
        for row in POOL:
            if stats.mode != "off" or row.name not in UNKNOWN_WHEN_OFF:
                yield from _values(row, stats, name)
    guarded = max(pools.values(), key=lambda stats: stats.reliefs, default=None)  # one without a guard knows nothing
    if guarded is not None:
        for row in PROCESS:
            yield from _values(row, guarded, "")
    here = Container(limits(), usage())
    for each in CONTAINER:
        yield from _values(each, here, "")


def _values(row: Metric[T], seen: T, pool: str) -> Iterator[Sample]:
    value = row.value(seen)
    if isinstance(value, Mapping):
        for labels, number in value.items():
            yield Sample(row, pool, labels, number)  # type: ignore[arg-type]  # T is one of the two
    elif value is not None:
        yield Sample(row, pool, (), value)  # type: ignore[arg-type]  # likewise
