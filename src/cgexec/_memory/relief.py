"""Memory that could be given back: collect cycles, and have the allocator return what it keeps."""

import gc
from time import monotonic
from typing import NamedTuple

from cgexec._memory.allocator import pin, trim
from cgexec._memory.gauge import Gauge, Reading

__all__ = ["Relief", "Relieved"]

# Not more often than this, in seconds; twice as long after each time that it did not help, up to the most.
_LEAST_S, _MOST_S = 0.1, 60.0
# It may take this share of the time. The collector stops every thread, so it is asked seldom, and last.
_SHARE = 0.05
_COLLECT_S = 2.0
# It helped if it gave back this share of the limit.
_HELPED = 0.02


class Relieved(NamedTuple):
    """What one time of it brought. *bytes* may be negative: others went on meanwhile."""

    bytes: int
    seconds: float


class Relief:
    """Decides when, does it, and measures what it brought. Used by one thread at a time."""

    def __init__(self) -> None:
        self.times = 0
        self.bytes = 0  # all that came back
        self.pinned = False
        self._wait = _LEAST_S
        self._due = self._collect_due = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether it may be tried again."""
        return now >= self._due

    def pin(self) -> bool:
        """Have what is freed from now on come back by itself; True the first time, where that can be had."""
        first, self.pinned = not self.pinned, True
        return first and pin()

    def give(self, gauge: Gauge) -> Relieved | None:
        """Try to get memory back; None if nothing can be read. Takes a millisecond, or seconds with a large heap."""
        begin = monotonic()
        before = gauge.read(begin)
        trim()
        after = gauge.read(begin)
        if before is not None and after is not None and before.used - after.used < _HELPED * after.limit:
            after = self._collect(gauge, begin) or after
        end = monotonic()
        self.times += 1
        freed = 0 if before is None or after is None else before.used - after.used
        helped = after is not None and freed >= _HELPED * after.limit
        self._wait = _LEAST_S if helped else min(_MOST_S, self._wait * 2)
        self._due = end + max(self._wait, (end - begin) / _SHARE)
        self.bytes += max(0, freed)
        return None if before is None or after is None else Relieved(freed, end - begin)

    def _collect(self, gauge: Gauge, now: float) -> Reading | None:
        """Look for cycles, if that was not done of late."""
        if now < self._collect_due:
            return None
        gc.collect()
        trim()
        end = monotonic()
        self._collect_due = end + max(_COLLECT_S, (end - now) / _SHARE)
        return gauge.read(end)
