"""
How much memory there is for what starts next: below the plan, and below the limit itself. Pure.

What lies free in the allocator is the next task's if it suits, which nobody can say beforehand: of calls that are all
of one size one in some hundred finds no place in it. So it counts as free below the plan, and for nothing below the
limit.
"""

from typing import NamedTuple

from cgexec._memory.gauge import Reading

__all__ = ["Headroom", "headroom", "part_of"]

# This part of the margin stays free though nothing suits: for what is no call's, and is not read exactly.
_SPARE = 1 / 8


class Headroom(NamedTuple):
    """In bytes: what is free below the plan, with all that is reusable; and what is below the limit without any."""

    planned: float
    fresh: float

    def less(self, unseen: float, surprise: float, beyond: float) -> "Headroom":
        """
        Return it without what others have been promised; below the plan without what is kept for a surprise, and below
        the limit without what one call may need *beyond* its share.
        """
        return Headroom(self.planned - unseen - surprise, self.fresh - unseen - beyond)

    @property
    def available(self) -> float:
        """What may be started."""
        return min(self.planned, self.fresh)

    @property
    def is_crowded(self) -> bool:
        """Whether there would be more if what is reusable were given back."""
        return self.fresh < self.planned


def headroom(reading: Reading, margin: int, files: int, mine: float, *, frees: float) -> Headroom:
    """
    Return it for one process.

    Args:
        reading: memory now.
        margin: the bytes that nothing is planned into.
        files: the bytes that are left to the pages of files beside it, which have them only where nothing lies free in
            the allocator either.
        mine: what this process uses, in bytes.
        frees: the part of what is reusable that calls have freed; the rest will go to those that run.
    """
    room = reading.room - files
    planned = part_of(reading, room - margin + reading.reusable * frees, mine)
    return Headroom(planned, part_of(reading, room - margin * _SPARE, mine))


def part_of(reading: Reading, free: float, mine: float) -> float:
    """
    Return what this process may take of what is *free*: an equal part, or what it lacks to an equal part of all.

    Of what is free it takes half at most for that, since others may hold more than their part, and grow, too.
    """
    if reading.processes <= 1:
        return free
    lacks = (free + reading.live) / reading.processes - mine
    return max(free / reading.processes, min(lacks, free / 2))
