"""
Pools of every kind opened, loaded, resized, cancelled, drained and closed again for a long time: nothing may grow.

Run ``CGEXEC_LAB=... python bench/soak.py --seconds 600``; it prints a table of samples and a verdict; its status is 1
if anything is not flat or an account does not close. With CGEXEC_LAB it runs under the laboratory's ``v1`` and has its
memory limit lowered and raised meanwhile; without, that part is left out, and it says so. `soak_pools` is what a round
does, `soak_verdict` what flat means.
"""

import argparse
import ctypes
import functools
import gc
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import soak_pools
import soak_verdict
from soak_verdict import Sample

import cgexec

LANES = 3
MEMORY = (0.75, 1.0, 0.625, 0.875)  # of the limit there was at first, one sample's time after the other
SETTLE_S = 3.0


@functools.cache
def trim() -> Callable[[int], object]:
    """Return what gives freed memory back to the kernel, so that what is left is held by somebody."""
    return getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)


def counts() -> tuple[int, int, int]:
    """Return how many threads, descriptors and child processes there are."""
    me = psutil.Process()
    return me.num_threads(), me.num_fds(), len(me.children(recursive=True))


def sample(begin: float, tasks: int, before: Sample | None) -> Sample:
    """Look at this process while nothing runs; what is still on its way out is given time."""
    end = time.monotonic() + SETTLE_S
    while before is not None and time.monotonic() < end:
        if all(now <= then for now, then in zip(counts(), before.counts(), strict=True)):
            break
        time.sleep(0.01)
    gc.collect()
    trim()(0)
    threads, descriptors, children = counts()
    private = psutil.Process().memory_full_info()
    return Sample(
        time.monotonic() - begin,
        tasks,
        private.uss,
        private.rss,
        sys.getallocatedblocks(),
        threads,
        descriptors,
        children,
        cgexec.limits().memory_limit,
    )


class Soak:
    """
    The whole run: so many seconds with a sample every so many, or if *rounds* is given so many samples, each after so
    many rounds of every lane. Lanes add to *errors*; appending to a list needs no lock.
    """

    def __init__(self, seconds: float, every: float, seed: int = 1, rounds: int = 0) -> None:
        self.seconds, self.every, self.rounds = seconds, every, rounds
        self.dice = random.Random(seed)  # noqa: S311  # a choice, no secret
        self.lasting = cgexec.ThreadPoolExecutor(4, queue_size=256, idle_timeout=None, name="lasting")
        self.tallies = [soak_pools.Tally() for _ in range(LANES)]
        self.errors: list[str] = []
        limits = cgexec.limits()
        self.limit, self.limit_file = limits.memory_limit, Path(limits.sources.get("memory_limit", ""))

    def lane(self, tally: soak_pools.Tally, seed: float, end: float) -> None:
        """Go from pool to pool until the time, or the rounds, are over."""
        dice = random.Random(seed)  # noqa: S311
        turn = 0
        try:
            while turn < self.rounds if self.rounds else time.monotonic() < end:
                soak_pools.round_of(dice, self.lasting, tally)
                turn += 1
        except Exception as error:  # noqa: BLE001  # told in the verdict; the other lanes go on
            self.errors.append(f"{type(error).__name__}: {error}")

    def spell(self, number: int) -> None:
        """Have all lanes run for one sample's time, with the limit changed in the middle of it."""
        end = time.monotonic() + self.every
        lanes = [threading.Thread(target=self.lane, args=(tally, self.dice.random(), end)) for tally in self.tallies]
        for lane in lanes:
            lane.start()
        lanes[0].join(0 if self.rounds else self.every / 2)
        self.change_limit(number)
        for lane in lanes:
            lane.join(self.every + 300)
            if lane.is_alive():
                raise SystemExit("a lane hangs")

    def change_limit(self, number: int) -> None:
        """Write the next limit into the file that ours is read from, where that may be written."""
        if self.limit is not None and self.limit_file.is_absolute():
            self.limit_file.write_text(str(int(self.limit * MEMORY[number % len(MEMORY)])))

    def tasks(self) -> int:
        """Return how many there have been."""
        return sum(tally.accepted for tally in self.tallies)

    def run(self) -> list[Sample]:
        """Run, print as it goes, and return the samples."""
        logging.getLogger("cgexec").setLevel(logging.ERROR)  # full pools are what is wanted here
        soak_pools.warm(self.lasting, self.tallies[0])
        begin = time.monotonic()
        samples: list[Sample] = []
        print(soak_verdict.HEAD, flush=True)
        while len(samples) < 4 if self.rounds else time.monotonic() - begin < self.seconds:
            self.spell(len(samples))
            samples.append(sample(begin, self.tasks(), samples[0] if samples else None))
            print(soak_verdict.line(samples[-1]), flush=True)
            if self.errors:
                break
        self.lasting.shutdown()
        self.errors += soak_pools.lasting_errors(self.lasting, self.tallies)
        return samples

    def verdicts(self, samples: list[Sample]) -> list[tuple[str, bool, str]]:
        """Return for each thing whether it is as it should be, and what was seen."""
        seen = "; ".join(self.errors) or f"closed: {soak_pools.total(self.tallies)}"
        return [*soak_verdict.verdicts(samples), ("accounts", not self.errors, seen)]


def under_lab(lab: str) -> int:
    """Run this once more in a cgroup of its own; an end asked of us is passed on, so that the cgroup goes, too."""
    command = [str(Path(lab) / "v1"), "--memory", "512M", "--cpus", "1", "--", sys.executable, __file__, "--here"]
    with subprocess.Popen([*command, *sys.argv[1:]]) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()


def main() -> int:
    """Soak here, or in the laboratory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--every", type=float, default=15, help="seconds between two samples")
    parser.add_argument("--rounds", type=int, default=0, help="four samples after so many rounds a lane, no seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    lab = os.environ.get("CGEXEC_LAB")
    if lab and not told.here:
        return under_lab(lab)
    soak = Soak(told.seconds, told.every, told.seed, told.rounds)
    found = soak.verdicts(soak.run())
    print("\n| what | verdict | seen |\n|---|---|---|")
    for name, good, seen in found:
        print(f"| {name} | {'good' if good else 'NOT GOOD'} | {seen} |")
    if not lab:
        print("\nWithout CGEXEC_LAB no limit was moved.")
    return 0 if all(good for _, good, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
