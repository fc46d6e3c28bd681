"""
What the pool costs beside the standard one, task by task, with every protection on.

Run ``python bench/executor.py``; prints a Markdown table of ratios, ours over the standard pool's, medians of paired
runs: both pools live in one process and take turns, so that a busy machine slows both. The targets are those of the
project, for CPython 3.11 and 3.13. ``--memory`` prints what a queued task takes instead.
"""

import argparse
import asyncio
import concurrent.futures
import gc
import math
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future

import into_docs

import cgexec

Pool = concurrent.futures.ThreadPoolExecutor
WORKERS = (2, 8, 32)


def nothing(*_: object) -> None:
    """Be a task that costs nothing."""


def burst(pool: Executor, tasks: int) -> None:
    """Submit many, then wait for all."""
    futures = [pool.submit(nothing) for _ in range(tasks)]
    for future in futures:
        future.result()


def one_at_a_time(pool: Executor, tasks: int) -> None:
    """Wait for each before the next."""
    for _ in range(tasks):
        pool.submit(nothing).result()


def mapped(pool: Executor, tasks: int) -> None:
    """Let `map` do it."""
    for _ in pool.map(nothing, range(tasks)):
        pass


def run_in_executor(pool: Executor, tasks: int) -> None:
    """Come from an event loop, a hundred at a time."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(tasks // 100):
            await asyncio.gather(*(loop.run_in_executor(pool, nothing) for _ in range(100)))

    asyncio.run(main())


# name, what is done, tasks a run, target on 3.11 and on 3.13
CASES: tuple[tuple[str, Callable[[Executor, int], None], int, float, float], ...] = (
    ("burst", burst, 20_000, 0.75, 0.9),
    ("one at a time", one_at_a_time, 4_000, 1.05, 1.05),
    ("map", mapped, 20_000, 0.85, 0.85),
    ("run_in_executor", run_in_executor, 5_000, 1.0, 1.0),
)


def warm(pool: Pool, workers: int) -> None:
    """Have all threads started."""
    barrier = threading.Barrier(workers + 1)
    futures = [pool.submit(barrier.wait) for _ in range(workers)]
    barrier.wait()
    for future in futures:
        future.result()


def seconds(case: Callable[[Executor, int], None], pool: Pool, tasks: int) -> float:
    """Return how long one run takes."""
    gc.collect()
    begin = time.perf_counter()
    case(pool, tasks)
    return time.perf_counter() - begin


def ratios(case: Callable[[Executor, int], None], tasks: int, workers: int, rounds: int) -> list[float]:
    """Return ours over the standard pool's for each round; who begins alternates."""
    found = []
    with Pool(workers) as stock, cgexec.ThreadPoolExecutor(workers) as ours:
        for pool in (stock, ours):
            warm(pool, workers)
            case(pool, tasks // 10)
        for turn in range(rounds):
            pair = (stock, ours) if turn % 2 else (ours, stock)
            taken = {pool: seconds(case, pool, tasks) for pool in pair}
            found.append(taken[ours] / taken[stock])
    return sorted(found)


def bytes_per_queued_task(pool: Pool, tasks: int = 20_000) -> float:
    """Return what a task in the queue takes, its future included."""
    release = threading.Event()
    with pool:
        pool.submit(release.wait)
        futures: list[Future[None]] = []
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        futures.extend(pool.submit(nothing) for _ in range(tasks))
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        release.set()
    return (after - before) / tasks


def table(rounds: int, only: str, version: str) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"Python {version}, {rounds} rounds; ours / standard pool: median (quartiles)"
    yield ""
    yield "| what | workers | ratio | target |"
    yield "|---|---:|---:|---:|"
    for name, case, tasks, old, new in CASES:
        for workers in WORKERS if only in name else ():
            low, middle, high = statistics.quantiles(ratios(case, tasks, workers, rounds), n=4)
            target = old if sys.version_info < (3, 13) else new
            yield f"| {name} | {workers} | {middle:.2f} ({low:.2f} to {high:.2f}) | {target} |"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--memory", action="store_true")
    arguments.add_argument("--only", default="", help="the cases whose name contains this")
    into_docs.add_option(arguments)
    told = arguments.parse_args()
    version = ".".join(map(str, sys.version_info[:3]))
    if told.memory:
        stock = bytes_per_queued_task(Pool(1))
        ours = bytes_per_queued_task(cgexec.ThreadPoolExecutor(1, queue_size=math.inf))
        print(f"Python {version}: a queued task takes {ours:.0f} bytes, the standard pool's {stock:.0f}")
        return
    into_docs.show(table(told.rounds, told.only, version), "executor", told.docs)


if __name__ == "__main__":
    main()
