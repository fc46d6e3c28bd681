"""
How long nothing runs before a task is started though memory does not suffice for it. Pure.

It is a wait for somebody to free memory. Where what is used stays as it is, whatever starts, there is nothing to wait
for: a process that lies above the plan by itself would else run a task every five seconds for as long as it lives.
"""

from math import exp2

from cgexec._memory.footprints import Footprint
from cgexec._memory.gauge import Reading

__all__ = ["Patience"]

_LEAST_S = 0.1
# After so many such starts in which use did not move it halves with each that follows.
_SURE = 3
# Use has moved if it changed by more than this share of the limit, or if its highest point did. Who needs more than
# that is waited for in full.
_MOVED = 0.01


class Patience:
    """
    Of all pools, as memory is that of all. Used by one thread at a time.

    Args:
        most: it, in seconds, where nothing else is known.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._starts = 0  # since use has moved
        self._last: object = None
        self._used = self._peak = 0
        self._step = 0.0  # what counts as moved, in bytes

    def see(self, reading: Reading) -> None:
        """Take in what is used now."""
        peak = 0 if reading.own is None else reading.own.most_resident
        self._step = _MOVED * reading.limit
        if max(abs(reading.used - self._used), peak - self._peak) > self._step:
            self._starts, self._used, self._peak = 0, reading.used, peak

    def started(self, hold: object) -> None:
        """Count a start though memory did not suffice; once for each *hold*."""
        if hold != self._last:
            self._last = hold
            self._starts += 1

    def seconds(self, known: Footprint | None, price: float) -> float:
        """Return it for a task of that function, which is counted with so many bytes."""
        if known is None or known.samples < _SURE or price > self._step:
            return self._most
        return max(_LEAST_S, self._most * exp2(min(0, _SURE - self._starts)))
