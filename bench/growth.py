"""
How costs grow: those of a pool with its workers, with what waits in its queue, with the number of pools; those of a
look at the limits with the depth of the cgroup.

Run ``python bench/growth.py``; prints a Markdown table. Times are ratios to the standard pool's, or for what that has
not, microseconds; medians of rounds that take turns. Flat is what is wanted: nothing may cost more a task because much
waits or many pools are there.
"""

import argparse
import gc
import math
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import into_docs

import cgexec
from cgexec.testing import Container

WORKERS = (1, 8, 64, 256, 1024)
QUEUES = (10, 1_000, 100_000, 1_000_000)
POOLS = (1, 10, 100)
DEPTHS = (1, 4, 16, 64)
TASKS = 4_000


def nothing() -> None:
    """Be a task that costs nothing."""


def burst(pool: ThreadPoolExecutor, tasks: int) -> float:
    """Return the time of a task that is submitted and run."""
    begin = time.perf_counter()
    for future in [pool.submit(nothing) for _ in range(tasks)]:
        future.result()
    return (time.perf_counter() - begin) / tasks


def ours(workers: int) -> cgexec.ThreadPoolExecutor:
    """Return one of our pools, without a bound on its queue."""
    return cgexec.ThreadPoolExecutor(workers, queue_size=math.inf)


def threads_started(pool: ThreadPoolExecutor, workers: int) -> None:
    """Have all the threads there."""
    barrier = threading.Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(barrier.wait, 60)
    barrier.wait(60)


def with_workers(workers: int, rounds: int) -> str:
    """Return the ratio of a task with so many threads."""
    with ThreadPoolExecutor(workers) as stock, ours(workers) as mine:
        threads_started(stock, workers)
        threads_started(mine, workers)
        pairs = [(burst(mine, TASKS), burst(stock, TASKS)) for _ in range(rounds)]
    return f"{statistics.median(a / b for a, b in pairs):.2f}"


def submitted(pool: ThreadPoolExecutor, waiting: int) -> tuple[float, ThreadPoolExecutor]:
    """Fill the queue behind a task that holds the only worker; return the time of one more submit."""
    gate = threading.Event()
    pool.submit(gate.wait)
    futures = [pool.submit(nothing) for _ in range(waiting)]
    gc.collect()
    begin = time.perf_counter()
    futures += [pool.submit(nothing) for _ in range(1_000)]
    taken = (time.perf_counter() - begin) / 1_000
    gate.set()
    pool.shutdown(cancel_futures=True)
    return taken, pool


def with_queue(waiting: int, rounds: int) -> str:
    """Return the ratio of a submit with so many waiting."""
    rounds = max(1, min(rounds, 2_000_000 // max(1, waiting)))
    pairs = [(submitted(ours(1), waiting)[0], submitted(ThreadPoolExecutor(1), waiting)[0]) for _ in range(rounds)]
    return f"{statistics.median(a / b for a, b in pairs):.2f}"


def with_pools(count: int, rounds: int) -> str:
    """Return the ratio of a task in one of so many pools, each with a task running."""
    gate = threading.Event()
    with ExitStack() as stack:
        stack.callback(gate.set)
        mine = [stack.enter_context(ours(2)) for _ in range(count)]
        stock = [stack.enter_context(ThreadPoolExecutor(2)) for _ in range(count)]
        for pool in [*mine, *stock]:
            pool.submit(gate.wait)
        pairs = [(burst(mine[0], TASKS), burst(stock[0], TASKS)) for _ in range(rounds)]
        gate.set()
    return f"{statistics.median(a / b for a, b in pairs):.2f}"


def stats_cost(workers: int, waiting: int) -> str:
    """Return the microseconds of a `stats()` with so many busy workers and so many waiting."""
    gate = threading.Event()
    with ours(workers) as pool:
        for _ in range(workers + waiting):
            pool.submit(gate.wait)
        taken = []
        for _ in range(20):
            begin = time.perf_counter()
            pool.stats()
            taken.append(time.perf_counter() - begin)
        gate.set()
    return f"{statistics.median(taken) * 1e6:.0f} us"


def look_cost(look: Callable[..., object], depth: int) -> str:
    """Return the microseconds of a look at the limits or the use, by the files of a cgroup at such a depth."""
    with tempfile.TemporaryDirectory() as folder:
        Container(folder, cpus=2, memory="1Gi")
        root, path = Path(folder, "sys/fs/cgroup"), "/child" * (depth - 1)
        for level in range(1, depth):
            shutil.copytree(root, root.joinpath(*["child"] * level), ignore=shutil.ignore_patterns("child"))
        Path(folder, "proc/self/cgroup").write_text(f"0::{path or '/'}\n", encoding="utf-8")
        taken = []
        for _ in range(50):
            begin = time.perf_counter()
            look(root=folder)
            taken.append(time.perf_counter() - begin)
    return f"{statistics.median(taken) * 1e6:.0f} us"


def rows(rounds: int, most: int) -> list[tuple[str, str, str]]:
    """Return what grows, how much of it, and the cost."""
    measured: tuple[tuple[str, tuple[int, ...], Callable[[int], str]], ...] = (
        ("a task, ratio, by workers", WORKERS, lambda n: with_workers(n, rounds)),
        ("a submit, ratio, by what waits", tuple(n for n in QUEUES if n <= most), lambda n: with_queue(n, rounds)),
        ("a task, ratio, by pools", POOLS, lambda n: with_pools(n, rounds)),
        ("stats(), by busy workers", WORKERS, lambda n: stats_cost(n, 0)),
        ("stats(), by what waits", tuple(n for n in QUEUES if n <= min(most, 100_000)), lambda n: stats_cost(1, n)),
        ("limits(), by depth", DEPTHS, lambda n: look_cost(cgexec.limits, n)),
        ("usage(), by depth", DEPTHS, lambda n: look_cost(cgexec.usage, n)),
    )
    return [(what, f"{n}", cost(n)) for what, numbers, cost in measured for n in numbers]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one round, and no long queues")
    into_docs.add_option(parser)
    told = parser.parse_args()
    found = rows(1 if told.quick else told.rounds, 1_000 if told.quick else QUEUES[-1])
    table: dict[str, list[str]] = {}
    for what, number, cost in found:
        table.setdefault(what, []).append(f"{number}: {cost}")
    text = "| cost | at |\n|---|---|\n" + "\n".join(f"| {what} | {', '.join(cells)} |" for what, cells in table.items())
    into_docs.show([text], "growth", told.docs)


if __name__ == "__main__":
    main()
