"""What follows from the levels that were measured. Pure."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from statistics import median
from typing import NamedTuple

from cgexec._limits import Limits
from cgexec._recommend import Recommendation, size_up
from cgexec._usage import Usage
from cgexec._workload import Workload

__all__ = ["Level", "Result", "evaluate", "ladder", "stop_reason"]

# Throughput counts as risen if it is so much more than the best before; less is noise of a short run.
RISE = 1.05
# Enough levels without a rise, and the next will bring none.
_FLAT = 2
# Of the room there is, a level may be expected to take so much.
_ROOM = 0.8
# Above this share of its computing under the lock a function counts as pure Python.
_PURE = 0.5
# Each more than the one before by a third or a half: fine where it matters, few where it does not.
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


class Level(NamedTuple):
    """
    What was measured with so many workers.

    Attributes:
        workers: threads that called it at the same time.
        calls: calls that were counted.
        throughput: calls a second, all workers together.
        wall: seconds a call took.
        cpu: seconds of CPU it took.
        queued: seconds it could have run and had no CPU.
        gil: share of time in which the interpreter lock was held; None if not asked for, or there is none.
        base: bytes the process held before, its imports and a first call included.
        memory: bytes it held beyond that at its peak.
        peaks: of single calls, likewise, where they could be told apart.
        throttled: share of the quota's periods; None without a quota.
        ended: "" if all is well, else what ended it before its time.
    """

    workers: int
    calls: int = 0
    throughput: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0
    queued: float = 0.0
    gil: float | None = None
    base: int = 0
    memory: int = 0
    peaks: tuple[int, ...] = ()
    throttled: float | None = None
    ended: str = ""


class Result(NamedTuple):
    """
    What is to be done, and why.

    Attributes:
        levels: those that ended well, at least one.
        stopped: why no more were tried.
        knee: the fewest workers with about the most throughput.
        flat: whether throughput was seen to rise no more.
        memory: bytes of a call at its peak: least, middle, most seen; with several workers each counts its part.
        cpu_share: of a call alone, the time it computes.
        releases_gil: whether it computes outside the interpreter lock; None if that was not measured.
        recommendation: the arithmetic's answer for these.
        workers: what to use.
        why: in a few words.
    """

    levels: tuple[Level, ...]
    stopped: str
    knee: int
    flat: bool
    memory: tuple[int, int, int]
    cpu_share: float
    releases_gil: bool | None
    recommendation: Recommendation
    workers: int
    why: str


def ladder(most: int) -> list[int]:
    """Return the levels to try, up to *most*."""
    return [step for step in _STEPS if step < most] + [most]


def stop_reason(levels: Sequence[Level], following: int, room: int, left_s: float) -> str:
    """
    Return why *following* workers are not tried any more, "" if they are.

    Args:
        levels: what was measured so far.
        following: the next level.
        room: bytes that may be used before a limit is met.
        left_s: seconds that may still be spent.
    """
    if not levels:
        return ""
    last = levels[-1]
    if last.ended:
        return f"{last.workers} workers: {last.ended}"
    rises = [level.workers for level in _rises(levels)]
    if len([level for level in levels if level.workers > rises[-1]]) >= _FLAT:
        return "throughput rises no more"
    expected = max(level.memory / level.workers for level in levels) * following
    if expected > _ROOM * room:
        return f"{following} workers may not fit in memory"
    if left_s < last.wall:
        return "the time is used up"
    return ""


def _rises(levels: Sequence[Level]) -> list[Level]:
    """Return the levels that brought more than each before."""
    rises: list[Level] = []
    for level in levels:
        if not level.ended and (not rises or level.throughput > RISE * rises[-1].throughput):
            rises.append(level)
    return rises


def evaluate(
    levels: Sequence[Level], stopped: str, limits: Limits, usage: Usage, *, gil: bool, processes: int = 1
) -> Result:
    """Return what follows. *gil*: whether this interpreter has the lock. The first level is the function alone."""
    good = [level for level in levels if not level.ended]
    alone = good[0]
    best = max(good, key=lambda level: level.throughput)
    knee = next(level.workers for level in good if level.throughput * RISE >= best.throughput)
    flat = len([level for level in good if level.workers > _rises(good)[-1].workers]) >= _FLAT
    # What it waited for a CPU on a busy machine, it would not wait on another: that is no I/O.
    able = max(alone.wall - alone.queued, alone.cpu)
    cpu_share = min(1.0, max(0.001, alone.cpu / able)) if able else 1.0
    releases = _releases_gil(alone, cpu_share) if gil else True
    each = [*(alone.peaks or (alone.memory,)), *(level.memory // level.workers for level in good)]
    memory = (min(each), round(median(each)), max(each))
    work = Workload(
        io_ratio=1 - Fraction(str(round(cpu_share, 3))),
        memory_per_task=memory[2] if memory[2] >= 1024 else None,
        releases_gil=releases is not False,  # recommend() supposes so, too, where nothing is said
        gil=gil,
        processes=processes,
    )
    recommendation = size_up(limits, replace(usage, process_bytes=alone.base), work)
    rest = f"more {'failed' if levels[-1].ended else 'were not tried'} ({stopped})"
    workers, why = _choose(good, knee if flat else None, rest, recommendation)
    return Result(
        tuple(good), stopped, knee, flat, memory, cpu_share, releases, recommendation, workers, why
    )  # fmt: skip


def _releases_gil(alone: Level, cpu_share: float) -> bool | None:
    return None if alone.gil is None else alone.gil < _PURE * cpu_share


def _choose(good: Sequence[Level], knee: int | None, rest: str, answer: Recommendation) -> tuple[int, str]:
    """*knee*: None if throughput was not seen to rise no more. *rest*: what became of more than the last level."""
    rises = _rises(good)
    wanted, last = rises[-1].workers if knee is None else knee, good[-1].workers
    if wanted > answer.ceiling:
        return answer.ceiling, f"more would help, but {_bound(answer)} allows no more"
    if knee is not None:
        return wanted, "more brought no more throughput"
    if last > wanted:
        return wanted, f"{last} brought no more, and {rest}"
    return wanted, rest if len(rises) == 1 else f"throughput still rose there, and {rest}"


def _bound(answer: Recommendation) -> str:
    memory = answer.terms["memory"]
    return "memory" if memory is not None and max(1, memory) <= answer.ceiling else "the number of threads"


def worth_keeping(wall: float) -> bool:
    """Return whether a call lasts long enough for its own peak to be seen from outside."""
    return math.isfinite(wall) and wall >= 0.1
