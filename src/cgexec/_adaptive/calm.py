"""A few workers of many given up, where that keeps the quota from running out. Pure."""

import math

from cgexec._adaptive.pace import Backoff
from cgexec._adaptive.reasons import FREE, NEARLY, OURS, SOME_THROTTLED, aim, many_small
from cgexec._adaptive.samples import Sample, between

__all__ = ["Calm"]

# Of many small tasks' workers at least this part is enough, if with more the quota runs out; so long it has to, in
# seconds, as it does once or twice when threads start.
_CALMER, _CALM_S = 0.8, 1.0


class Calm:
    """Knows since when all workers of a size have been busy, and whether the quota ran out meanwhile."""

    def __init__(self) -> None:
        self._since: Sample | None = None
        self._backoff = Backoff(0.4, 60.0)

    def feed(self, sample: Sample, *, pressed: bool) -> None:
        """Take in a sample; *pressed* is whether all workers were busy and something waited."""
        self._since = (self._since or sample) if pressed else None

    def rest(self) -> None:
        """Forget what was seen: there was nothing to do, or the size is another."""
        self._since = None

    def less(self, sample: Sample, size: int) -> tuple[int, str] | None:
        """Return which smaller size is enough, and why; None if this one is right, or nothing can be said."""
        if self._since is None or sample.time - self._since.time < _CALM_S:
            return None
        view, self._since = between(self._since, sample), sample
        crowded = (view.throttled or 0.0) > SOME_THROTTLED and view.load > FREE and view.own >= OURS * view.cpu
        if not many_small(view) or not crowded or self._backoff.holds(sample.time, view, sample.cpus):
            return None
        self._backoff.fail(sample.time, view, sample.cpus)  # seldom enough not to go up and down
        return math.ceil(size * max(_CALMER, min(NEARLY, aim(view) / view.load))), "the quota runs out now and then"
