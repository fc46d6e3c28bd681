"""Estimates that somebody gave, and by how much they proved too small. Pure."""

from collections.abc import Sequence

from cgexec._memory.footprints import Footprint
from cgexec._memory.most import Most

__all__ = ["Corrections"]

# A given estimate is believed until what is seen exceeds it by this factor.
_TOLERANCE = 1.2
# With each generation of calls it counts for so many times more at the most.
_STEP = 8
# So many calls are "of late".
_LATE = 50


class Corrections:
    """Factors by function. Changed by one thread at a time."""

    def __init__(self) -> None:
        self._promised: Most[str, int] = Most()  # bytes, by given estimates
        self._over: Most[Footprint, float] = Most()  # by how much these were too small
        self._due = 0  # calls that have to end before that may grow again

    def of(self, footprint: Footprint | None) -> float:
        """Return what an estimate for calls of the function is multiplied by."""
        return 1.0 if footprint is None else self._over.of(footprint, 1.0)

    @property
    def worst(self) -> float:
        """The largest factor of late."""
        return max([1.0, *self._over.most().values()])

    def see(self, excess: float, given: Sequence[tuple[Footprint, int]], ended: int, *, only: bool) -> None:
        """
        Take in that calls with these estimates run, *only* such or others as well, that *excess* bytes are used, and
        that so many calls have ended since the last look.
        """
        promised = {"": sum(size for _, size in given)}
        self._promised.see(promised)
        most = self._promised.most().get("", 0)
        over = excess / most / _TOLERANCE if most else 0.0
        self._due -= ended
        if over > 1 and self._due <= 0 and only:
            # Step by step: what grew may be something else in the process, which no task is to blame for.
            self._due = len(given)
            self._over.see({each: min(over, _STEP * self.of(each)) for each, _ in given})
        self._promised.ended(ended, promised, _LATE)
        self._over.ended(ended, {}, _LATE)
