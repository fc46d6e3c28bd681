"""
What a call of each function needs, learned from how use grows with the number running. Pure.

Threads share one heap, so no call can be measured alone. Two things can be seen: the use above the floor (what is used
when nothing runs) and how many calls run, whose quotient is the share of a call; and by how much use falls when one
ends. The estimate is the greatest share of late, which includes the moments in which calls were at their largest
together, or what most calls have freed, if that is more: calls that grow are seldom at their largest together.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from math import inf
from typing import NamedTuple

from cgexec._memory.functions import key_of, numbered
from cgexec._memory.lasting import Lasting

__all__ = ["ASSUMED", "FREES", "Footprint", "Footprints", "Learned"]

# With nothing known a call is taken to need so much, in bytes, until there is a sample; never more than a third of the
# room, so that three start at once in a small container, too.
ASSUMED = 64 << 20
# A maximum is remembered for so many calls, and for as many again. Long enough to have met what comes one time in ten.
_WINDOW = 50
# Nor does it fall below this part of what it was: with few running little is seen, and many more start at once.
_FALL = 0.25
# By how much use fell is remembered for so many calls that ended, and counts from so many on. It is exact where nobody
# takes or gives back memory between two looks, less where others take some, and seldom more: so what this part of them
# does not exceed is what a call holds, unless it is one of few that are larger.
_FREED, _FREED_LEAST = 40, 3
_MOST_CALLS = 0.85
# And this part of them what a call mostly holds: more than half, as some take what others free.
_MANY_CALLS = 0.65
# Calls that end within so many seconds may have freed what they held before the first of them was seen to end: child
# processes, above all.
_TOGETHER_S = 0.02
# A function of which calls free less than this part of what they hold returns the rest, or puts it somewhere.
FREES = 0.3
# Samples at which the confidence is one half.
_HALF = 8
# Functions remembered; a service has fewer. When there are more, all are forgotten.
_MOST = 2000


class Learned(NamedTuple):
    """
    What `Stats.footprints` shows of a function.

    Attributes:
        bytes: what one call is counted with, None while nothing is known.
        samples: calls that have ended and were seen.
        confidence: from 0 (nothing known) towards 1; one half after 8 samples.
    """

    bytes: int | None
    samples: int
    confidence: float


class _Freed(NamedTuple):
    """By how many bytes use fell for one call that ended, how many were held for each that ran, and when."""

    size: float
    held: float
    when: float


class Footprint:
    """
    What is known of one function. *share* is the greatest of late, in bytes. *frees*: the part of what calls hold by
    which use falls when they end, from 0 to 1, None while nobody knows. *seems*: the most that one of those that run
    seems to have taken, in bytes. *grown*, of one of which no call has ended yet: what each call that has begun since
    its first may have taken.
    """

    __slots__ = (
        "_before", "_begun", "_first", "_freed", "_fresh", "_largest", "_largest_before", "_many", "_most", "_now",
        "anchor", "frees", "grown", "lasting", "name", "samples", "seems",
    )  # fmt: skip

    def __init__(self, anchor: object, name: str) -> None:
        self.anchor = anchor  # kept, so that an id stays its own
        self.name = name
        self.samples = 0
        self._now = self._before = 0.0
        self._largest = self._largest_before = 0.0
        self._freed: deque[_Freed] = deque(maxlen=_FREED)
        self._many = self._most = 0.0  # what two thirds and what most of these do not exceed
        self.frees: float | None = None
        self.lasting = Lasting()
        self.seems = 0.0
        self._fresh = 0
        self.grown = 0.0
        self._first = inf  # what was used before its first call
        self._begun = 0  # calls of any function that have begun since

    @property
    def share(self) -> float:
        """The estimate, in bytes."""
        return min(self.lasting.most, max(self._now, self._before, self._most))

    @property
    def usual(self) -> float:
        """What a call mostly needs, in bytes: two thirds of them no more."""
        return min(self._many, self.lasting.most) if len(self._freed) >= _FREED_LEAST else self.share

    @property
    def largest(self) -> float:
        """The most that a single call seems to have held of late, in bytes."""
        return max(min(self.lasting.most, max(self._largest, self._largest_before, self.seems)), self.share)

    @property
    def keeps(self) -> bool:
        """Whether what a call needs is still in use when it has ended."""
        return self.frees is not None and self.frees < FREES

    @property
    def returns(self) -> bool:
        """Whether what a call needs is known to be free when it has ended."""
        return self.frees is not None and self.frees > 1 - FREES

    def see_one(self, size: float) -> None:
        """Take in what a call that has ended seems to have held."""
        self._largest = max(self._largest, size)

    def see_freed(self, size: float, count: int, held: float, now: float) -> None:
        """Take in by how much use fell for each of so many calls that ended, and what was *held* for each that ran."""
        size += self._counted_before(self.usual - size, count, now)
        self._freed.extend([_Freed(size, held, now)] * min(count, _FREED))
        if len(self._freed) >= _FREED_LEAST:
            sizes = sorted(each.size for each in self._freed)
            self._many, self._most = (sizes[int(part * (len(sizes) - 1))] for part in (_MANY_CALLS, _MOST_CALLS))
            held = sum(each.held for each in self._freed)
            self.frees = min(1.0, sum(sizes) / held) if held else None

    def _counted_before(self, lacks: float, count: int, now: float) -> float:
        """Return for each of so many calls what it *lacks*, as far as one that ended just before seems to have it."""
        moved = 0.0
        for place in range(len(self._freed) - 1, -1, -1):
            last = self._freed[place]
            if moved >= lacks * count or now - last.when > _TOGETHER_S:
                break
            part = min(lacks * count - moved, max(0.0, last.size - self.usual))
            self._freed[place] = last._replace(size=last.size - part)
            moved += part
        return moved / count

    def see(self, share: float) -> None:
        """Take in what a call seems to hold now."""
        self._now = max(self._now, share)

    def grow(self, before: float, used: float, begun: int) -> None:
        """Take in what was used *before* the last calls, of any function, have *begun*, and what is used now."""
        self._first = min(self._first, before)
        self._begun += begun
        self.grown = max(0.0, used - self._first) / max(1, self._begun)

    def ended(self, count: int) -> None:
        """Count calls that ended; old maxima are forgotten by their number."""
        self.samples += count
        self._fresh += count
        if self._fresh >= _WINDOW:
            self._fresh = 0
            self._before, self._now = max(self._now, self.share * _FALL), 0.0
            self._largest_before, self._largest = max(self._largest, self._largest_before * _FALL), 0.0

    def learned(self) -> Learned:
        """Return it for people."""
        known = self.samples > 0
        return Learned(round(self.share) if known else None, self.samples, self.samples / (self.samples + _HALF))


class Footprints:
    """
    The functions of this process. Changed by one thread at a time; `find` may be called by any, it is one look into a
    dict.
    """

    def __init__(self) -> None:
        self._known: dict[object, Footprint] = {}

    def find(self, anchor: object) -> Footprint | None:
        """Return what is known of the function."""
        return self._known.get(key_of(anchor))

    def get(self, anchor: object, name: str) -> Footprint:
        """Return what is known of the function, new if nothing is."""
        found = self.find(anchor)
        if found is None:
            if len(self._known) >= _MOST:
                self._known = {}
            found = self._known[key_of(anchor)] = Footprint(anchor, name)
        return found

    def __iter__(self) -> Iterator[Footprint]:
        return iter(list(self._known.values()))

    def see(self, excess: float, counts: Mapping[Footprint, int]) -> None:
        """Take in that so many calls hold *excess* bytes together: each as much as its weight says."""
        for each, part in self._parts(excess, counts):
            each.see(part)

    def add(self, excess: float, counts: Mapping[Footprint, int]) -> None:
        """Take in that so many calls hold so much more than they were known to; nothing more is no news of them."""
        if excess <= 0:
            return
        for each, part in self._parts(excess, counts):
            each.see(each.share + part)

    def _parts(self, excess: float, counts: Mapping[Footprint, int]) -> list[tuple[Footprint, float]]:
        """
        Divide bytes among calls by what each was taken to need so far.

        A function that was never seen weighs as much as the mean of the others, so that it neither takes all of it nor
        nothing; and where those have not ended either (they may wait for it), as much as use grew since it began.
        """
        calls = sum(counts.values())
        if not calls:
            return []
        known = [each.share for each in counts if each.samples]
        mean = sum(known) / len(known) if known else 0.0
        # Never nothing: of several functions that were all small, any may be the one that grew.
        least = max(1.0, excess / calls / 16)
        weights = {
            each: max(least, each.share if each.samples else max(mean, each.share, each.grown)) for each in counts
        }
        whole = sum(weights[each] * count for each, count in counts.items())
        return [(each, excess * weight / whole) for each, weight in weights.items()]

    def learned(self) -> dict[str, Learned]:
        """Return what is known, by names that tell functions apart."""
        functions = list(self)
        names = numbered(each.name for each in functions)
        return {name: each.learned() for name, each in zip(names, functions, strict=True)}
