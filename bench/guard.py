"""
What the memory guard costs a task: bursts of tasks that do nothing, with the guard and without, in turn.

Run ``CGEXEC_LAB=... python bench/guard.py``; prints a Markdown table: the ratios with no limit and under limits made by
the laboratory's ``v1`` (without CGEXEC_LAB: as it is here). Ratios, guard over no guard, of CPU time and of time:
medians of pairs. The target is 1.05; time says less, as it depends on which thread comes by the interpreter lock. Also
the share of a CPU that the looks take meanwhile (target 0.01).
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import into_docs

import cgexec
from cgexec._pool.watch import Watch, watch

LIMITS = ("none", "256M", "1G", "4G")
TITLES = (
    "| limit | CPU time, without the guard being 1: median | quartiles | time: median | quartiles | looks, of a CPU |",
    "|---|---|---|---|---|---|",
)


class Cost(NamedTuple):
    """What a burst took, in seconds."""

    cpu: float
    wall: float


def nothing() -> None:
    """Do nothing."""


def burst(pool: cgexec.ThreadPoolExecutor, tasks: int) -> Cost:
    """Return what so many tasks take."""
    begin, used = time.perf_counter(), time.process_time()
    for future in [pool.submit(nothing) for _ in range(tasks)]:
        future.result()
    return Cost(time.process_time() - used, time.perf_counter() - begin)


def count_looks() -> list[float]:
    """Have the CPU time of each look from now on added to the list that is returned."""
    seconds: list[float] = []
    look: Any = Watch._look  # noqa: SLF001  # the measure is taken around the real one

    def counted(*args: Any) -> Any:
        begin = time.thread_time()
        try:
            return look(*args)
        finally:
            seconds.append(time.thread_time() - begin)

    Watch._look = counted  # type: ignore[assignment,method-assign]  # noqa: SLF001
    return seconds


def measure(workers: int, tasks: int, pairs: int) -> str:
    """Return the line for the surroundings this process is in."""
    guarded = cgexec.ThreadPoolExecutor(workers, queue_size=2 * tasks)
    free = cgexec.ThreadPoolExecutor(workers, queue_size=2 * tasks, memory_guard=False)
    burst(guarded, tasks), burst(free, tasks)
    ratios = []
    for turn in range(pairs):
        order = (guarded, free) if turn % 2 else (free, guarded)
        costs = {id(pool): burst(pool, tasks) for pool in order}
        on, off = costs[id(guarded)], costs[id(free)]
        ratios.append(Cost(on.cpu / off.cpu, on.wall / off.wall))
    looks = count_looks()
    seconds = sum(burst(guarded, tasks).wall for _ in range(5))
    reading = watch().planner.reading
    limit = "no limit" if reading is None else cgexec.format_bytes(reading.limit)
    cells = []
    for values in ([ratio.cpu for ratio in ratios], [ratio.wall for ratio in ratios]):
        low, median, high = statistics.quantiles(values, n=4)
        cells += [f"{median:.3f}", f"{low:.3f} to {high:.3f}"]
    return f"| {limit} | {' | '.join(cells)} | {sum(looks) / seconds:.4f} |"


def table(lab: str | None, told: list[str]) -> Iterator[str]:
    """Yield the lines of the table, each measured in a process of its own; only one without the laboratory."""
    yield from TITLES
    for limit in LIMITS if lab else LIMITS[:1]:
        under = [str(Path(lab) / "v1"), "--memory", limit, "--"] if lab and limit != "none" else []
        command = [*under, sys.executable, __file__, "--here", *told]
        yield subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> None:
    """Measure here, or once under each limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("--here", action="store_true", help="no laboratory: only as it is here")
    into_docs.add_option(parser)
    told = parser.parse_args()
    lab = os.environ.get("CGEXEC_LAB")
    if told.here:
        print(measure(told.workers, told.tasks, told.pairs), flush=True)
        return
    again = [f"--{name}={getattr(told, name)}" for name in ("workers", "tasks", "pairs")]
    into_docs.show(table(lab, again), "guard", told.docs)


if __name__ == "__main__":
    main()
