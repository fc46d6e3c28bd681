"""The most that was seen of late, by calls that end and not by time. Pure."""

from collections.abc import Mapping
from typing import Generic, TypeVar

__all__ = ["Most", "larger"]

K = TypeVar("K")
V = TypeVar("V", int, float)


class Most(Generic[K, V]):
    """The most of each (say, calls of a function that ran at once) during the last so many calls and as many before."""

    def __init__(self) -> None:
        self._now: dict[K, V] = {}
        self._before: dict[K, V] = {}
        self._ended = 0

    def see(self, counts: Mapping[K, V]) -> None:
        """Take in what is now."""
        for each, count in counts.items():
            self._now[each] = max(count, self._now.get(each, count))

    def ended(self, count: int, counts: Mapping[K, V], window: int) -> bool:
        """Count calls that ended; True if the older half is forgotten now."""
        self._ended += count
        if self._ended < window:
            return False
        self._ended, self._before, self._now = 0, self._now, dict(counts)
        return True

    def most(self) -> dict[K, V]:
        """Return the most of each."""
        if not self._before:
            return self._now
        return larger(self._before, self._now)

    @property
    def fresh(self) -> Mapping[K, V]:
        """The most of each since the older half was forgotten last."""
        return self._now

    def of(self, each: K, default: V) -> V:
        """Return the most of one."""
        return max(self._now.get(each, default), self._before.get(each, default))


def larger(one: Mapping[K, V], other: Mapping[K, V]) -> dict[K, V]:
    """Return the larger of the two for each."""
    return {each: max(found, one.get(each, found)) for each, found in {**one, **other}.items()}
