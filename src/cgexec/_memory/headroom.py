"""
How much memory there is for what starts next: below the plan, and below the limit itself. Pure.

What lies free in the allocator is the next task's as far as it suits, and nobody can say beforehand how far. So it
counts as free below the plan; and below the limit there has to be room for what does not suit.
"""

from math import inf
from typing import NamedTuple

from cgexec._memory.gauge import Reading

__all__ = ["BLOCK", "Headroom", "headroom", "part_of"]

# Of what is reusable so much will suit, at least; if no more does, this part of the margin stays free.
_SUITS, _UNSUITED = 1 / 2, 1 / 3
# What may be a block of so many bytes glibc never has in an arena (mallopt(3)).
BLOCK = 32 << 20


class Headroom(NamedTuple):
    """
    In bytes: what is free below the plan, with all that is reusable; what is below the limit, with the part of it that
    *suits* at least; and what is there without any.
    """

    planned: float
    fresh: float
    suits: float = 0.0
    bare: float = inf

    def less(self, unseen: float, surprise: float, block: float) -> "Headroom":
        """
        Return it without what others have been promised, and without what is kept for a surprise; and, below the limit,
        without what one call may need in a *block*, for which nothing suits that is reusable.
        """
        fresh = min(self.fresh, self.bare - block) if block else self.fresh
        return self._replace(planned=self.planned - unseen - surprise, fresh=fresh - unseen)

    @property
    def available(self) -> float:
        """What may be started."""
        return min(self.planned, self.fresh)

    @property
    def is_crowded(self) -> bool:
        """Whether there would be more if what is reusable were given back."""
        return self.fresh < self.planned

    def cost(self, size: float) -> float:
        """Return what a call of that size takes of what is available."""
        if size < BLOCK:
            return size
        return size + max(0.0, self.available - self.fresh + self.suits)


def headroom(reading: Reading, margin: int, mine: float, *, frees: float, told: bool) -> Headroom:
    """
    Return it for one process.

    Args:
        reading: memory now.
        margin: the bytes that nothing is planned into.
        mine: what this process uses, in bytes.
        frees: the part of what is reusable that calls have freed; the rest will go to those that run.
        told: somebody gave an estimate, beside which nothing is kept for a surprise. So none of the margin is for what
            does not suit.
    """
    reusable = reading.reusable * frees
    suits = reusable * _SUITS
    spare = margin * (1 if told else _UNSUITED)
    planned = part_of(reading, reading.room - margin + reusable, mine)
    fresh = part_of(reading, reading.room - spare + suits, mine)
    return Headroom(planned, fresh, suits, part_of(reading, reading.room, mine))


def part_of(reading: Reading, free: float, mine: float) -> float:
    """
    Return what this process may take of what is *free*: an equal part, or what it lacks to an equal part of all.

    Of what is free it takes half at most for that, since others may hold more than their part, and grow, too.
    """
    if reading.processes <= 1:
        return free
    lacks = (free + reading.live) / reading.processes - mine
    return max(free / reading.processes, min(lacks, free / 2))
