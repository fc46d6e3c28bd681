"""
The size that follows the load: a controller that is handed samples and a clock, and answers with a size and a reason.

What it does, and whose idea it is:

- It grows only while tasks wait, no worker is idle, memory holds nothing back and CPUs are left (the app-limited guard
  of Netflix' concurrency-limits; MongoDB asks whether the tickets ran out). While the CPUs are mostly unused tasks
  wait for something else, so it doubles at once; then by what the use of the CPUs leaves room for.
- A larger size that does not make tasks end faster is taken back (MongoDB's probing, .NET's hill climbing). It is the
  one test that sees through the interpreter lock, a slow database and a busy disk alike.
- With the CPUs used up, a smaller size that uses them as well is kept. Threads beyond that only have the quota run out
  early in each period, and the whole container sleeps for the rest of it. Likewise with the interpreter lock: threads
  that hand it to one another between two CPUs end fewer tasks than one alone does. Once it is taken all the time, no
  number of workers ends more of them (the utilisation law of queueing networks).
- What failed is tried again ever more seldom. Neither latency nor exceptions are signals: tasks are not alike.
"""

import math

from cgexec._adaptive.calm import Calm
from cgexec._adaptive.decisions import Decision, Ring
from cgexec._adaptive.lock import USED_UP, InterpreterLock
from cgexec._adaptive.pace import ENOUGH, EVIDENCE_S, Backoff, Pace, fell
from cgexec._adaptive.reasons import (
    FREE,
    FULL,
    NEARLY,
    OURS,
    SOME_THROTTLED,
    THROTTLED,
    aim,
    crowded,
    facts,
    many_small,
    wanted,
    why_not_more,
    why_not_pressed,
    workers,
)
from cgexec._adaptive.samples import Sample, View, between
from cgexec._adaptive.trials import OTHER, Descent, Needed, Proven, cost

__all__ = ["QUICK_S", "SLOW_S", "Controller"]

# Times in seconds. Chosen with bench/simulate.py and bench/oracle.py.
FIRST_S = 0.05
QUICK_S, SLOW_S = 0.1, 0.5
# A step is worth it if it brings this part of what it would bring if tasks did nothing but wait.
WORTH = 0.25
# Smaller steps than this may not show in the tasks that end, which come too unevenly. CPU time does, with the waiting
# for it: where there is enough of that to measure, neighbours that come and go do not disturb it either. But it does
# not where a CPU becomes faster meanwhile: so either is enough, except for many small tasks, which the quota would
# run out by.
CLEAR = 1.3
# But not less than this: smaller steps are judged together.
SHOWS = 1.1
# A smaller size is as good if it uses this much of the CPU time, or ends this much of the tasks; the second where it is
# seen to use up the interpreter lock, as the larger one did.
AS_GOOD, AS_GOOD_LOCKED = 0.95, 0.7
# A step is to twice the size, or to so many times it while even that would leave half of the CPUs unused.
MOST_STEP = 4.0
# With no task ended at the new size, it grows to so many times the size it began with, or by one step from the last
# that was seen to work; after that by a quarter a second.
BLIND = 8
BLIND_STEP, BLIND_S = 1.25, 1.0
# With the interpreter lock used up so many of the workers are tried, once that is known or more brought nothing: it
# ends at one or two, where nothing is waited for but the lock.
FEW, HALF = 0.25, 0.5
# CPUs that what is not a task may use.
SLACK = 0.1
# CPU time that a thread takes to start, in seconds: no more start at once than what is free until the next look pays
# for, or the quota would run out by that alone.
START_S = 0.0004
# A step that needs evidence is taken without it after so long: the tasks take minutes. If some have ended, after
# EVIDENCE_S, unless that is how long evidence takes.
PATIENCE_S = 5.0
# A smaller size on trial leaves CPUs unused if it uses less than this part of what was used before; likewise those that
# run beyond it, if they do so for so long: they wait for something else.
SURPLUS_S, SURPLUS = 0.5, 0.8


class Controller:
    """
    Decides. Not thread-safe, and pure: the clock is in the samples.

    *size* is what it decided last, *interval* the seconds after which it wants the next sample, *ring* the last
    decisions. With *gil* threads share an interpreter lock, so that one CPU may be all there is to have.
    """

    def __init__(self, size: int, *, gil: bool) -> None:
        self.size = size
        self.interval = FIRST_S
        self.ring = Ring()
        self.plateau = False  # the last larger size brought nothing, though CPU was left: the interpreter lock
        self._gil = InterpreterLock(gil)
        self._since: Sample | None = None
        self._begun = 0.0
        self._changed: float | None = None
        self._mean: float | None = None
        self._pace = Pace(0.0, None)
        self._proven: Proven | None = None
        self._descent: Descent | None = None
        self._start = size
        self._plateau_cpu = 0.0
        self._was_full = False
        self._calm = Calm()
        self._needed: Needed | None = None
        self._up, self._down = Backoff(2.0, 30.0), Backoff(5.0, 240.0)

    def begin(self, sample: Sample) -> None:
        """Measure from this sample on: there was nothing to do before it."""
        self._since = sample
        self._begun = self._changed = sample.time
        self._descent = None
        self._calm.rest()
        self._was_full = False
        self._pace.rest()
        self.interval = FIRST_S

    def step(self, sample: Sample) -> Decision | None:
        """Take in a sample and return what follows from it; None if it comes too soon after the one before."""
        old = self._since
        if old is None:
            self.begin(sample)
            return None
        outside = not sample.floor <= self.size <= sample.ceiling
        if sample.time - old.time < 0.8 * min(self.interval, QUICK_S) and not outside:
            return None
        view = between(old, sample)
        self._since = sample
        self._mean = view.mean or self._mean
        pressed = self._is_pressed(sample)
        self._pace.feed(sample, pressed=pressed, clear=0.5 * FREE * self._gil.alone(sample))
        self._calm.feed(sample, pressed=pressed)
        if self._proven is not None and fell(view, self._proven.demand, self._proven.rate, sample.cpus):
            self._proven = None  # that was other work
        size, reason = self._decide(sample, view, old, pressed=pressed)
        least = 1 if sample.shut else sample.floor
        size = max(least, min(size, sample.ceiling))
        decision = self.ring.add(sample.time, self.size, size, reason, facts(view, sample))
        self._adopt(sample.time, size)
        return decision

    def _adopt(self, now: float, size: int) -> None:
        if size != self.size:
            self.size, self._changed = size, now
            self._calm.rest()
            self._pace = Pace(now, self._mean)
            self.interval = QUICK_S if self._descent is None else FIRST_S
        elif self._descent is not None and self._descent.base is not None:
            self.interval = QUICK_S
        elif self._descent is not None or self._pace.seen is None:  # look quickly for as long as it may soon be known
            least = QUICK_S if self._descent is None else FIRST_S
            self.interval = min(SLOW_S, max(least, 0.1 * (now - (self._changed or now))))
        else:
            self.interval = min(SLOW_S, max(QUICK_S, self.interval * 1.25))

    def _is_pressed(self, sample: Sample) -> bool:
        return sample.waiting > 0 and sample.idle == 0 and sample.running >= NEARLY * self.size and not sample.held

    # -- the order of the questions ---------------------------------------------------------------------------------

    def _decide(self, sample: Sample, view: View, old: Sample, *, pressed: bool) -> tuple[int, str]:
        ordered = self._by_order(sample, view, old)
        if ordered is not None:
            self._descent = self._proven = None  # measured under other conditions
            self._up.reset()
            self._down.reset()
            return ordered
        full = self._is_full(view)
        if view.cpu < 0.7 * self._plateau_cpu:
            self.plateau = False
        if self._descent is not None:
            return self._judge_smaller(self._descent, sample, pressed=pressed)
        less = self._calm.less(sample, self.size)
        if less is None and not pressed:
            return self.size, why_not_pressed(sample)
        less = less or self._try_smaller(sample, view, full=full) or self._try_few(sample, view)
        if less is not None:
            return less
        reason = why_not_more(view) or self._gil.why_not_more(view, sample, sample.time - self._begun)
        if reason == USED_UP:
            self.plateau, self._plateau_cpu = True, view.cpu
        if reason is not None:
            return self.size, reason
        # In a look shorter than a quota period it may have run out, and is not counted yet.
        if (view.throttled or 0.0) <= SOME_THROTTLED and view.load > 0 and view.seconds >= QUICK_S:
            self._needed = Needed(self.size / view.load, sample.time, cost(view))
        return self._judge_larger(sample) or self._grow(sample, view)

    def _by_order(self, sample: Sample, view: View, old: Sample) -> tuple[int, str] | None:
        """Return what limits and memory command, whatever is on trial."""
        size = self.size
        if size > sample.ceiling:
            return sample.ceiling, "the ceiling fell"
        if sample.shut:
            return max(1, min(size, sample.running, math.floor(0.7 * size))), "the memory gate is closed"
        if size < sample.floor:
            return sample.floor, "the least allowed"
        if sample.cpus < old.cpus and view.load > NEARLY:
            return math.ceil(size * sample.cpus / old.cpus), "the CPU limit fell"
        return None

    def _is_full(self, view: View) -> bool:
        """Return whether the CPUs are used up by us: twice in a row, as one short look may meet a burst."""
        throttled = view.throttled or 0.0
        full = view.load >= FULL or (throttled >= THROTTLED and view.load >= 0.8)
        was, self._was_full = self._was_full, full
        return full and (was or view.seconds >= 2 * QUICK_S)

    # -- up ---------------------------------------------------------------------------------------------------------

    def _judge_larger(self, sample: Sample) -> tuple[int, str] | None:
        """Take a larger size back that brought too little; None if it is worth it, or nothing can be said yet."""
        seen, proven = self._pace.seen, self._proven
        if seen is None:
            return None
        if proven is not None and 1 < self.size / proven.size < SHOWS:
            return None
        self._proven = Proven(self.size, seen.rate, seen.demand)
        if proven is None or self.size <= proven.size:
            return None
        hoped = self.size / proven.size
        if proven.demand and (hoped < CLEAR or seen.demand >= 0.5 * FREE * self._gil.alone(sample)):
            gain = seen.demand / proven.demand
            if hoped < CLEAR and proven.rate and not many_small(seen):
                gain = max(gain, seen.rate / proven.rate)
        else:
            gain = seen.rate / proven.rate if proven.rate else hoped
        if gain >= 1 + WORTH * (hoped - 1):
            return None
        self._up.fail(sample.time, seen, sample.cpus, took=seen.seconds)
        self.plateau, self._plateau_cpu = self._gil.is_used_up(seen, sample), seen.cpu
        self._proven = None
        back = min(self.size - 1, max(proven.size, math.floor(proven.size * gain)))
        why = self._gil.words(seen, sample)
        return back, f"{workers(self.size)} did {gain:.2f} times what {proven.size} did{why}"

    def _grow(self, sample: Sample, view: View) -> tuple[int, str]:
        size = self.size
        ceiling, why = min((sample.ceiling, "at the ceiling"), self._gil.ceiling(size, view, sample.cpus))
        if size >= ceiling:
            return size, why
        if self._up.holds(sample.time, view, sample.cpus):
            return size, f"more brought nothing; tried again in {self._up.until - sample.time:.0f} s"
        lone, asked = self._gil.alone(sample), max(view.asked, 1e-9)
        step = min(aim(view) / max(wanted(view), 1e-9), max(2.0, min(MOST_STEP, FREE * lone / asked)))
        larger = min(ceiling, max(size + 1, math.floor(size * step)))
        larger = min(larger, size + 1 + math.floor((aim(view) - wanted(view)) * sample.cpus * QUICK_S / START_S))
        if self._pace.seen is None:
            larger = min(larger, self._without_evidence(sample, lone / asked))
        if larger <= size:
            return size, "too few tasks have ended at this size to tell"
        return larger, "tasks wait, and CPU is left"

    def _without_evidence(self, sample: Sample, room: float) -> int:
        """
        Return how large it may be though it is not known yet how fast tasks end at the present size.

        *room* is how many times the CPU time that is asked for would use up what there is for certain. Up to that much
        the interpreter lock cannot be what tasks wait for, however much of what they do is under it.
        """
        size, waited = self.size, sample.time - (self._changed or 0.0)
        known = max(BLIND * self._start, round(MOST_STEP * self._proven.size) if self._proven else 0)
        if size < known and room * FULL > 1:
            return min(known, math.floor(size * room * FULL))
        if self._pace.begun:
            return size if waited < EVIDENCE_S or self._pace.telling else sample.ceiling
        if room * FREE > 1:  # tasks take long, and mostly wait
            return size if waited < BLIND_S else math.ceil(size * BLIND_STEP)
        return size if waited < PATIENCE_S else sample.ceiling

    # -- down -------------------------------------------------------------------------------------------------------

    def _try_smaller(self, sample: Sample, view: View, *, full: bool) -> tuple[int, str] | None:
        """Have fewer do the same, where all the CPU time there is is used; None where it is not."""
        if not full:
            return None
        size, why = self.size, "the CPUs are used up"
        if size <= sample.floor:
            return size, f"{why}; at the least allowed"
        short = crowded(view, sample.cpus) or (view.throttled or 0.0) > SOME_THROTTLED
        if not short and not self._gil.is_taken(view):
            return size, why
        if self._down.holds(sample.time, view, sample.cpus):
            return size, f"{why}, and fewer did less"
        smaller = self._smaller(sample, view)
        if smaller >= size:
            return size, f"{why}, and fewer would do less"
        self._descent = Descent(size, view.own, view.demand, sample)
        return smaller, f"{why}; do fewer do as much?"

    def _smaller(self, sample: Sample, view: View) -> int:
        """Return the smaller size that may do as much; this one or a larger one where none may."""
        size, smaller = self.size, max(sample.floor, self.size // 2)
        # A worker uses one CPU at most, unless calls start threads of their own; that is tried later, and alone.
        busy = math.ceil(view.own - SLACK)
        if smaller < busy and (size > busy or sample.time - self._begun < EVIDENCE_S):
            smaller = busy
        if self._needed is not None and self._needed.holds(view, sample.time):
            smaller = max(smaller, math.ceil(aim(view) * self._needed.size))
        return smaller

    def _try_few(self, sample: Sample, view: View) -> tuple[int, str] | None:
        """
        Have few do the same, where it seems to be the interpreter lock that they wait for, or at the most half of them
        where they wait for CPUs; None elsewhere. How fast tasks end tells, as neighbours may use the CPUs, too.
        """
        size, seen, locked = self.size, self._pace.seen, self._gil.is_used_up(view, sample)
        if seen is None or size <= sample.floor:
            return None
        # A few that mostly wait may use just one CPU, too: more are tried first, where the lock may be free.
        most = size >= sample.ceiling
        known = self.plateau or self._gil.is_seen(view, sample)
        if not (locked and (known or most)) and not (most and crowded(view, sample.cpus)):
            return None
        if seen.own < 0.5 * view.own:  # that was other work, and how fast it ended is no measure
            self._pace = Pace(sample.time, self._mean)
            return None
        if (locked and not self._gil.is_used_up(seen, sample)) or not seen.rate:
            return None
        if self._down.holds(sample.time, view, sample.cpus):
            return None
        self._descent = Descent(size, view.own, view.demand, sample, rate=seen.rate)
        few = max(sample.floor, 1, math.floor(size * (FEW if locked else HALF)))
        why = self._gil.words(view, sample)[2:] if locked else "ready threads wait for CPUs"
        return few, f"{why}; do few do as much?"

    def _judge_few(self, trial: Descent, rate: float, sample: Sample, view: View) -> tuple[int, str] | None:
        """Keep few workers that end as many tasks as many did; None while that is not known."""
        size = self.size
        if view.ended < max(ENOUGH, 2 * sample.running) and view.seconds < PATIENCE_S:
            # What ends need not be waited for if they leave CPUs unused, but for those that threads hand the lock by.
            other = view.rate > OTHER * rate or self._gil.is_used_up(view, sample)
            return None if other else self._used_less(trial, size, sample, view)
        self._descent = None
        what = f"{workers(size)} did {view.rate / rate:.2f} times what {trial.old} did"
        if view.rate > OTHER * rate:
            return trial.old, f"{what}: other work"
        # Where they use the lock up as many did, they do as much; how fast a CPU is varies more than that.
        as_good = self._gil.is_seen(view, sample) and view.own >= AS_GOOD * trial.own
        if view.rate < (AS_GOOD_LOCKED if as_good else AS_GOOD) * rate:
            self._down.fail(sample.time, view, sample.cpus)
            return trial.old, what
        self.plateau, self._plateau_cpu, self._proven = self._gil.is_used_up(view, sample), view.cpu, None
        self._up.fail(sample.time, view, sample.cpus)  # that is how many brought nothing
        return size, f"{what}{self._gil.words(view, sample)}"

    def _judge_smaller(self, trial: Descent, sample: Sample, *, pressed: bool) -> tuple[int, str]:
        size = self.size
        if trial.base is None:
            return self._await_surplus(trial, sample, pressed=pressed)
        if not pressed:
            self._descent = None
            return size, why_not_pressed(sample)
        view, early = between(trial.base, sample), (size, "too early to tell what fewer do")
        if trial.rate is not None:
            return (view.seconds >= 2 * QUICK_S and self._judge_few(trial, trial.rate, sample, view)) or early
        throttled = view.throttled or 0.0
        as_good = view.own >= AS_GOOD * trial.own or view.demand >= AS_GOOD * trial.demand
        full = view.load >= aim(view) or (throttled >= THROTTLED and view.load >= 0.8)
        as_good = as_good or (full and view.own >= OURS * view.cpu)
        # That they use as much shows within a quota period; that they do not may be chance in so short a time.
        if view.seconds < (QUICK_S if as_good else 2 * QUICK_S):
            return early
        self._descent = None
        if as_good:
            further = self._try_smaller(sample, view, full=True)
            assert further is not None, "the CPUs are full"
            return further
        need = math.ceil(size * min(trial.old, trial.own / max(view.own, 1e-9)))
        old, what = self._fail(trial, size, sample, view)
        return min(old, max(size + 1, need)), what

    def _await_surplus(self, trial: Descent, sample: Sample, *, pressed: bool) -> tuple[int, str]:
        """Wait until no more tasks run than are to, for as long as those that do use the CPUs as before."""
        since = trial.since
        if sample.running <= self.size:
            self._descent = trial._replace(base=sample)
        elif not pressed:
            self._descent = trial._replace(since=sample)
        elif sample.time - since.time >= SURPLUS_S:
            view = between(since, sample)
            less = self._used_less(trial, sample.running, sample, view)
            if less is not None:
                return less
            self._descent = trial._replace(since=sample)
        return self.size, "waiting for surplus tasks to end"

    def _used_less(self, trial: Descent, number: int, sample: Sample, view: View) -> tuple[int, str] | None:
        """End a trial in which CPUs are left unused that were used before; None if they are not."""
        if view.own >= SURPLUS * trial.own or view.demand >= SURPLUS * trial.demand:
            return None
        return self._fail(trial, number, sample, view)

    def _fail(self, trial: Descent, number: int, sample: Sample, view: View) -> tuple[int, str]:
        self._descent = None
        self._down.fail(sample.time, view, sample.cpus)
        return trial.old, f"{workers(number)} used {view.own:.2f} CPUs, {trial.old} used {trial.own:.2f}"
