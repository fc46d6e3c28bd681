"""
The gauntlet's workloads: what their tasks do, how much they take and how a result is checked. Sizes are shares of
the container's memory limit. A buffer repeats one page of random bytes, so the hash of any window of it is known
beforehand.
"""

import functools
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

PAGE = 4096
WINDOW = 64 * PAGE
PATTERNS = tuple(random.Random(n).randbytes(PAGE) for n in range(4))  # noqa: S311  # contents, not secrets
FILES = 96  # together three times the limit
CHILD = "import sys,time; n,s=sys.argv[1:]; b=bytes(range(256))*int(n); time.sleep(float(s)); print(b.count(0))"


class Spec(NamedTuple):
    """One task: *seconds* are slept and *rounds* windows hashed while it holds *size* bytes."""

    number: int
    size: int
    seconds: float
    rounds: int
    folder: str = ""

    @property
    def pattern(self) -> bytes:
        """Return the page that its memory repeats."""
        return PATTERNS[self.number % len(PATTERNS)]


def allocate(spec: Spec, size: int) -> memoryview:
    """Return touched memory; half of the tasks copy it at once under the GIL, half read it as from a file, without."""
    if spec.number // len(PATTERNS) % 2:
        return memoryview(spec.pattern * (size // PAGE))
    return memoryview(read_in(spec, size))


def read_in(spec: Spec, size: int) -> bytearray:
    """Return memory filled by reads, which release the GIL."""
    buffer = bytearray(size // PAGE * PAGE)
    with memoryview(buffer) as view:
        for start in range(0, len(buffer), WINDOW):
            os.preadv(_source(spec.pattern), [view[start : start + WINDOW]], 0)
    return buffer


@functools.cache
def _source(pattern: bytes) -> int:
    """Return a file of one window in memory."""
    made = os.memfd_create("gauntlet")
    os.write(made, pattern * (WINDOW // PAGE))
    return made


def compute(hashed: Any, view: memoryview, rounds: int) -> None:
    """Hash windows all over it, which releases the GIL, with a little Python between."""
    places = max((len(view) - WINDOW) // PAGE, 1)
    for turn in range(rounds):
        start = turn * 97 % places * PAGE
        hashed.update(view[start : start + WINDOW])
        if turn % 16 == 0:
            sum(n * n for n in range(1000))
    if view[-PAGE:] != view[:PAGE]:
        raise ValueError("the memory has changed")


@functools.cache
def hashed_windows(pattern: bytes, rounds: int) -> str:
    """Return the digest that `compute` comes to."""
    known = hashlib.sha256()
    window = pattern * (WINDOW // PAGE)
    for _ in range(rounds):
        known.update(window)
    return known.hexdigest()


def answer(spec: Spec) -> str:
    """Return what most tasks return."""
    return hashed_windows(spec.pattern, spec.rounds)


def hold(spec: Spec) -> str:
    """Allocate, compute, wait as for I/O, compute."""
    hashed = hashlib.sha256()
    view = allocate(spec, spec.size)
    compute(hashed, view, spec.rounds // 2)
    time.sleep(spec.seconds)
    compute(hashed, view, spec.rounds - spec.rounds // 2)
    return hashed.hexdigest()


def steps(spec: Spec) -> str:
    """Grow six times."""
    hashed = hashlib.sha256()
    parts = []
    for step in range(6):
        parts.append(allocate(spec, spec.size // 6))
        compute(hashed, parts[step], spec.rounds // 6)
        time.sleep(spec.seconds / 6)
    return hashed.hexdigest()


def scratch(spec: Spec) -> str:
    """Make and drop blocks of an eighth of what it holds, as arithmetic on arrays does."""
    hashed = hashlib.sha256()
    view = allocate(spec, spec.size)
    for _ in range(spec.rounds):
        block = bytearray(view[: spec.size // 8 // PAGE * PAGE])
        hashed.update(memoryview(block)[:WINDOW])
    time.sleep(spec.seconds)
    return hashed.hexdigest()


def late(spec: Spec) -> str:
    """Hold next to nothing for two thirds of its life."""
    time.sleep(spec.seconds * 2 / 3)
    return hold(spec._replace(seconds=spec.seconds / 3))


def files(spec: Spec) -> str:
    """Read a file through a private buffer and wait."""
    hashed = hashlib.sha256()
    view = allocate(spec._replace(number=spec.number % len(PATTERNS)), spec.size)
    with (Path(spec.folder) / str(spec.number % FILES)).open("rb", buffering=0) as stream:
        while got := stream.readinto(view):
            hashed.update(view[:got])
    time.sleep(spec.seconds)
    return hashed.hexdigest()


def prepare_files(folder: str, limit: int) -> None:
    """Write the files where that has not been done, and have the kernel forget their contents."""
    for number in range(FILES):
        path = Path(folder) / str(number)
        if not path.exists():
            path.write_bytes(PATTERNS[number % len(PATTERNS)] * file_pages(limit))
        with path.open("rb") as stream:
            os.fsync(stream)
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def file_pages(limit: int) -> int:
    """Return the pages of one of the files."""
    return 3 * limit // FILES // PAGE


@functools.cache
def hashed_file(pattern: bytes, pages: int) -> str:
    """Return the digest of a file."""
    known = hashlib.sha256()
    for _ in range(pages):
        known.update(pattern)
    return known.hexdigest()


def shmem(spec: Spec) -> str:
    """Write a file on a tmpfs (one without a name: nothing stays behind), wait, read it back."""
    hashed = hashlib.sha256()
    window = spec.pattern * (WINDOW // PAGE)
    made = os.memfd_create("gauntlet")
    try:
        for _ in range(spec.size // WINDOW):
            os.write(made, window)
        time.sleep(spec.seconds)
        for turn in range(spec.rounds):
            hashed.update(os.pread(made, WINDOW, turn % (spec.size // WINDOW) * WINDOW))
    finally:
        os.close(made)
    return hashed.hexdigest()


def child(spec: Spec) -> str:
    """Have a child process hold it."""
    command = [sys.executable, "-S", "-E", "-c", CHILD, str(spec.size // 256), str(spec.seconds)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if ended.returncode:
        raise ValueError(f"the child ended with {ended.returncode}")
    return ended.stdout.decode().strip()


def result(spec: Spec) -> bytearray:
    """Wait, and return something big."""
    time.sleep(spec.seconds)
    made = read_in(spec, spec.size)
    with memoryview(made) as view:
        compute(hashlib.sha256(), view, spec.rounds)
    return made


def is_right(spec: Spec, limit: int, work: "Workload", got: Any) -> bool:
    """Compare a result with what it must be."""
    if work.task is result:
        return bool(len(got) == spec.size // PAGE * PAGE and got[:PAGE] == got[-PAGE:] == spec.pattern)
    if work.task is child:
        return bool(got == str(spec.size // 256))
    if work.task is files:
        return bool(got == hashed_file(PATTERNS[spec.number % FILES % len(PATTERNS)], file_pages(limit)))
    return bool(got == answer(spec))


@dataclass(frozen=True)
class Workload:
    """
    Some tasks, each with its share of the limit.

    Attributes:
        parts: sizes as divisors of the limit; task by task in turn, or in sequence with *halves*.
        serial: about the seconds that one worker takes.
        stretches: a scale makes the tasks longer, not more.
        odd: one task in ten, at random places, is so many times as large.
        window: how many results may be outstanding; each is then held for *consume* seconds, in order.
        lowered: the limit is halved when a third is done.
        overhead, beyond: what a task takes beyond its size, in bytes and as a part of that.
    """

    name: str
    task: Callable[[Spec], Any]
    tasks: int
    parts: tuple[float, ...]
    seconds: float
    rounds: int
    unforeseeable: bool = False
    halves: bool = False
    stretches: bool = False
    odd: int = 1
    window: int = 0
    consume: float = 0
    pools: int = 1
    processes: int = 1
    told: bool = False
    lowered: bool = False
    overhead: int = 0
    beyond: float = 0

    def specs(self, limit: int, seed: int, scale: float, folder: str = "") -> list[Spec]:
        """Return the tasks."""
        count = self.tasks if self.stretches else max(round(self.tasks * scale), 1)
        seconds = self.seconds * (scale if self.stretches else 1) * self.slower(limit)
        chosen = set(random.Random(seed).sample(range(count), count // 10))  # noqa: S311
        made = []
        for number in range(count):
            part = number * len(self.parts) // count if self.halves else number % len(self.parts)
            size = int(limit / self.parts[part]) * (self.odd if number in chosen else 1)
            made.append(Spec(number, size, seconds, self.rounds, folder))
        return made

    def slower(self, limit: int) -> float:
        """Return how much slower results come and go, so that making larger ones does not become the bottleneck."""
        return max(1.0, limit / 2**28) if self.consume else 1.0

    def serial(self, scale: float) -> float:
        """Return about how long one worker takes."""
        return self.tasks * (self.seconds + self.rounds * 0.0002 + 0.1) * scale


# 1000 rounds take about 0.18 s of one CPU
ALL = (
    Workload("same", hold, 120, (12,), 0.055, 450),
    Workload("mixed", hold, 150, (28,), 0.15, 300, odd=8),
    Workload("scratch", scratch, 120, (12,), 0.055, 200, beyond=1 / 8),
    Workload("steps", steps, 120, (12,), 0.45, 180),
    Workload("stale", hold, 140, (120, 12), 0.25, 180, unforeseeable=True, halves=True),
    Workload("holds", hold, 60, (12,), 1.0, 20, stretches=True),
    Workload("files", files, 128, (40,), 0.4, 0),
    Workload("shmem", shmem, 120, (12,), 0.25, 150),
    Workload("children", child, 100, (10,), 0.3, 0, overhead=10 * 2**20),
    Workload("results", result, 120, (16,), 0.12, 20, window=24, consume=0.02),
    Workload("two-pools", hold, 160, (16, 32), 0.15, 250, pools=2),
    Workload("four-processes", hold, 160, (24,), 0.15, 250, processes=4),
    Workload("four-processes-told", hold, 160, (24,), 0.15, 250, processes=4, told=True),
    Workload("late", late, 40, (10,), 3.0, 60, unforeseeable=True, stretches=True),
    Workload("lowered", hold, 160, (24,), 0.15, 250, unforeseeable=True, lowered=True),
)
NAMED = {work.name: work for work in ALL}
