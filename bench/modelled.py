"""
Modelled pods: workloads, quota, interpreter lock, memory and arrivals under a clock of their own, for the real
controller. Deterministic: the same seed gives the same run.

Tasks share the CPUs equally (processor sharing), so all of them progress at one speed, and one number, the progress
made since the start, says when each of them ends. Tasks that started together are kept as one entry with a count. That
is exact for this model, and takes no time for a thousand workers that sleep for five minutes.
"""

import heapq
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cgexec._adaptive.asking import Asks
from cgexec._adaptive.controller import Controller
from cgexec._adaptive.samples import Sample

PERIOD = 0.1  # of the quota, in seconds
PARTS = 4  # into which tasks that start at once are divided
LIMITS_S = 1.0  # how late a change of limits is noticed


@dataclass(frozen=True)
class Phase:
    """
    What tasks are like for so many *seconds* of a run.

    Attributes:
        wait, cpu: seconds that a task waits, and computes; *locked* is the share of *cpu* under the interpreter lock.
        memory: bytes that a task holds.
        arrivals: tasks a second; None is more than can be done.
        others: CPUs that neighbours use, and *beside* those that other threads of this process want.
        quota: CPUs allowed from now on; None is as before. *memory_limit* likewise.
        served: tasks a second that what they wait for (a database) can serve; None is as many as like.
        spread: the durations' relative standard deviation.
    """

    seconds: float
    wait: float
    cpu: float
    locked: float = 0.0
    memory: int = 1 << 20
    arrivals: float | None = None
    others: float = 0.0
    beside: float = 0.0
    quota: float | None = None
    memory_limit: int | None = None
    served: float | None = None
    spread: float = 0.1


class Point(NamedTuple):
    """A moment of a run, for pictures and bounds."""

    time: float
    size: int
    running: int
    waiting: int
    rate: float
    load: float
    throttled: float
    memory: int
    reason: str


@dataclass
class Run:
    """What came of it."""

    points: list[Point] = field(default_factory=list)
    ended: int = 0
    periods: float = 0.0
    throttled: float = 0.0

    def changes(self, begin: float = 0.0, end: float = math.inf) -> int:
        """Return how often the size changed between two times."""
        sizes = [point.size for point in self.points if begin <= point.time < end]
        return sum(a != b for a, b in itertools.pairwise(sizes))


class Pod:
    """
    One pod. *fixed* is a size that no controller changes. *psi*: only whether any thread waits for a CPU is seen.
    *asks*: whether each look asks for the interpreter lock, and it is known so how often it is taken.
    """

    def __init__(
        self, phases: Sequence[Phase], *, quota: float | None, machine: int = 64, seed: int = 0, start: int = 8,
        floor: int = 1, ceiling: int = 1000, gil: bool = True, fixed: bool = False, memory_limit: int = 4 << 30,
        psi: bool = False, asks: bool = True,
    ) -> None:  # fmt: skip
        self.phases, self.quota, self.machine, self.gil = list(phases), quota, machine, gil
        self.floor, self.ceiling, self.memory_limit = floor, ceiling, memory_limit
        self.psi, self.asks = psi, Asks() if asks else None
        self.chance = random.Random(seed + 1)  # noqa: S311  # a model
        self.size = start
        self.controller = None if fixed else Controller(start, gil=gil)
        self.random = random.Random(seed)  # noqa: S311  # a model
        self.run_ = Run()
        self.now = self.progress = 0.0
        self.heap: list[tuple[float, int, int, float, float, int, float]] = []
        self.count = self.running = 0
        self.demand = self.lock_demand = 0.0  # CPUs that the running tasks would use
        self.memory = 0
        self.waiting = 0.0
        self.cpu_seconds = self.task_seconds = self.periods = self.throttled = self.queued = 0.0
        self.beside_seconds = 0.0
        self.known_cpus, self.asked = self.cpus, 0.0  # limits are asked for now and then

    @property
    def cpus(self) -> float:
        """How many CPUs may be used."""
        return self.machine if self.quota is None else min(self.quota, self.machine)

    def run(self) -> Run:
        """Run all phases and return what came of it."""
        for phase in self.phases:
            self.quota = phase.quota or self.quota
            self.memory_limit = phase.memory_limit or self.memory_limit
            end = self.now + phase.seconds
            while self.now < end - 1e-9:
                interval = 0.1 if self.controller is None else self.controller.interval
                self.advance(phase, min(end, self.now + interval))
                self.decide(phase)
        return self.run_

    def advance(self, phase: Phase, end: float) -> None:
        """Let time pass: tasks arrive, end and start."""
        before = self.run_.ended, self.cpu_seconds, self.throttled, self.periods, self.now
        if phase.arrivals is None:
            self.waiting = math.inf
        else:
            if self.waiting == math.inf:
                self.waiting = 0.0
            self.waiting += phase.arrivals * (end - self.now)
        self.start(phase)
        while True:
            speed = self.speed(phase)
            due = self.heap[0][0] if self.heap else math.inf
            ahead = (due - self.progress) / speed if self.heap else math.inf
            if self.now + ahead > end:
                self.pass_by(phase, end - self.now, speed)
                break
            self.pass_by(phase, ahead, speed)
            self.end_first()
            self.start(phase)
        seconds = max(end - before[4], 1e-9)
        self.rate = (self.run_.ended - before[0]) / seconds
        self.load = (self.cpu_seconds - before[1]) / seconds / self.cpus
        self.now = end
        self.share = (self.throttled - before[2]) / max(1e-9, self.periods - before[3])

    def speed(self, phase: Phase) -> float:
        """Return how fast tasks progress, 1 being alone on the machine."""
        room = min(self.cpus, max(0.1, self.machine - phase.others))
        # What other threads of the process leave, and no less than a fair share.
        room = max(room - phase.beside, room * self.demand / (self.demand + phase.beside)) if self.demand else room
        speed = min(self.served_speed(phase), room / self.demand if self.demand else 1.0)
        if self.gil and self.lock_demand > 1:
            speed = min(speed, 1 / self.lock_demand)
        return speed

    def served_speed(self, phase: Phase) -> float:
        """Return how fast tasks progress where CPUs do not matter."""
        if phase.served is None or not self.running or not phase.wait:
            return 1.0
        return min(1.0, phase.served * (phase.wait + phase.cpu) / self.running)

    def pass_by(self, phase: Phase, seconds: float, speed: float) -> None:
        """Let so many seconds pass in which nothing ends."""
        self.now += seconds
        self.progress += seconds * speed
        self.cpu_seconds += seconds * speed * self.demand
        beside = min(phase.beside, self.cpus - speed * self.demand)
        self.beside_seconds += seconds * beside
        self.task_seconds += seconds * self.running
        if self.demand or beside:
            self.periods += seconds / PERIOD
            if self.quota is not None and self.quota < self.machine:
                wanted = min(self.demand * self.served_speed(phase), self.machine, self.most_runnable())
                wanted = min(wanted + phase.beside, self.machine)
                self.throttled += seconds / PERIOD * min(1.0, max(0.0, (wanted / self.quota - 0.9) / 0.2))
            else:
                ready = min(self.demand * self.served_speed(phase), self.most_runnable())
                queued = max(0.0, ready - max(0.1, self.machine - phase.others))
                self.queued += seconds * (min(0.95, queued) if self.psi else queued)  # 1 was never seen

    def most_runnable(self) -> float:
        """Return how many CPUs the tasks could use that the interpreter lock lets run."""
        return self.demand / self.lock_demand if self.gil and self.lock_demand else math.inf

    def end_first(self) -> None:
        """End those that end next."""
        _, _, count, cpu, lock, memory, _ = heapq.heappop(self.heap)
        self.running -= count
        self.run_.ended += count
        self.memory -= count * memory
        self.demand = max(0.0, self.demand - count * cpu) if self.running else 0.0
        self.lock_demand = max(0.0, self.lock_demand - count * lock) if self.running else 0.0

    def start(self, phase: Phase) -> None:
        """Start what may start, together."""
        count = int(min(self.size - self.running, self.waiting, 1e6))
        fits = max(1 if not self.running else 0, int((0.85 * self.memory_limit - self.memory) / phase.memory))
        count = min(count, fits)
        if count <= 0:
            return
        if self.waiting != math.inf:
            self.waiting -= count
        while count > 0:  # in a few parts, as no two tasks take equally long
            part = min(count, max(1, -(-count // PARTS)))
            self.start_together(phase, part)
            count -= part

    def start_together(self, phase: Phase, count: int) -> None:
        """Start tasks that end together."""
        length = (phase.wait + phase.cpu) * max(0.2, self.random.gauss(1, phase.spread))
        share = phase.cpu / (phase.wait + phase.cpu)
        self.count += 1
        entry = (self.progress + length, self.count, count, share, share * phase.locked, phase.memory, length)
        heapq.heappush(self.heap, entry)
        self.running += count
        self.demand += count * share
        self.lock_demand += count * share * phase.locked
        self.memory += count * phase.memory

    def sample(self, phase: Phase) -> Sample:
        """Return what the controller sees."""
        waiting = 10**6 if self.waiting == math.inf else int(self.waiting)
        if self.now - self.asked >= LIMITS_S:
            self.known_cpus, self.asked = self.cpus, self.now
        with_quota = self.quota is not None and self.quota < self.machine
        return Sample(
            time=self.now,
            running=self.running,
            idle=max(0, self.size - self.running),
            waiting=waiting,
            ended=self.run_.ended,
            task_seconds=self.task_seconds,
            cpu_seconds=self.cpu_seconds + self.beside_seconds,
            own_seconds=self.cpu_seconds,
            cpus=self.known_cpus,
            floor=self.floor,
            ceiling=self.ceiling,
            periods=int(self.periods) if with_quota else None,
            throttled=int(self.throttled) if with_quota else None,
            queued=None if with_quota else self.queued,
            held=bool(waiting and self.running < self.size),
            some=self.psi,
            locked=self.locked(phase),
        )

    def locked(self, phase: Phase) -> float | None:
        """Return how often the interpreter lock was found taken."""
        if self.asks is None or not self.gil:
            return None
        share = min(1.0, self.lock_demand * self.speed(phase))
        self.asks.woke(self.now, 1 + (self.chance.random() < share))
        return self.asks.taken(self.now)

    def decide(self, phase: Phase) -> None:
        """Ask the controller."""
        reason = ""
        waiting = 10**6 if self.waiting == math.inf else int(self.waiting)
        if self.controller is not None:
            decision = self.controller.step(self.sample(phase))
            self.size = self.controller.size
            reason = "" if decision is None else decision.reason
            self.start(phase)
        run = self.run_
        run.periods, run.throttled = self.periods, self.throttled
        run.points.append(
            Point(self.now, self.size, self.running, waiting, self.rate, self.load, self.share, self.memory, reason)
        )
