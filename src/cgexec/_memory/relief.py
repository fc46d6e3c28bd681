"""
Memory that could be given back: when to ask for it, by what, and what it brought. Pure: readings and times are handed
in, somebody else carries it out.
"""

from typing import NamedTuple

from cgexec._memory.gauge import Reading

__all__ = ["Asked", "Relief", "Relieved"]

# Not more often than this, in seconds; twice as long after each time that it did not help, up to the most.
_LEAST_S, _MOST_S = 0.1, 60.0
# It may take this share of the time. The collector stops every thread, so it is asked seldom, and last.
_SHARE = 0.05
_COLLECT_S = 2.0
# It helped if it gave back this share of the limit.
_HELPED = 0.02


class Asked:
    """
    Memory asked back once: from the allocator, and before that from the collector if *collects*. Whoever carries it out
    sets *done*, or leaves it where it could not be done, and then *ended*, a monotonic time in seconds.
    """

    __slots__ = ("at_rest", "begun", "collects", "disturbed", "done", "ended", "used")

    def __init__(self, used: int, begun: float, *, collects: bool, at_rest: bool = False) -> None:
        self.used = used  # before
        self.begun = begun
        self.collects = collects
        self.at_rest = at_rest
        self.disturbed = False  # somebody had work since
        self.done = False
        self.ended: float | None = None


class Relieved(NamedTuple):
    """What one time of it brought. *bytes* may be negative: others went on meanwhile."""

    bytes: int
    seconds: float
    collected: bool
    at_rest: bool  # from before it began until now nobody had work


class Relief:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self.times = 0
        self.bytes = 0  # all that came back
        self._asked: Asked | None = None
        self._in_vain = False  # the allocator alone gave nothing back the last time
        self._wait = _LEAST_S
        self._due = self._collect_due = 0.0

    def ask(self, used: int, now: float, *, at_rest: bool = False) -> Asked | None:
        """
        Return what is to be done now; None if it was done of late, or is still being done.

        *at_rest*: nobody has work. Then it is due though it was in vain the last time, and the collector is left alone.
        """
        if self._asked is not None or (now < self._due and not at_rest):
            return None
        collects = self._in_vain and now >= self._collect_due and not at_rest
        self._asked = Asked(used, now, collects=collects, at_rest=at_rest)
        return self._asked

    def measure(self, reading: Reading | None, begin: float, *, resting: bool = True) -> Relieved | None:
        """
        Return what the last time brought, by the first *reading*, begun at *begin*, since it ended; else None.
        *resting*: nobody has work.
        """
        asked = self._asked
        if asked is not None and not resting:
            asked.disturbed = True
        if asked is None or asked.ended is None or asked.ended > begin:
            return None
        self._asked = None
        seconds = asked.ended - asked.begun
        freed = 0 if reading is None or not asked.done else asked.used - reading.used
        if not asked.at_rest:  # what it brings then says nothing of when tasks are held
            self._plan(asked, asked.ended, begin, helped=reading is not None and freed >= _HELPED * reading.limit)
        if reading is None or not asked.done:
            return None
        self.times += 1
        self.bytes += max(0, freed)
        return Relieved(freed, seconds, asked.collects, asked.at_rest and not asked.disturbed)

    def _plan(self, asked: Asked, ended: float, begin: float, *, helped: bool) -> None:
        """Settle when it is due again, and what is to be done then."""
        seconds = ended - asked.begun
        if asked.collects:
            self._collect_due = ended + max(_COLLECT_S, seconds / _SHARE)
        self._in_vain = asked.done and not asked.collects and not helped
        if self._in_vain and begin >= self._collect_due:
            self._due = begin  # for the collector
        else:
            self._wait = _LEAST_S if helped else min(_MOST_S, self._wait * 2)
            self._due = ended + max(self._wait, seconds / _SHARE)
