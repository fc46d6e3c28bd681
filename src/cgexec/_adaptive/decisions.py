"""What was decided and why, the last of it: the answer to "why did it not grow?"."""

from collections import deque
from typing import NamedTuple

__all__ = ["Decision", "Ring"]

_KEPT = 32


class Decision(NamedTuple):
    """
    One decision, or the same one *times* in a row.

    Attributes:
        when: of the last of them, in monotonic seconds; *since* of the first.
        old, size: how many workers before and after; equal where it stays.
        reason: why, in a few words; *facts* are the numbers it rests on, those of the last one.
    """

    since: float
    when: float
    old: int
    size: int
    reason: str
    facts: str = ""
    times: int = 1


class Ring:
    """The last decisions. Not thread-safe: whoever steps the controller adds, and readers take `all` of it."""

    def __init__(self) -> None:
        self._kept: deque[Decision] = deque(maxlen=_KEPT)

    def add(self, now: float, old: int, size: int, reason: str, facts: str) -> Decision:
        """Keep a decision; the same as before, at the same size, is counted and does not push others out."""
        last = self._kept[-1] if self._kept else None
        made = Decision(now, now, old, size, reason, facts)
        if last is not None and (last.old, last.size, last.reason) == (old, size, reason) and old == size:
            made = made._replace(since=last.since, times=last.times + 1)
            self._kept[-1] = made
        else:
            self._kept.append(made)
        return made

    def all(self) -> list[Decision]:
        """Return them, oldest first."""
        return list(self._kept)
