"""
How much private memory the process may have mapped so that its container is not killed. Pure: readings in, bytes out.

Mapped, not touched: the kernel counts a mapping against RLIMIT_DATA when it is made, before a page of it costs
anything. What is mapped and never touched (thread stacks, gaps in arenas) is the idle gap, and may be mapped on top.

    cap = limit - margin - what others use + idle gap        others = unreclaimable use - own private memory

That is one absolute number. "What is mapped now and what is free now" would count fresh blocks twice.
"""

from typing import NamedTuple

from cgexec._memory.gap import Gap
from cgexec._memory.gauge import Own, Reading

__all__ = ["Cap", "Caps"]


class Caps(NamedTuple):
    """
    Bytes that the process may have mapped. *plan* leaves all of the margin. *workers* and *everyone* give out a third
    of it each: to what a worker does after an allocation was refused, and to other threads for which one was.
    """

    plan: int
    workers: int
    everyone: int


class Cap:
    """Follows what others use and what lies idle. Used by one thread at a time."""

    def __init__(self, stack: int) -> None:
        self.gap = Gap(stack)
        self._others: float | None = None

    def follow(self, reading: Reading, own: Own, margin: int, free: int = 0) -> Caps:
        """
        Return what may be mapped. *free*: what the allocator has mapped and will not use for large blocks; as much of
        it as is not resident is idle.
        """
        if not self.gap.known:
            self.gap.rest(own, 0)
        before = own.private if reading.before is None else reading.before
        # Use was read between two looks at our own memory, which may have changed by any amount: others' is between.
        least, most = reading.used - max(before, own.private), reading.used - min(before, own.private)
        self._others = float(most) if self._others is None else min(max(self._others, least), most)
        gap = self.gap.at(own.threads)
        base = reading.limit - self._others + gap + min(free, max(0, own.data - own.private - gap))
        if reading.processes > 1:  # each may take its part of what is free
            slack = reading.limit - margin - reading.used
            base -= max(0.0, slack * (1 - 1 / reading.processes))
        return Caps(int(base - margin), int(base - margin * 2 / 3), int(base - margin / 3))
