"""
Whose calls have ended between two looks. Pure.

Who ran at the last look and does not run now has ended. Who came and went between the two was never seen; of these it
is only known how many there were, which functions pools started last, and whose calls were gone again after one look.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from cgexec._memory.footprints import Footprint

__all__ = ["Departures"]


class Departures:
    """Compares each look with the one before. Used by one thread at a time."""

    def __init__(self) -> None:
        self._running: Mapping[Hashable, Footprint | None] = {}
        self._new: set[Hashable] = set()  # of these, who was seen for the first time
        self._uncounted = 0  # were seen to have ended before their pool counted them

    def see(
        self, running: Mapping[Hashable, Footprint | None], ended: int, lately: Sequence[Footprint]
    ) -> Counter[Footprint]:
        """
        Return how many calls have ended, by function.

        Args:
            running: the calls that run now, and of which function; None for those that teach nothing.
            ended: how many the pools have counted since the last look.
            lately: functions that were started of late.
        """
        left = [ident for ident in self._running if ident not in running]
        gone = [self._running[ident] for ident in left]
        balance = self._uncounted + len(left) - ended
        # A run that is to be repeated, or the last of a pool that has gone, is never counted.
        self._uncounted = max(0, balance) if running or ended else 0
        short = [*lately, *(self._running[ident] for ident in left if ident in self._new)]
        counts = Counter(gone)
        for number, footprint in enumerate(short):  # those never seen are dealt out one by one
            counts[footprint] += (max(0, -balance) + number) // len(short)
        self._new = running.keys() - self._running.keys()
        self._running = running
        return Counter({each: count for each, count in counts.items() if each is not None and count})
