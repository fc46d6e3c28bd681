"""The pools that one registry or meter reports, and the look that all its metrics share."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary, ref

from cgexec._limits import limits
from cgexec._pool.look import Stats
from cgexec._usage import usage
from cgexec.metrics._table import CONTAINER, POOL, PROCESS, UNKNOWN_WHEN_OFF, Container, Metric

__all__ = ["Pool", "Sample", "Source", "Watched"]

T = TypeVar("T")
# By metric and labels.
Counts = dict[tuple[str, tuple[str, ...]], float]
# The totals of so many names are kept for a successor; the oldest go.
_MOST_NAMES = 1000


class _Numbers(Protocol):
    """What has numbers."""

    def stats(self) -> Stats:
        """Return them."""


class Pool(_Numbers, Protocol):
    """What can be watched: any executor of this package."""

    @property
    def _cgexec_pool(self) -> _Numbers | None:
        """What it consists of."""


class Sample(NamedTuple):
    """A value of a metric; *pool* is "" for those of the process and the container."""

    metric: Metric[Stats] | Metric[Container]
    pool: str
    labels: tuple[str, ...]
    value: float


class Source:
    """
    Where the numbers of a pool come from. The executor is not kept by it.

    What it consists of is, until its last task has ended and that was looked at: the last counts of a pool that is
    dropped would be lost else. *told* is what of its counters is in the totals of its name.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = ref(pool)
        self._inner = pool._cgexec_pool  # noqa: SLF001  # the same package; None with CGEXEC_MODE=off
        self.told: Counts = {}

    def stats(self) -> Stats | None:
        """Return the numbers, None once there are none."""
        there = self._inner or self._pool()
        return None if there is None else there.stats()

    def let_go(self) -> None:
        """Keep nothing of it: it has ended."""
        self._inner = None


class _Place:
    """
    Who has a name, who had it and still has tasks that run, and what the counters of those came to that are gone.

    Counters must not go back when a name changes hands, so each adds to what those before it had counted.
    """

    def __init__(self) -> None:
        self.present: Source | None = None
        self.leaving: list[Source] = []
        self.totals: Counts = {}

    def fold(self, source: Source, counts: Counts) -> None:
        """Put what it has counted into the totals, and only what is not in there yet."""
        for key, count in counts.items():
            self.totals[key] = self.totals.get(key, 0) + count - source.told.get(key, 0)
        source.told = counts

    def drop(self, source: Source) -> None:
        """Ask it no more."""
        if self.present is source:
            self.present = None
        self.leaving = [each for each in self.leaving if each is not source]

    @property
    def is_empty(self) -> bool:
        return self.present is None and not self.leaving


class _Seen(NamedTuple):
    """A name at one look: the numbers of who has it, None if nobody has, and the counters of all that count."""

    stats: Stats | None
    counts: list[tuple[Source, Counts]]
    over: list[Source]


class Watched:
    """
    Pools by name, until they are closed or collected and looked at once more when their last task has ended.

    Thread-safe: the lock guards the places and all in them, and nothing is called while it is held.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer that runs in the middle may come in
        self._places: dict[str, _Place] = {}
        self._sources: WeakKeyDictionary[Pool, Source] = WeakKeyDictionary()
        self._process: dict[str, float] = {}  # the most that the process' counters have been
        # The last look and its time, replaced as a whole.
        self._kept: tuple[float, list[Sample]] | None = None

    def add(self, pool: Pool) -> tuple[str, Source]:
        """
        Watch a pool; return its name, and what `remove` takes. The place of one that is closed is taken over.

        The name has "?" for what UTF-8 cannot say, such as a lone surrogate out of a file's name: one of them in a
        label, and no scrape succeeds.

        Raises:
            ValueError: another pool of that name is watched.
        """
        name = pool.stats().name.encode(errors="replace").decode()
        source = self._source(pool)
        while True:
            with self._lock:
                place = self._places.get(name)
                before = None if place is None else place.present
            seen = None if before is None or before is source else before.stats()
            if seen is not None and seen.closed is None:
                raise ValueError(
                    f"a pool named {name!r} is registered already, and its numbers would be mixed with this one's: "
                    "give each its own name="
                )
            if self._take(name, before, source):
                return name, source

    def _source(self, pool: Pool) -> Source:
        """Return the same for the same pool: what was counted of it must not be counted again."""
        with self._lock:
            source = self._sources.get(pool)
            if source is None:
                source = self._sources[pool] = Source(pool)
            return source

    def _take(self, name: str, before: Source | None, source: Source) -> bool:
        """Give *source* the place of *before*; False if somebody else was quicker."""
        with self._lock:
            place = self._places.get(name)
            if (None if place is None else place.present) is not before:
                return False
            if place is None:
                self._make_room()
                place = self._places[name] = _Place()
            if before is not None and before is not source:
                place.leaving.append(before)
            place.leaving = [each for each in place.leaving if each is not source]
            place.present, self._kept = source, None
        return True

    def _make_room(self) -> None:
        if len(self._places) >= _MOST_NAMES:
            empty = next((name for name, place in self._places.items() if place.is_empty), None)
            if empty is not None:
                del self._places[empty]

    def remove(self, name: str, source: Source) -> bool:
        """Watch it no longer; return whether nobody has the name now, False if it is another pool's by now."""
        stats = source.stats()
        with self._lock:
            place = self._places.get(name)
            if place is not None and place.present is source:
                place.fold(source, {} if stats is None else _counts(stats))
                place.drop(source)
                self._kept = None
            return place is None or place.present is None

    def look(self, *, not_older: float = 0.0) -> list[Sample]:
        """Return every value there is now; a look that is at most *not_older* seconds old will do."""
        now = monotonic()
        kept = self._kept
        if kept is not None and now - kept[0] < not_older:
            return kept[1]
        seen = self._see()
        samples = list(self._samples(seen))
        self._kept = (now, samples)
        self._settle(seen)
        return samples

    def _see(self) -> dict[str, _Seen]:
        with self._lock:
            asked = {
                name: (place.present, tuple(place.leaving))
                for name, place in self._places.items()
                if not place.is_empty
            }
        seen = {}
        for name, (present, leaving) in asked.items():
            sources = [*leaving, *(() if present is None else (present,))]
            stats = [(source, source.stats()) for source in sources]
            seen[name] = _Seen(
                stats[-1][1] if present is not None else None,
                [(source, _counts(each)) for source, each in stats if each is not None],
                [source for source, each in stats if each is None or _is_over(each)],
            )
        return seen

    def _settle(self, seen: Mapping[str, _Seen]) -> None:
        """Take out those that have ended; what they have counted stays."""
        with self._lock:
            for name, one in seen.items():
                place = self._places.get(name)
                if place is None:
                    continue
                for source, counts in one.counts:
                    if source in one.over and (source is place.present or source in place.leaving):
                        place.fold(source, counts)
                for source in one.over:
                    place.drop(source)
                    source.let_go()

    def _samples(self, seen: Mapping[str, _Seen]) -> Iterator[Sample]:
        for name, one in seen.items():
            if one.stats is not None:
                counts = self._total(name, one)
                for row, labels, value in _values(_rows(one.stats), one.stats):
                    yield Sample(row, name, labels, counts.get((row.name, labels), value))
        yield from self._of_process([one.stats for one in seen.values() if one.stats is not None])
        here = Container(limits(), usage())
        for row, labels, value in _values(CONTAINER, here):
            yield Sample(row, "", labels, value)

    def _total(self, name: str, seen: _Seen) -> Counts:
        """Return the counters of a name: of those that are gone, those that leave, and the one that has it."""
        with self._lock:
            place = self._places.get(name)
            total = {} if place is None else place.totals.copy()
            for source, counts in seen.counts:
                for key, count in counts.items():
                    total[key] = total.get(key, 0) + count - source.told.get(key, 0)
        return total

    def _of_process(self, pools: Iterable[Stats]) -> Iterator[Sample]:
        """Yield what is the same in all pools, except that one without memory's guard knows nothing of it."""
        most: dict[tuple[Metric[Stats], tuple[str, ...]], float] = {}
        for stats in pools:
            for row, labels, value in _values(PROCESS, stats):
                most[row, labels] = max(value, most.get((row, labels), value))
        for (row, labels), value in most.items():
            if row.kind == "counter":  # the one that knew may be gone
                value = self._process[row.name] = max(value, self._process.get(row.name, value))  # noqa: PLW2901
            yield Sample(row, "", labels, value)


def _is_over(stats: Stats) -> bool:
    return stats.closed is not None and not stats.running and not stats.waiting


def _rows(stats: Stats) -> Iterable[Metric[Stats]]:
    return (row for row in POOL if stats.mode != "off" or row.name not in UNKNOWN_WHEN_OFF)


def _counts(stats: Stats) -> Counts:
    counters = (row for row in _rows(stats) if row.kind == "counter")
    return {(row.name, labels): value for row, labels, value in _values(counters, stats)}


def _values(rows: Iterable[Metric[T]], seen: T) -> Iterator[tuple[Metric[Any], tuple[str, ...], float]]:
    for row in rows:
        value = row.value(seen)
        if isinstance(value, Mapping):
            yield from ((row, labels, number) for labels, number in value.items())
        elif value is not None:
            yield row, (), value
