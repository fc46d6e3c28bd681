"""
What the controller would do, for a pool that is only observed: nothing is tried there, so nothing is learned by trial.
"""

import math

from cgexec._adaptive.controller import QUICK_S, SLOW_S
from cgexec._adaptive.decisions import Decision, Ring
from cgexec._adaptive.lock import InterpreterLock
from cgexec._adaptive.reasons import FULL, facts, wanted, why_not_more, why_not_pressed
from cgexec._adaptive.samples import Sample, View, between

__all__ = ["Projection"]

# No more than so many times the size that is there: from there on it is a guess.
_FURTHEST = 4


class Projection:
    """
    Answers as a `Controller` does: *size* is the one that would hold, while the pool has the *actual* one all along.

    It grows by what the use of the CPUs leaves room for. Where they are used up it goes back to the size it began with.
    """

    plateau = False

    def __init__(self, size: int, actual: int, *, gil: bool) -> None:
        self.size = self._start = size
        self.interval = QUICK_S
        self.ring = Ring()
        self._actual = actual
        self._gil = InterpreterLock(gil)
        self._begun = 0.0
        self._since: Sample | None = None

    def begin(self, sample: Sample) -> None:
        """See `Controller`."""
        self._since = sample
        self._begun = sample.time

    def step(self, sample: Sample) -> Decision | None:
        """Take in a sample and return what would follow from it."""
        old, self._since = self._since, sample
        self.interval = SLOW_S
        if old is None:
            self.begin(sample)
            return None
        view = between(old, sample)
        size, reason = self._project(sample, view)
        size = max(sample.floor, min(size, sample.ceiling))
        before, self.size = self.size, size
        return self.ring.add(sample.time, before, size, reason, facts(view, sample))

    def _project(self, sample: Sample, view: View) -> tuple[int, str]:
        if not sample.waiting or sample.running < self._actual or sample.held:
            return self.size, why_not_pressed(sample)
        blocked = why_not_more(view) or self._gil.why_not_more(view, sample, sample.time - self._begun)
        if blocked is not None:
            return min(self.size, self._start), blocked
        times = min(_FURTHEST, FULL / max(wanted(view), 1e-9))
        return max(self.size, math.floor(self._actual * times)), "tasks wait, and CPU is left"
