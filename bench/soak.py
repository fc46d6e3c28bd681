"""
Pools of every kind opened, loaded, resized, cancelled, drained and closed again for a long time: nothing may grow.

Run ``CGEXEC_LAB=... python bench/soak.py --seconds 600``; it prints a table of samples and a verdict; its status is 1
if anything is not flat or an account does not close. With CGEXEC_LAB it runs under the laboratory's ``v1`` and has its
limits lowered and raised meanwhile; without, that part is left out, and it says so. ``--rounds 2`` ends after so many
rounds a lane and sample instead of after a time, for a test. `soak_pools` is what a round does, `soak_verdict` what
flat means.
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
MEMORY = ("512M", "384M", "448M", "320M")  # what the limit becomes, one spell after the other
CPUS = (1.0, 0.5, 0.8)
SETTLE_S = 10.0


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
    )


class Soak:
    """The whole run. Lanes add to *errors*; appending to a list needs no lock."""

    def __init__(self, told: argparse.Namespace) -> None:
        self.told = told
        self.dice = random.Random(told.seed)  # noqa: S311  # a choice, no secret
        self.lasting = cgexec.ThreadPoolExecutor(4, queue_size=256, idle_timeout=None, name="lasting")
        self.tallies = [soak_pools.Tally() for _ in range(LANES)]
        self.errors: list[str] = []
        self.lab = told.here == "lab"

    def lane(self, tally: soak_pools.Tally, seed: float, end: float) -> None:
        """Go from pool to pool until the time, or the rounds, are over."""
        dice = random.Random(seed)  # noqa: S311
        turn = 0
        try:
            while turn < self.told.rounds if self.told.rounds else time.monotonic() < end:
                soak_pools.round_of(dice, self.lasting, tally)
                turn += 1
        except Exception as error:  # noqa: BLE001  # told in the verdict; the other lanes go on
            self.errors.append(f"{type(error).__name__}: {error}")

    def spell(self, number: int) -> None:
        """Have all lanes run for one sample's time, with the limits changed in the middle of it."""
        end = time.monotonic() + self.told.every
        lanes = [threading.Thread(target=self.lane, args=(tally, self.dice.random(), end)) for tally in self.tallies]
        for lane in lanes:
            lane.start()
        if self.lab:
            lanes[0].join(0 if self.told.rounds else self.told.every / 2)
            change_limits(number)
        for lane in lanes:
            lane.join(self.told.every + 300)
            if lane.is_alive():
                raise SystemExit("a lane hangs")

    def tasks(self) -> int:
        """Return how many there have been."""
        return sum(tally.accepted for tally in self.tallies)

    def run(self) -> int:
        """Run, print as it goes, and return the status to exit with."""
        logging.getLogger("cgexec").setLevel(logging.ERROR)  # full pools are what is wanted here
        soak_pools.warm(self.lasting, self.tallies[0])
        begin = time.monotonic()
        samples: list[Sample] = []
        print(soak_verdict.HEAD, flush=True)
        number = 0
        while (number < self.told.spells) if self.told.rounds else (time.monotonic() - begin < self.told.seconds):
            self.spell(number)
            samples.append(sample(begin, self.tasks(), samples[0] if samples else None))
            print(soak_verdict.line(samples[-1]), flush=True)
            number += 1
            if self.errors:
                break
        found = soak_verdict.verdicts(samples)
        self.lasting.shutdown()
        self.errors += soak_pools.lasting_errors(self.lasting, self.tallies)
        found.append(
            ("accounts", not self.errors, "; ".join(self.errors) or f"closed: {soak_pools.total(self.tallies)}")
        )
        print("\n| what | verdict | seen |\n|---|---|---|")
        for name, good, seen in found:
            print(f"| {name} | {'flat' if good else 'NOT FLAT'} | {seen} |")
        print(
            "\nlimits: " + ("lowered and raised meanwhile" if self.lab else "left as they are (no CGEXEC_LAB): skipped")
        )
        return 0 if all(good for _, good, _ in found) else 1


def change_limits(number: int) -> None:
    """Write the next limits of our own cgroup, into the files that they are read from."""
    sources = cgexec.limits().sources
    memory = Path(sources["memory_limit"])
    wanted = cgexec.parse_quantity(MEMORY[number % len(MEMORY)])
    memory.write_text(str(int(wanted)))
    quota = Path(sources["cpu_quota"].partition(",")[0])
    quota.write_text(str(int(CPUS[number % len(CPUS)] * 100_000)))


def under_lab(lab: str) -> int:
    """Run this once more in a cgroup of its own; an end asked of us is passed on, so that the cgroup goes, too."""
    command = [str(Path(lab) / "v1"), "--memory", "512M", "--cpus", "1", "--", sys.executable, __file__, "--here=lab"]
    with subprocess.Popen([*command, *sys.argv[1:]]) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()


def main() -> int:
    """Soak here, or in the laboratory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--every", type=float, default=15, help="seconds between two samples")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each lane before a sample, instead of seconds")
    parser.add_argument("--spells", type=int, default=6, help="with --rounds: how many samples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="some seconds")
    parser.add_argument("--here", choices=("no", "lab", "plain"), default="no", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.quick:
        told.rounds = told.rounds or 2
    lab = os.environ.get("CGEXEC_LAB")
    if told.here == "no" and lab:
        status = under_lab(lab)
        if status != 125:  # it could not make a cgroup
            return status
    return Soak(told).run()


if __name__ == "__main__":
    sys.exit(main())
