"""
Eight threads submit while others resize, cancel, collect garbage and open new pools, with the interpreter switching
threads as often as it can. Nothing may be lost or run twice, and the accounts must be closed in the end.

Run ``python bench/stress.py --seconds 60``; a short form is part of the tests. ``--leak`` submits a million tasks
instead and prints what memory grew by.
"""

import argparse
import contextlib
import gc
import random
import sys
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import Future
from typing import Any

import cgexec

SUBMITTERS = 8


class Run:
    """One pool's life under fire. Its lock guards *ran*."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # a choice, not a secret
        self.pool = cgexec.ThreadPoolExecutor(
            self.random.randint(1, 8),
            queue_size=self.random.choice([0, 3, 64]),
            idle_timeout=self.random.choice([None, 0, 0.001]),
        )
        self.ran: Counter[int] = Counter()
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.accepted: dict[int, Future[Any]] = {}

    def task(self, number: int) -> int:
        """Note that it ran; now and then fail, or submit another."""
        with self.lock:
            self.ran[number] += 1
        if number % 97 == 0:
            raise ValueError(number)
        return number

    def feed(self, start: int) -> None:
        """Submit until told to stop; each number once."""
        mine = random.Random(start)  # noqa: S311
        number = start
        while not self.stop.is_set():
            number += SUBMITTERS
            try:
                future = self.pool.submit(self.task, number)
            except RuntimeError:
                return  # shut down
            self.accepted[number] = future
            if mine.random() < 0.1:
                future.cancel()

    def disturb(self) -> None:
        """Resize, look and collect until told to stop."""
        while not self.stop.is_set():
            self.pool.resize(self.random.randint(1, 8))
            self.pool.stats()
            if self.random.random() < 0.05:
                gc.collect()
            time.sleep(0.0005)

    def go(self, seconds: float) -> int:
        """Return how many tasks were accepted; raise AssertionError if one was lost or doubled."""
        threads = [threading.Thread(target=self.feed, args=(n,)) for n in range(SUBMITTERS)]
        threads.append(threading.Thread(target=self.disturb))
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        drop = self.random.random() < 0.5
        self.pool.shutdown(wait=False, cancel_futures=drop)
        self.stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a submitter hangs"
        left = self.pool.drain(60)
        assert not left, left
        self.check()
        return len(self.accepted)

    def check(self) -> None:
        """Compare what ran with what the futures and the pool's accounts say."""
        for number, future in self.accepted.items():
            assert future.done(), "a future has not ended"
            times = self.ran[number]
            assert times == (0 if future.cancelled() else 1), (number, times, future)
        assert not any(thread.is_alive() for thread in self.pool._threads)  # noqa: SLF001
        seen = self.pool.stats()
        cancelled = sum(future.cancelled() for future in self.accepted.values())
        assert seen.cancelled == cancelled, (seen.cancelled, cancelled)
        assert seen.submitted == len(self.accepted) == seen.completed + seen.failed + seen.cancelled
        assert (seen.running, seen.waiting, seen.blocked, seen.workers) == (0, 0, 0, 0)


def stress(seconds: float, seed: int, each: float = 1.0) -> int:
    """Run pool after pool for so long; return how many tasks there were."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    total = 0
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            total += Run(seed).go(min(each, seconds))
            seed += 1
    finally:
        sys.setswitchinterval(interval)
    return total


def leak(tasks: int) -> tuple[float, float]:
    """Return what memory the interpreter's own count grew by, in bytes, over the second and over the third third."""
    with cgexec.ThreadPoolExecutor(4) as pool:
        tracemalloc.start()
        marks = []
        for _ in range(3):
            for _ in range(tasks // 3):
                pool.submit(int)
            pool.submit(int).result()
            with contextlib.suppress(ValueError):
                pool.submit(int, "x").result()
            gc.collect()
            marks.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    return marks[1] - marks[0], marks[2] - marks[1]


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--leak", action="store_true")
    told = arguments.parse_args()
    version = ".".join(map(str, sys.version_info[:3]))
    if told.leak:
        second, third = leak(1_000_000)
        print(f"Python {version}: a million tasks; memory grew by {second:.0f}, then by {third:.0f} bytes")
    else:
        total = stress(told.seconds, told.seed)
        print(f"Python {version}: {total} tasks in {told.seconds:g} s, none lost, none doubled")


if __name__ == "__main__":
    main()
