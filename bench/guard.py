"""
What the memory guard costs a task: bursts of tasks that do nothing, with the guard and without, in turn.

Run ``CGEXEC_LAB=... python bench/guard.py``; prints a Markdown table: the ratios with no limit and under limits made by
the laboratory's ``v1`` (without CGEXEC_LAB: as it is here). Ratios, guard over no guard: medians of pairs. The target
is 1.05. Also the share of a CPU that the looks take meanwhile (target 0.01).
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import into_docs

import cgexec
from cgexec._pool.watch import Watch, watch

LIMITS = ("none", "256M", "1G", "4G")
TITLES = (
    "| limit | guard on, the guard off being 1: median | quartiles | looks, of a CPU |",
    "|---|---|---|---|",
)


def nothing() -> None:
    """Do nothing."""


def burst(pool: cgexec.ThreadPoolExecutor, tasks: int) -> float:
    """Return the seconds that so many tasks take."""
    begin = time.perf_counter()
    for future in [pool.submit(nothing) for _ in range(tasks)]:
        future.result()
    return time.perf_counter() - begin


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
        seconds = {id(pool): burst(pool, tasks) for pool in order}
        ratios.append(seconds[id(guarded)] / seconds[id(free)])
    looks = count_looks()
    begin = time.perf_counter()
    for _ in range(5):
        burst(guarded, tasks)
    share = sum(looks) / (time.perf_counter() - begin)
    reading = watch().planner.reading
    limit = "no limit" if reading is None else cgexec.format_bytes(reading.limit)
    quarters = statistics.quantiles(ratios, n=4)
    return f"| {limit} | {quarters[1]:.3f} | {quarters[0]:.3f} to {quarters[2]:.3f} | {share:.4f} |"


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
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=25)
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
