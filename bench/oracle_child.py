"""
One run of the oracle, in the cgroup: hands a pool more work than it can do for so many seconds, and prints a line of
JSON: tasks ended a second, and the share of quota periods in which the quota ran out. Started by oracle.py.
"""

import hashlib
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

import cgexec

# More than the largest size that is tried, so that something always waits.
BACKLOG = 2048


def compute(milliseconds: float) -> None:
    """Compute in C without the interpreter lock, for about so long on the machine this was written on."""
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", int(milliseconds * 2000))


def interpret(milliseconds: float) -> None:
    """Compute in Python."""
    for _ in range(int(milliseconds * 40000)):
        pass


def uneven(milliseconds: float) -> float:
    """
    Return half to one and a half times as long, at random: no task is as long as another, and where all are about as
    long as the interpreter's switch interval the one that hands tasks in is let in at every one, or at none.
    """
    return random.uniform(0.5, 1.5) * milliseconds  # noqa: S311


def mixed() -> None:
    """Do some of each."""
    time.sleep(0.02)
    compute(3)
    interpret(2)


# What a task does, by the share of the run that has gone by.
WORKLOADS: dict[str, Callable[[float], None]] = {
    "waiting": lambda _: time.sleep(0.05),
    "native": lambda _: compute(uneven(10)),
    "python": lambda _: interpret(uneven(10)),
    "mixed": lambda _: mixed(),
    "phases": lambda gone: interpret(2) if 1 / 3 <= gone < 2 / 3 else time.sleep(0.1),
}


def make(name: str) -> Executor:
    """Return the pool of that name: "stock-8", "ours" with nothing configured, "ours-8" with a fixed size."""
    kind, _, size = name.partition("-")
    if kind == "stock":
        return ThreadPoolExecutor(int(size))
    return cgexec.ThreadPoolExecutor(int(size) if size else None, queue_size=BACKLOG)


class Feeder:
    """Keeps a pool in work until the time is up. Its lock guards the count."""

    def __init__(self, task: Callable[[float], None], seconds: float) -> None:
        self.task, self.seconds = task, seconds
        self.begin = time.monotonic()
        self.lock = threading.Lock()
        self.ended = 0
        self.places = threading.Semaphore(BACKLOG)

    def run(self, pool: Executor) -> None:
        """Hand tasks in until the time is up."""
        while self.gone() < 1:
            if self.places.acquire(timeout=0.1):
                pool.submit(self.one)

    def gone(self) -> float:
        """Return the share of the time that has gone by."""
        return (time.monotonic() - self.begin) / self.seconds

    def one(self) -> None:
        """Be a task. One that ends too late does not count."""
        gone = self.gone()
        if gone < 1:
            self.task(gone)
            if self.gone() < 1:
                with self.lock:
                    self.ended += 1
        self.places.release()


def main() -> None:
    """Run what is told and print what came of it."""
    told = json.loads(sys.argv[1])
    before = cgexec.usage()
    pool = make(told["pool"])
    feeder = Feeder(WORKLOADS[told["workload"]], told["seconds"])
    feeder.run(pool)
    after = cgexec.usage()
    seen = pool.explain() if told.get("explain") and isinstance(pool, cgexec.ThreadPoolExecutor) else ""
    size = pool.stats().limit if isinstance(pool, cgexec.ThreadPoolExecutor) else None
    pool.shutdown(cancel_futures=True)
    periods = (after.nr_periods or 0) - (before.nr_periods or 0)
    throttled = (after.nr_throttled or 0) - (before.nr_throttled or 0)
    rate = feeder.ended / told["seconds"]
    print(json.dumps({"rate": rate, "throttled": throttled / max(1, periods), "size": size, "explain": seen}))


if __name__ == "__main__":
    main()
