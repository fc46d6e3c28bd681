"""A database that serves so many queries a second, one after the other, whatever is asked: as unevenly as in life."""

import itertools
import random
import statistics
from collections import deque

import pytest

from cgexec._adaptive.controller import Controller
from cgexec._adaptive.samples import Sample


class Queries:
    """As many queries as the controller has workers, each of a millisecond of CPU time; the rest is waiting."""

    def __init__(self, served, seed):
        self.random, self.served = random.Random(seed), served
        self.controller = Controller(8, gil=True)
        self.now = self.task_seconds = 0.0
        self.ended = 0
        self.begun = deque()
        self.next = self.random.expovariate(served)
        self.controller.step(self.sample())

    def sample(self):
        while len(self.begun) < self.controller.size:
            self.begun.append(self.now)
        return Sample(
            time=self.now, running=len(self.begun), idle=0, waiting=10**5, ended=self.ended,
            task_seconds=self.task_seconds, cpu_seconds=0.001 * self.ended, cpus=2.0, floor=1, ceiling=1000, queued=0.0,
        )  # fmt: skip

    def look(self):
        """Let time pass until the controller wants to look; return the size."""
        look = self.now + self.controller.interval
        while self.next < look:
            self.now = self.next
            self.next += self.random.expovariate(self.served)
            self.ended += 1
            self.task_seconds += self.now - self.begun.popleft()
            if len(self.begun) < self.controller.size:
                self.begun.append(self.now)
        self.now = look
        self.controller.step(self.sample())
        return self.controller.size


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("served", [5, 10, 20, 50, 100, 300])
def test_it_is_asked_for_more_now_and_then_and_not_for_good(served, seed):
    queries = Queries(served, seed)
    sizes = []
    while queries.now < 300:
        size = queries.look()
        if queries.now > 100:
            sizes.append(size)
    assert max(sizes) <= 600  # a try
    assert statistics.median(sizes) <= 130
    assert sum(a != b for a, b in itertools.pairwise(sizes)) <= 40
