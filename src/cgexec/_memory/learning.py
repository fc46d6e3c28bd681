"""
What the use of memory teaches of the calls that run, look by look. Pure.

Nothing is decided here: the planner asks what is used when nothing runs, what was used before a call started, and what
a call of each function was seen to need.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from cgexec._memory.corrections import Corrections
from cgexec._memory.departures import Departures
from cgexec._memory.footprints import FREES, Footprint, Footprints
from cgexec._memory.gauge import Reading
from cgexec._memory.growth import Growth
from cgexec._memory.most import Most, larger
from cgexec._memory.spikes import Spikes

__all__ = ["HALF_LIFE_S", "SURPRISE", "Learning", "Running"]

# A task unlike the others: so many times larger. The gauntlet's mixed workload has eight.
SURPRISE = 8
# With nothing known, what a running task was promised halves in this time, in seconds, as long as use stays calm.
HALF_LIFE_S = 2.0
# Use is calm if it did not grow by more than this share of the limit in that time.
_CALM = 0.01
# A task just started has not taken its memory yet, whatever the sums say: for a part of its duration, between these.
_YOUNG_PART, _YOUNG_LEAST_S, _YOUNG_MOST_S = 0.25, 0.01, 0.25
# A call that has been running for so long has shown as much as one that has ended, in seconds.
_SETTLED_S = 10.0
# With nothing running at the last look, one that comes so much later is the first after a pause, in seconds: whoever
# has work looks once a second.
_PAUSE_S = 2.0
# What a call holds it has taken before it is so many times as old as the young.
_TAKES = 3.0
# Calls that are as large as most are differ by so much of that, without being unlike the others.
_UNEVEN = 0.1
# So many calls are "of late".
_LATE = 50


class Running(NamedTuple):
    """A task that runs. *given*: its estimate if somebody gave one, in bytes. *usual*: seconds that such take."""

    ident: Hashable
    footprint: Footprint
    since: float
    given: int | None
    usual: float | None

    def is_young(self, now: float, times: float = 1.0) -> bool:
        """Return whether it started so lately that it will not have taken its memory yet; or so many *times* that."""
        usual = 0.0 if self.usual is None else self.usual
        return now - self.since <= times * min(max(_YOUNG_PART * usual, _YOUNG_LEAST_S), _YOUNG_MOST_S)

    def is_settled(self, now: float) -> bool:
        """Return whether it has been running for so long that it will not turn out unlike what it is now."""
        return now - self.since >= _SETTLED_S


@dataclass(slots=True)
class _Call:
    """One that runs, as it was seen first; but for what others have freed since. Sizes in bytes."""

    task: Running
    used: float  # before it began
    due: float  # what others were to take yet then, if they were as most are
    calm: float  # the calm clock then
    look: int
    seems: float = 0.0  # to have taken


class Learning:
    """
    What was seen so far. Changed by one thread at a time.

    *used*: what the tasks are held to account for, at the last look, in bytes; *floor*: the same when nothing runs,
    infinite before the first look. *growth*: whether it grows at all. *of_late*: the functions that ran of late.
    """

    def __init__(self) -> None:
        self.footprints = Footprints()
        self.growth = Growth()
        self.floor = self.used = inf
        self._corrections = Corrections()
        self._spikes = Spikes()
        self._departures = Departures()
        self._source = ""
        self._quiet = False  # nothing ran at the last look
        self._looked = 0.0
        self._looks = 0
        self._before = inf  # the less of what was used at the last look and at this one
        self._calls: dict[Hashable, _Call] = {}  # that ran at the last look
        self._due = 0.0  # what those that run are to take yet, if they are like that
        self._high = 0.0  # the most above the floor of late
        self._recent: Most[Footprint, int] = Most()
        self._of_late: Most[Footprint, int] = Most()
        self._calm = 0.0  # seconds in which use stayed calm
        self._calm_from = -inf

    @property
    def of_late(self) -> Iterable[Footprint]:
        """The functions of which calls ran of late."""
        return self._of_late.most().keys()

    @property
    def correction(self) -> float:
        """By how much given estimates were too small of late, at the worst."""
        return self._corrections.worst

    @property
    def frees(self) -> float:
        """How much of what calls need use falls by when they end, from 0 to 1."""
        known = [(each.share, each.frees) for each in self.of_late]
        whole = sum(share for share, frees in known if frees is not None)
        return sum(share * frees for share, frees in known if frees is not None) / whole if whole else FREES

    def corrected(self, footprint: Footprint | None, given: int) -> float:
        """Return what an estimate that somebody gave counts for, in bytes."""
        return given * self._corrections.of(footprint)

    def grown_since(self, ident: Hashable) -> float | None:
        """Return by how much more is used than before that call started, None if it was not seen."""
        call = self._calls.get(ident)
        return None if call is None else max(0.0, self.used - call.used)

    def calm_since(self, ident: Hashable) -> float:
        """Return for how many seconds use has stayed calm since that running call started."""
        return self._calm - self._calls[ident].calm

    def see(
        self,
        reading: Reading,
        running: Sequence[Running],
        ended: int,
        lately: Sequence[Footprint],
        now: float,
        *,
        lasted: Mapping[Footprint, tuple[int, float]],
        rested: bool,
    ) -> None:
        """
        Take in one look; the arguments are those of `Planner.look`, but that all count as running that have begun by
        the time at which memory was read.
        """
        paused = self._quiet and now - self._looked > _PAUSE_S
        used = self._measure(reading, now)
        self._see_how_long(running, lately, lasted, now)
        self._see_the_gone(used, running, now)
        self.growth.see(used, _CALM * reading.limit, now)
        self._follow(used, running, rested=rested)
        learning = {each.ident: each.footprint if each.given is None else None for each in running}
        gone = self._departures.see(learning, ended, lately)
        # *paused*: the highest point may be of any time since, in which others of the process did what they like.
        spike = 0 if reading.own is None else self._spikes.see(reading.own, ours=not paused)
        if running or gone or lately or ended:
            self._learn(used + spike, running, ended, lately, gone)
            self._see_the_youngest(used, now)
        else:
            self._high = 0.0

    def _measure(self, reading: Reading, now: float) -> float:
        """Return the use that tasks are held to account for: the container's, or where others share it, our own."""
        used = float(reading.live)
        if reading.processes > 1 and reading.own is not None:
            used = float(reading.own.private + reading.own.shared)
        source = f"{reading.source} {reading.processes > 1}"
        if source != self._source:  # another level binds: another scale
            self._source, self.floor, self._calm_from = source, used, used
            for each in self._calls.values():
                each.task.footprint.seems = 0.0
            self._calls = {}
        if used > self._calm_from + _CALM * reading.limit:
            self._calm_from = used  # it grows: time does not count
        else:
            self._calm += max(0.0, min(now - self._looked, HALF_LIFE_S))
            self._calm_from = min(self._calm_from, used)
        self._looked = now
        return used

    @staticmethod
    def _see_how_long(
        running: Sequence[Running],
        lately: Sequence[Footprint],
        lasted: Mapping[Footprint, tuple[int, float]],
        now: float,
    ) -> None:
        """See what calls can hold at the most, by how long they last."""
        for footprint, (count, seconds) in lasted.items():
            footprint.lasting.see(count, seconds, now)
        oldest = dict.fromkeys([*lately, *lasted], 0.0)
        for each in running:
            oldest[each.footprint] = max(now - each.since, oldest.get(each.footprint, 0.0))
        for footprint, age in oldest.items():
            footprint.lasting.look(age, now)

    def _follow(self, used: float, running: Sequence[Running], *, rested: bool) -> None:
        """Keep what was used before each task started, and the floor: what is used when nothing runs."""
        self._before, self.used = min(self.used, used), used
        self._looks += 1
        for each in running:
            if (call := self._calls.get(each.ident)) is not None:
                call.task = each
            else:
                self._calls[each.ident] = _Call(each, self._before, self._due, self._calm, self._looks)
        # What tasks that have just ended held may come back a little later, so it rises at the second quiet look.
        self.floor = used if self._quiet and rested and not running else min(self.floor, used)
        self._quiet = not running
        usual = sum(self._usual(each) for each in running)
        self._due = max(0.0, usual - max(0.0, used - self.floor))

    def _learn(
        self,
        used: float,
        running: Sequence[Running],
        ended: int,
        lately: Sequence[Footprint],
        gone: Mapping[Footprint, int],
    ) -> None:
        """
        Learn from the use above the floor, spikes included.

        How many calls share it is not how many run now: what ended calls held comes back late, and the allocator may
        keep it for good. So it is divided by the most that ran of late; only what goes beyond all that was seen, and
        beyond what the calls that run are known to need, is theirs alone. Where no call ran, it is somebody else's.
        """
        counts = Counter(each.footprint for each in running if each.given is None)
        counts.update({each: 1 for each in lately if each not in counts})
        excess = max(0.0, used - self.floor)
        given = [(each.footprint, each.given) for each in running if each.given is not None]
        self._corrections.see(excess, given, ended, only=len(given) == len(running))
        self._recent.see(counts)
        self._of_late.see(counts)
        self._see_the_new(used)
        excess = max(0.0, excess - sum(self.corrected(each, size) for each, size in given))
        known = sum(each.share * count for each, count in self._recent.most().items())
        self.footprints.add(max(0.0, excess - max(self._high, known)), self._recent.most())
        # What is forgotten by now must not make that many share what is seen: the estimate would be too small.
        self.footprints.see(excess, larger(self._of_late.fresh, self._recent.most()))
        self._high = max(self._high, excess) if running else 0.0
        for footprint, count in gone.items():
            footprint.ended(count)
        self._recent.ended(ended, counts, max(4, len(running)))
        if self._of_late.ended(ended, counts, _LATE):
            self._high = excess

    def _see_the_new(self, used: float) -> None:
        """See how far use has grown since functions of which no call has ended yet were called first."""
        begun = sum(each.look == self._looks for each in self._calls.values())
        for each in self._recent.most():
            if not each.samples:
                each.grow(self._before, used, begun)

    def _see_the_gone(self, used: float, running: Sequence[Running], now: float) -> None:
        """
        Take what use fell by since the last look for what those have freed that ran then and have ended.

        It hides no growth of those that run. What a call of one function has freed is known where none has begun
        meanwhile.
        """
        here = {each.ident for each in running}
        gone = [call.task for ident, call in self._calls.items() if ident not in here]
        if gone:
            fell = max(0.0, self.used - used)
            # Use may have grown by what others took meanwhile, or fallen before.
            least = sum(self._usual(each) for each in gone if each.footprint.returns)
            theirs = min(max(fell, least), sum(max(self._counted(each), each.footprint.largest) for each in gone))
            for call in self._calls.values():
                call.used -= theirs
            if here <= self._calls.keys() and len({each.footprint for each in gone}) == 1:
                self._see_freed(gone, fell / len(gone), now)
        for each in gone:
            each.footprint.see_one(self._calls.pop(each.ident).seems)
        for known in {each.footprint for each in gone}:
            those = (call.seems for call in self._calls.values() if call.task.footprint is known)
            known.seems = max(those, default=0.0)

    def _see_freed(self, gone: Sequence[Running], freed: float, now: float) -> None:
        """Take what each of these calls of one function has freed for what they held."""
        footprint, calls = gone[0].footprint, len(gone)
        footprint.see_freed(freed, calls, max(0.0, self.used - self.floor) / len(self._calls), now)
        if calls == 1 and not footprint.keeps:  # what it seemed to take may have been another's
            call = self._calls[gone[0].ident]
            call.seems = min(freed, call.seems)

    def _usual(self, each: Running) -> float:
        return each.footprint.usual if each.given is None else self._counted(each)

    def _counted(self, each: Running) -> float:
        return each.footprint.share if each.given is None else self.corrected(each.footprint, each.given)

    def _see_the_youngest(self, used: float, now: float) -> None:
        """
        Take the growth since the tasks that started last for theirs, beyond what others were to take yet; and beyond
        what many others, each a little larger than most are, may hold more.
        """
        calls = self._calls.values()
        youngest = max((call.look for call in calls), default=0)
        last = [call for call in calls if call.look == youngest]
        if not any(call.task.is_young(now, _TAKES) for call in last):
            return
        more = _UNEVEN * sum(self._usual(call.task) for call in calls if call.look < youngest)
        usual = sum(self._usual(call.task) for call in last)
        for call in last:
            footprint, grown = call.task.footprint, used - call.used - call.due - more
            # One of them may have taken all that the others, if they are as most are, have not.
            grown = max(grown / len(last), grown - usual + self._usual(call.task))
            call.seems = max(call.seems, min(grown, SURPRISE * footprint.share))
            footprint.seems = max(footprint.seems, call.seems)
