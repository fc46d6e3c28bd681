"""
Ties a pool to the controller of its size, by the ticker: no thread and no work of its own, and nothing that a task has
to pay for. The counters are those that the state machine keeps anyway.

Where many threads want the interpreter lock the ticker comes by it last, seconds after its time with a thousand of
them, while each of them has it now and then. Then one of these looks.
"""

import math
import os
import threading
from collections.abc import Callable
from itertools import islice
from time import monotonic, process_time
from typing import Any, NamedTuple, Protocol

from cgexec._adaptive.bounds import Bounds, Range, derive, lowered
from cgexec._adaptive.clocks import Clocks, thread_cpu
from cgexec._adaptive.controller import Controller
from cgexec._adaptive.decisions import Decision, Ring
from cgexec._adaptive.gauge import CpuGauge, CpuReading
from cgexec._adaptive.profile import Known, Look, Profile, Profiler
from cgexec._adaptive.projection import Projection
from cgexec._adaptive.samples import Sample
from cgexec._memory.functions import anchor_of, name_of
from cgexec._pool import ticker
from cgexec._pool.admission import Admission
from cgexec._pool.log import Log
from cgexec._pool.records import Worker
from cgexec._pool.task import Task

__all__ = ["Adapter"]

_LOGGER = Log("cgexec")

# From the first work on until the first look, in seconds: short-lived pools shall profit, too.
_FIRST_S = 0.05
# The bounds are worked out again when a limit has changed (Kubernetes resizes pods in place), and after so many seconds
# or so many times what it took, since what others use changes, too. See `_adaptive.gauge` for why not more often.
_BOUNDS_S, _BOUNDS_TIMES = 30.0, 100.0
# So many threads stand for all.
_LOOKS = 16
# Up to this share of the CPUs that there are for certain, nobody waits for one.
_CLEAR = 0.7
# Likewise for the interpreter lock, while it is taken no more than this share of the time.
_LOCKED = 0.5
_ADVICE = "  the interpreter lock seems to be used up, and CPUs are left: those only processes can use (cgexec.wrap)"
# Nothing is known of the CPUs.
_UNREAD = CpuReading(0.0, None, None, None, None, 0, None)
# So long after its time the ticker is taken to be kept from looking, in seconds: some times the switch interval.
_LATE_S = 0.05


class _Controlling(Protocol):
    """A controller, or what it would do."""

    size: int
    interval: float
    ring: Ring
    plateau: bool

    def begin(self, sample: Sample) -> None: ...

    def step(self, sample: Sample) -> Decision | None: ...


class _Pulse(NamedTuple):
    """What the state machine has counted, and some of the busy workers."""

    running: int
    idle: int
    waiting: int
    turned_away: int
    ended: int
    task_seconds: float
    held: bool
    shut: bool
    staff: list[Worker]
    busy: list[tuple[Worker, Task]]


_NOTHING = _Pulse(0, 0, 0, 0, 0, 0.0, held=False, shut=False, staff=[], busy=[])


class Adapter:
    """
    Looks at a pool by time while it has work, and has it resized.

    Its lock is held by the one that looks, the ticker or a worker, and nobody waits for it. What others write is
    replaced as a whole: the range, and the *bounds* that follow from it and are worked out again at the next look.
    *asleep* and *late* are read by workers without it, and *_woke* is written: benign races, see `_look`.
    """

    def __init__(
        self, state: Admission, range_: Range, start: Bounds, size: int, apply: Callable[[int, str], None], *,
        gil: bool, observe: bool,
    ) -> None:  # fmt: skip
        self.asleep, self.late = True, math.inf
        self.bounds = start
        self._lock = threading.Lock()
        self._due = 0.0  # nobody looks before
        self.profiler = Profiler()
        self.throttled: float | None = None  # the share of quota periods since the last look, None without a quota
        self.controller: _Controlling = Projection(size, state.limit, gil=gil) if observe else Controller(size, gil=gil)
        self._state, self._apply, self._gil, self._observe = state, apply, gil, observe
        self._range = range_
        self._bounds_due = monotonic() + _BOUNDS_S
        self._clocks = Clocks()
        self._before: tuple[float, CpuReading] | None = None
        first = _gauge.read(monotonic())  # now, as it is a long one
        self._changes, self._quota = first.changes, first.quota
        self._woke = 0.0, 0.0  # the time and the process's CPU time when there was something to do again
        self._begun = monotonic()  # asks for the interpreter lock that are older were other work's
        self._turned_away = 0
        # What was counted when there was nothing to do, as in the beginning, when no thread of the pool had run.
        self._rest: Sample | None = self._sample(self._begun, _NOTHING, _UNREAD)._replace(own_seconds=0.0)

    def wake(self) -> None:
        """Begin to look: there is work. Any thread."""
        self.asleep = False
        now = monotonic()
        self._woke = now, process_time()
        due = now + _FIRST_S
        self.late = due + _LATE_S
        ticker.call_at(self, due)

    def limit_to(self, most: int) -> int:
        """Have another largest size from now on; return the size to have until the next look. Any thread."""
        self._range = self._range._replace(most=most)
        self._bounds_due = 0.0
        floor = min(self.bounds.floor, most) if self._range.least is None else self.bounds.floor
        ceiling = max(floor, most)
        self.bounds = self.bounds._replace(floor=floor, ceiling=ceiling)
        return min(self._state.limit, ceiling)

    def tick(self, now: float) -> float | None:
        """Look if it is time to, and nobody else is at it; return when to come again."""
        if not self._lock.acquire(False):
            return now + _LATE_S
        try:
            if now < self._due:  # another has looked meanwhile
                return self._due
            self.late = math.inf
            due = self._look(now)
            self._due = due or 0.0
            if due is not None:
                self.late = due + _LATE_S
        finally:
            self._lock.release()
        return due

    def stand_in(self) -> None:
        """Do what the ticker should have done by now. A worker, between two tasks; whatever happens it goes on."""
        if _gauge.busy:  # with another pool's look; this worker would wait for it
            return
        try:
            due = self.tick(monotonic())
            if due is not None:
                ticker.call_at(self, due)
        except Exception:
            self.late = monotonic() + 1
            _LOGGER.exception("[ticker-failed] looking after %r by time failed", self)

    def _look(self, now: float) -> float | None:
        """
        Look, decide and act; None, and no thread, when there is no work.

        Asleep first, then looked: 1. there is no work; 2. a worker begins with something, and finds nobody asleep;
        3. nobody looks after that work. The other way round it wakes us once too often.
        """
        self.asleep = True
        pulse = self._state.enter(lambda: _pulse(self._state))
        if not isinstance(pulse, _Pulse) or (self._state.closed is not None and not pulse.waiting):
            return None
        if not pulse.running and not pulse.waiting:
            self._go_to_rest(now, pulse)
            return None
        self.asleep = False
        self._begin_anew()
        threads = [native for worker, _ in pulse.busy if (native := _native_id(worker)) is not None]
        reading = _gauge.read(now, threads, pulse.running)
        # It may have taken long to come by the interpreter lock again. What is compared has to be of one instant.
        pulse = self._state.enter(lambda: _pulse(self._state))
        assert isinstance(pulse, _Pulse), "who looks interrupts nobody"
        now = monotonic()
        reading = reading._replace(cpu_seconds=process_time())
        self._learn(now, reading, pulse)
        due = now >= self._bounds_due or reading.changes != self._changes
        less = lowered(self.bounds, self._quota, reading.quota)
        self._changes, self._quota = reading.changes, reading.quota
        if less is not None:  # that comes first, what it means for the bounds takes long
            self.bounds = less
        elif due:
            self._derive(len(pulse.staff))
        if not self._observe:
            self.controller.size = self._state.limit  # somebody may have lowered it
        before = self.controller.size
        decision = self.controller.step(self._sample(now, pulse, reading))
        if decision is not None and decision.size != before:
            self._apply(decision.size, f"{decision.reason} ({decision.facts})")
        if due and less is not None:
            self._derive(len(pulse.staff))
        return now + self.controller.interval

    def _go_to_rest(self, now: float, pulse: _Pulse) -> None:
        """
        Note what was counted: what comes is not to be measured together with the time in which nothing did. What was
        throttled, or waited for a CPU, in that time was not the pool's.
        """
        self._before = None
        self.profiler.rest()
        self._rest = self._sample(now, pulse, _UNREAD)

    def _begin_anew(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            time, cpu = self._woke
            self._begun = time
            self.controller.begin(rest._replace(time=time, cpu_seconds=cpu))

    def _derive(self, workers: int) -> None:
        """Work the bounds out again."""
        begin, range_ = monotonic(), self._range
        try:
            self.bounds = derive(range_, workers)
        except (OSError, ValueError):
            _LOGGER.warning(
                "[size-limits-unknown] the limits of a pool could not be worked out again; going on with the old",
                exc_info=True,
            )
        end = monotonic()
        if self._range is not range_:  # it was changed meanwhile: once more at the next look
            return
        self._bounds_due = end + max(_BOUNDS_S, _BOUNDS_TIMES * (end - begin))

    def _sample(self, now: float, pulse: _Pulse, reading: CpuReading) -> Sample:
        refused, self._turned_away = pulse.turned_away - self._turned_away, pulse.turned_away
        return Sample(
            time=now,
            running=pulse.running,
            idle=pulse.idle,
            waiting=pulse.waiting or refused,  # without a queue that is all there is to see of what would wait
            ended=pulse.ended,
            task_seconds=pulse.task_seconds,
            cpu_seconds=reading.cpu_seconds,
            own_seconds=self._clocks.read(native for each in pulse.staff if (native := _native_id(each)) is not None),
            cpus=self.bounds.cpus,
            floor=self.bounds.floor,
            ceiling=self.bounds.ceiling,
            periods=reading.periods,
            throttled=reading.throttled,
            queued=reading.queued,
            held=pulse.held,
            shut=pulse.shut,
            some=reading.some,
            locked=self._locked(now),
        )

    # -- what is learned about the tasks ----------------------------------------------------------------------------

    def _learn(self, now: float, reading: CpuReading, pulse: _Pulse) -> None:
        """Tell the profiler what some threads run, and whether CPUs were short since the last look."""
        looks = []
        if pulse.waiting or not pulse.idle:  # else a thread may have waited for a task in between
            for worker, task in pulse.busy:
                fn, native = task.fn, _native_id(worker)
                cpu = None if native is None else thread_cpu(native)
                if fn is not None and native is not None and cpu is not None:  # it has not ended meanwhile
                    anchor = anchor_of(fn, task.args)
                    looks.append(Look(native, anchor, name_of(anchor), cpu))
        crowded, stopped = False, 0.0
        if self._before is not None:
            then, before = self._before
            used = (reading.cpu_seconds - before.cpu_seconds) / max(now - then, 1e-9)
            if pulse.running > 1:
                crowded = self._is_crowded(now, used)
                self.profiler.most_cpu = max(self.profiler.most_cpu, used)
            elif reading.throttled_seconds is not None and before.throttled_seconds is not None:
                stopped = max(0.0, min(now - then, reading.throttled_seconds - before.throttled_seconds))
            self.throttled = None
            if None not in (reading.periods, reading.throttled, before.periods, before.throttled):
                periods = max(1, (reading.periods or 0) - (before.periods or 0))
                self.throttled = max(0.0, min(1.0, ((reading.throttled or 0) - (before.throttled or 0)) / periods))
        self._before = now, reading
        self.profiler.locked = self.profiler.locked or self.controller.plateau
        self.profiler.feed(now, looks, crowded=crowded, stopped=stopped)

    def _is_crowded(self, now: float, used: float) -> bool:
        """Return whether tasks wait for a CPU or the interpreter lock, that many CPUs being used."""
        if not self._gil:
            return used > _CLEAR * self.bounds.cpus
        locked = self._locked(now)
        if locked is None:
            return used > _CLEAR * min(self.bounds.cpus, 1.0)
        # The last ask, as the share follows with a delay.
        return used > _CLEAR * self.bounds.cpus or locked > _LOCKED or ticker.asks.was_taken()

    def _locked(self, now: float) -> float | None:
        """Return how much of the time the interpreter lock is taken; None is unknown, or there is no lock."""
        return ticker.asks.taken(now, self._begun) if self._gil else None

    def profile(self, footprints: list[Known]) -> Profile:
        """Return what was learned. Any thread."""
        return self.profiler.profile(footprints)

    def numbers(self) -> dict[str, Any]:
        """Return what is known of the size, as fields of `Stats`."""
        last = self.controller.ring.all()[-1:]
        return {
            "adaptive": True,
            "min_workers": self.bounds.floor,
            "ceiling": self.bounds.ceiling,
            "throttled": self.throttled,
            "size_reason": last[0].reason if last else None,
        }

    def lines(self, now: float) -> list[str]:
        """Return the last decisions for people, the latest first."""
        kept = self.controller.ring.all()[-5:]
        head = f"  the size follows the load, from {self.bounds.floor} to {self.bounds.ceiling} workers"
        lines = [f"{head}; what was decided last:" if kept else f"{head}; nothing was decided yet"]
        if self.controller.plateau and self.bounds.cpus > 1 and self._rest is None:
            lines.insert(0, _ADVICE)
        return lines + [
            f"    {now - each.when:.3g} s ago{f' ({each.times} times)' if each.times > 1 else ''}: "
            + (f"stays at {each.size}" if each.old == each.size else f"{each.old} -> {each.size}")
            + f", {each.reason}"
            + (f" ({each.facts})" if each.facts else "")
            for each in reversed(kept)
        ]


_gauge = CpuGauge()


def _after_fork_in_child() -> None:
    global _gauge  # noqa: PLW0603  # a new process: other threads, none of the parent's pools
    _gauge.close()
    _gauge = CpuGauge()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _pulse(state: Admission) -> _Pulse:
    tally = state.tally
    busy = ((worker, worker.task) for worker in state.staff if worker.task is not None)
    return _Pulse(
        running=state.running,
        idle=len(state.parked),
        waiting=state.waiting() + len(state.line),
        turned_away=tally.discarded + tally.rejected.get("queue", 0) + tally.ran_in_caller,
        ended=tally.completed + tally.failed - tally.ran_in_caller,  # what was cancelled hardly ever had a worker
        task_seconds=tally.task_seconds,
        held=state.held or state.held_since is not None,
        shut=state.shut,
        staff=list(state.staff),
        busy=list(islice(busy, _LOOKS)),
    )


def _native_id(worker: Worker) -> int | None:
    return None if worker.thread is None else worker.thread.native_id
