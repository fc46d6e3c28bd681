"""
Whether one more task fits into memory. Pure: readings and times are handed in, bytes come out.

Three things are kept free beside what is used: what started tasks have been promised and not yet taken; an allowance
for a task unlike those seen so far, which shrinks as more are seen (the rule of succession: what never came in n
trials comes next with a probability of about 1/n); and a margin that nothing is planned into.
"""

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from math import exp2, inf
from types import MappingProxyType
from typing import NamedTuple

from cgexec._memory.footprints import ASSUMED, FREES, Footprint, Footprints
from cgexec._memory.gauge import Reading
from cgexec._memory.growth import Growth
from cgexec._memory.headroom import Headroom, headroom, part_of
from cgexec._memory.learning import HALF_LIFE_S, SURPRISE, Learning, Running

__all__ = ["Outlook", "Planner", "margin_of"]

# What nothing is planned into, unless `reserve` says otherwise: a share of the limit and its least in bytes.
MARGIN = 0.1
LEAST_MARGIN = 24 << 20
# The gate closes where the margin begins, and opens again this share of it below.
_REOPEN = 0.3
# Of the allowance for a task that is larger than those seen, this part stays until it ends.
_LATE_PART = 0.25
# If all calls that could run at once together take no more than this part of what is free, starting one costs nothing:
# what runs is promised its share at each look, and between two looks no more can start than may run.
_TRIFLE = 0.5
# A call has shown what it takes at first when it has been running for so many seconds in which use stayed calm.
_SHOWS_S = 0.25
_NONE: Mapping[Footprint, tuple[int, float]] = MappingProxyType({})


class Outlook(NamedTuple):
    """
    What may be started, in bytes; -inf while the gate is closed.

    *surplus*: what is used and nobody is known to need: memory that may come back, and would help.
    """

    available: float
    closed: bool
    surplus: float


def margin_of(limit: int, reserve: Fraction | int | None) -> int:
    """Return what stays free below *limit*, in bytes."""
    if reserve is None:
        return max(int(limit * MARGIN), LEAST_MARGIN)
    return int(limit * reserve) if isinstance(reserve, Fraction) else reserve


class Planner:
    """What is known of memory in this process. Changed by one thread at a time."""

    def __init__(self) -> None:
        self.closed = False
        self.reading: Reading | None = None
        self.margin = LEAST_MARGIN
        self._learning = Learning()
        self.footprints: Footprints = self._learning.footprints
        self.growth: Growth = self._learning.growth
        self._unseen = 0.0  # bytes promised and not taken at the last look
        self._settled: Counter[Footprint] = Counter()  # calls that have been running for long
        self._promises: dict[Hashable, float] = {}  # of those that run
        self._wanted, self._free = 0, Headroom(0.0, 0.0)  # at the last look
        self.bold = False  # a surprise would kill nobody

    @property
    def plan(self) -> int:
        """How far memory is planned to be used."""
        return 0 if self.reading is None else self.reading.limit - self.margin

    @property
    def floor(self) -> float:
        """What is used when nothing runs, in bytes; infinite before the first look."""
        return self._learning.floor

    @property
    def assumed(self) -> float:
        """What a task is taken to need with nothing known but that it has not taken more by now."""
        return max(1.0, min(ASSUMED, self._third))

    @property
    def _third(self) -> float:
        """A third of what there is for tasks, in bytes."""
        return (self.plan - min(self.floor, self.plan)) // 3

    @property
    def _first(self) -> float:
        """What the first calls of a function may take before they show it, in bytes: no fuse sees all of it."""
        return min(self._third, SURPRISE * ASSUMED)

    @property
    def correction(self) -> float:
        """By how much given estimates were too small of late, at the worst."""
        return self._learning.correction

    def price(self, footprint: Footprint | None, given: int | None) -> float:
        """Return what a task is counted with when it starts."""
        if given is not None:
            price = self._learning.corrected(footprint, given)
        elif footprint is None or not footprint.samples:
            # A third of what is left where that is less: others are not to end for it.
            price = max(self._seen(footprint), min(self._first, self._free.available / 3))
        else:
            price = footprint.share
            if not self.bold:
                price = max(price + self._unlike(footprint), min(footprint.largest, self.plan - self.floor))
            if price * self._wanted <= _TRIFLE * self._free.available:
                return 0.0
        return price

    def _seen(self, footprint: Footprint | None) -> float:
        """Return what a call is taken to need by what was seen of its function, without anything for a surprise."""
        share = 0.0 if footprint is None else footprint.share
        return share if footprint is not None and footprint.samples else max(self.assumed, share)

    def needed(self, footprint: Footprint | None, given: int | None) -> float:
        """Return what a call needs if it is as large as the largest seen of its function, or as somebody said."""
        if given is not None:
            return self._learning.corrected(footprint, given)
        return max(self._seen(footprint), 0.0 if footprint is None else footprint.largest)

    def lacks(self, footprint: Footprint | None, given: int | None) -> bool:
        """
        Return whether a call does not fit below the limit, and would if what is used above the floor came back: what
        ended calls have left behind, results above all.
        """
        if self.reading is None:
            return False
        need = self._seen(footprint) if given is None else self.needed(footprint, given)
        return self.reading.room < need <= self.reading.room + self._learning.used - self.floor

    def fits(self, footprint: Footprint | None, given: int | None, part: float = 1.0) -> bool:
        """
        Return whether a task that needs what was seen of its function, or was given, would leave use below that *part*
        of the plan, with all that others were promised, and below the limit though nothing suits that is reusable.
        Below the whole plan nothing is kept for a surprise; below a part it has to fit though it be the largest seen.
        """
        if self.reading is None or self.closed:
            return False
        need = self._seen(footprint) if given is None and part == 1 else self.needed(footprint, given)
        free = min(part * self.plan - self.reading.live, self.reading.room)
        return need <= part_of(self.reading, free, self._learning.used) - self._unseen

    def untaken(self, running: Iterable[Hashable]) -> float:
        """Return what these, the last started first, have been promised beyond the growth since they started."""
        worst = promised = 0.0
        for ident in running:
            promised += self._promises.get(ident, 0.0)
            grown = self._learning.grown_since(ident)
            if grown is not None:
                worst = max(worst, promised - grown)
        return worst

    def look(
        self,
        reading: Reading,
        running: Sequence[Running],
        ended: int,
        lately: Sequence[Footprint],
        wanted: int,
        margin: int,
        now: float,
        *,
        files: int = 0,
        late: Sequence[Running] = (),
        lasted: Mapping[Footprint, tuple[int, float]] = _NONE,
        bold: bool = False,
        rested: bool = True,
    ) -> Outlook:
        """
        Take in what is seen and return what may be started.

        Args:
            reading: memory now.
            running: the tasks that run now.
            ended: how many have ended since the last look.
            lately: functions of tasks that ended meanwhile and may have been too short to be seen running.
            wanted: the most tasks that could be running, were memory no concern.
            margin: see `margin_of`.
            files: what is left to the pages of files beside it, in bytes.
            now: a monotonic time in seconds.
            late: the tasks that have begun while memory was read: they may have taken theirs, and are promised nothing
                yet.
            lasted: of each function, how many calls have ended since the last look, and how many seconds they lasted
                together; only those that counted with something when they started.
            bold: a surprise would kill nobody, so nothing is kept free for one.
            rested: since the last task ended, what is free has been given back; else tasks may take it again unseen.
        """
        self.bold = bold
        self.reading, self.margin = reading, margin + files
        self._learning.see(reading, [*running, *late], ended, lately, now, lasted=lasted, rested=rested)
        excess = self._learning.used - self.floor
        self._settled = Counter(each.footprint for each in running if each.given is None and each.is_settled(now))
        self._gate(reading)
        self._promises = {each.ident: self._promise(each) for each in running}
        whole = sum(self._promises.values())
        unseen = max(0.0, whole - max(0.0, excess), self._unseen_of_the_young(running, now))
        surprise, beyond = self._surprise(running, now)
        # What is free though no call has freed it will go to calls that run.
        frees = min(1.0, self._learning.frees / FREES)
        free = headroom(reading, margin, files, self._learning.used, frees=frees)
        self._free = free.less(unseen, surprise, beyond)
        self._wanted, self._unseen = wanted, unseen
        surplus = excess - whole
        if self._free.is_crowded or not running:
            surplus += reading.reusable
        return Outlook(-inf if self.closed else self._free.available, self.closed, surplus)

    def _gate(self, reading: Reading) -> None:
        if reading.live > self.plan:
            self.closed = True
        elif reading.live < self.plan - _REOPEN * self.margin:
            self.closed = False

    def _promise(self, each: Running) -> float:
        """Return what a running task may come to hold."""
        if each.given is not None:
            return self._learning.corrected(each.footprint, each.given)
        if each.footprint.samples:
            return each.footprint.share
        calm = self._learning.calm_since(each.ident)
        return max(each.footprint.share, self._first if calm < _SHOWS_S else self.assumed * exp2(-calm / HALF_LIFE_S))

    def _unseen_of_the_young(self, running: Sequence[Running], now: float) -> float:
        """
        Return what the tasks started last have been promised and have not taken.

        The sum over all is blind to it where the floor has risen unnoticed: results kept, caches filled. Where that is
        what calls do, none of them counts as having taken it.
        """
        last_first = sorted(running, key=lambda one: -one.since)
        youngest = itertools.takewhile(lambda each: each.is_young(now) or each.footprint.keeps, last_first)
        return self.untaken(each.ident for each in youngest)

    def _unlike(self, footprint: Footprint) -> float:
        """Return what is kept free because a call may be larger than all seen: so much, so likely."""
        if self.bold or not footprint.samples:
            return 0.0
        room = max(0.0, self.plan - self.floor - footprint.share)
        return min((SURPRISE - 1) * footprint.share, room) / (footprint.samples + self._settled[footprint])

    def _surprise(self, running: Sequence[Running], now: float) -> tuple[float, float]:
        """
        Return the allowance for tasks that turn out larger than all before; and how much more than its share one may
        need. What a task takes it mostly takes early, so it gets less with its age.
        """
        counts: dict[Footprint, float] = {}
        for each in running:
            if each.given is None:
                left = 1 - (now - each.since) / each.usual if each.usual else 1.0
                counts[each.footprint] = counts.get(each.footprint, 0.0) + max(_LATE_PART, left)
        if self.bold or not counts:
            return 0.0, 0.0
        unlike = sum(self._unlike(each) * count for each, count in counts.items())
        # Those that have not taken theirs yet may all be as large as the largest seen, and one of all in any case:
        # below the limit, if need be into the margin.
        beyond = max(each.largest - each.share for each in counts)
        young = [each.footprint for each in running if each.given is None and each.is_young(now)]
        surprise = max(unlike, max(beyond, sum(each.largest - each.share for each in young)) - self.margin)
        return surprise, beyond
