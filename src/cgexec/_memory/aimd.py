"""
How many calls may run side by side once memory ran out for one. Pure.

Additive increase, multiplicative decrease (Chiu and Jain 1989; TCP's congestion window): calls that all hold half of
what they need would fail for ever side by side, so each failure lets fewer run, until some come through.
"""

from math import floor, inf

__all__ = ["Aimd"]

# Of those running when one failed, so many may still run.
_DECREASE = 0.8
# One more in so many seconds without a failure: where calls take minutes none may end for long.
_STEP_S = 2.0


class Aimd:
    """A limit on running calls; infinite until one has failed. Changed by one thread at a time."""

    def __init__(self) -> None:
        self.limit = inf

    def failed(self, running: int) -> None:
        """Take in that memory ran out for a call, with so many running, itself included."""
        self.limit = max(1.0, min(self.limit, floor(running * _DECREASE)))

    def went_well(self, ended: int, seconds: float, wanted: int) -> None:
        """
        Take in that nothing failed for so many seconds, in which so many calls ended: a round of them allows one more,
        and so does time alone, up to all that are *wanted*.
        """
        if self.limit < inf:
            self.limit += max(0, ended) / self.limit + seconds / _STEP_S
        if self.limit >= wanted:
            self.limit = inf

    def forget(self) -> None:
        """Take in that nothing runs and nothing waits: what comes next may be quite different."""
        self.limit = inf
