"""
What lies free in the allocator: freed by tasks that have ended, not given back to the kernel, and the next task's
without use growing. Where all threads share an arena it is as good as free.

The C library tells what is free in its arenas, touched or not. Of the arenas no more has never been touched, or was
given back, than all that is mapped and not resident, less the idle gap; the rest is reusable.
"""

from collections.abc import Callable
from math import inf
from time import monotonic

from cgexec._memory.allocator import free_bytes
from cgexec._memory.gap import Gap, stack_size
from cgexec._memory.gauge import Own

__all__ = ["Reusable"]

# The C library goes through a list of all free blocks for it, under the arena's lock. Where that takes longer than so
# many seconds so many times in a row (once may be the quota, run out in the middle), it is left alone for so many.
_LONG_S, _TIMES, _ALONE_S = 0.005, 3, 60.0
# Stacks of ended threads that glibc keeps for the next, in bytes (nptl/allocatestack.c).
_SPARE = 40 << 20


class Reusable:
    """Used by one thread at a time. *free* is `free_bytes`, *clock* in seconds."""

    def __init__(
        self,
        free: Callable[[], int | None] = free_bytes,
        clock: Callable[[], float] = monotonic,
        stack: int | None = None,
    ) -> None:
        self._free, self._clock = free, clock
        self._gap = Gap(stack_size() if stack is None else stack, _SPARE)
        self._due = -inf
        self._long = 0  # times in a row

    def see(self, own: Own, *, rest: bool) -> int:
        """Return the bytes, 0 where nobody knows. *rest*: no task runs, so that the gap can be measured."""
        begin = self._clock()
        if begin < self._due:
            return 0
        free = self._free()
        end = self._clock()
        self._long = self._long + 1 if end - begin > _LONG_S else 0
        if free is None or self._long >= _TIMES:
            self._due, self._long = inf if free is None else end + _ALONE_S, 0
            return 0
        if rest:
            self._gap.rest(own, free)
        if not self._gap.known or own.data < own.private:  # a kernel that does not tell
            return 0
        untouched = max(0, own.data - own.private - self._gap.at(own.threads))
        return max(0, free - untouched)
