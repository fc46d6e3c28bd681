"""What a controller remembers of the sizes it tried. Pure."""

from typing import NamedTuple

from cgexec._adaptive.pace import ENOUGH
from cgexec._adaptive.samples import Sample, View

__all__ = ["OTHER", "Descent", "Needed", "Proven", "cost"]

# If so many times as many tasks end, or a task costs so many times as much, it is because tasks are others now.
OTHER = 3.0
# What the CPUs need is believed for so long without trying, in seconds.
_REMEMBERED_S = 10.0


class Proven(NamedTuple):
    """A size and how it did."""

    size: int
    rate: float
    demand: float


class Needed(NamedTuple):
    """How many workers the CPUs need, by the last look at which some CPU was left; *cost* is the CPU time of a task."""

    size: float
    time: float
    cost: float | None

    def holds(self, view: View, now: float) -> bool:
        """Return whether that is so still: not for long, and not for tasks that cost many times as much."""
        costs = cost(view)
        return now - self.time < _REMEMBERED_S and not (costs and self.cost and costs > OTHER * self.cost)


class Descent(NamedTuple):
    """
    A smaller size on trial, and what the pool used at the *old* one. *since* is when surplus tasks were looked at,
    *base* the first sample at which none ran any more. *rate* is that of tasks at the old size, where it is for the
    interpreter lock, which the use of the CPUs does not show.
    """

    old: int
    own: float
    demand: float
    since: Sample
    base: Sample | None = None
    rate: float | None = None


def cost(view: View) -> float | None:
    """Return the CPU seconds of a task, None where too few ended to tell."""
    return view.own / view.rate if view.ended >= ENOUGH else None
