"""
What a task costs beside other people's executors: bursts, one at a time, `map`, and asyncio's `run_in_executor`.

Run ``python bench/peers.py`` (``pip install "cgexec[bench]"`` for the peers); prints a Markdown table of ratios to the
standard pool, medians over rounds in which all contenders take turns in one process. What cannot be imported is listed
with the reason. loky runs its calls in processes, anyio has no `submit`: what is no case for them is a dash.
"""

import argparse
import asyncio
import gc
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import into_docs
from executor import burst, mapped, nothing, one_at_a_time

import cgexec

WORKERS = 8
TASKS = {"burst": 5_000, "one at a time": 1_000, "map": 5_000, "asyncio": 2_000}
# A process takes a hundred times as long, and anyio's threads some ten times.
PART = {"loky (processes)": 20, "anyio.to_thread": 4}


class Scheduling:
    """pebble's pool, whose `schedule` does what `submit` does elsewhere."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """Schedule the call."""
        future: Future[Any] = self.pool.schedule(fn, args=list(args))
        return future

    def map(self, fn: Callable[..., Any], items: Any) -> Any:
        """Return an iterator over the results."""
        return self.pool.map(fn, items).result()

    def shutdown(self) -> None:
        """End it."""
        self.pool.close()
        self.pool.join()


def _of(module: str, make: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: make(importlib.import_module(module))


POOLS: dict[str, Callable[[], Any]] = {
    "standard": lambda: ThreadPoolExecutor(WORKERS),
    "cgexec": lambda: cgexec.ThreadPoolExecutor(WORKERS, queue_size=10_000),
    "cgexec.wrap(standard)": lambda: cgexec.wrap(ThreadPoolExecutor(WORKERS), queue_size=10_000),
    "bounded-executor": _of("bounded_executor", lambda m: m.BoundedThreadPoolExecutor(WORKERS, 10_000)),
    "bounded-pool-executor": _of("bounded_pool_executor", lambda m: m.BoundedThreadPoolExecutor(WORKERS)),
    "futurist": _of("futurist", lambda m: m.ThreadPoolExecutor(WORKERS)),
    "more-executors, throttled": _of(
        "more_executors", lambda m: m.Executors.thread_pool(max_workers=WORKERS).with_throttle(10_000)
    ),
    "pebble": _of("pebble", lambda m: Scheduling(m.ThreadPool(max_workers=WORKERS))),
    "loky (processes)": _of("loky", lambda m: m.ProcessPoolExecutor(2)),
    "anyio.to_thread": _of("anyio.to_thread", lambda m: m),
}


class Case(NamedTuple):
    """What is done with so many tasks, on a pool or, *anywhere*, by anyio, too."""

    run: Callable[[Any, int], None]
    anywhere: bool = False


def from_asyncio(pool: Any, tasks: int) -> None:
    """Come from an event loop, a hundred at a time."""
    is_anyio = not hasattr(pool, "submit")

    def call() -> Any:
        return pool.run_sync(nothing) if is_anyio else asyncio.wrap_future(pool.submit(nothing))

    async def main() -> None:
        for _ in range(tasks // 100):
            await asyncio.gather(*(call() for _ in range(100)))

    asyncio.run(main())


CASES = {
    "burst": Case(burst),
    "one at a time": Case(one_at_a_time),
    "map": Case(mapped),
    "asyncio": Case(from_asyncio, anywhere=True),
}


def open_all() -> tuple[dict[str, Any], dict[str, str]]:
    """Return the pools that there are, and why the others are not."""
    pools, missing = {}, {}
    for name, make in POOLS.items():
        try:
            pools[name] = make()
        except ImportError as error:
            missing[name] = str(error)
    return pools, missing


def measure(pools: dict[str, Any], what: str, rounds: int, tasks: int) -> dict[str, float]:
    """Return the median time of a task for each pool, in seconds."""
    able = {name: pool for name, pool in pools.items() if CASES[what].anywhere or hasattr(pool, "submit")}
    taken: dict[str, list[float]] = {name: [] for name in able}
    for turn in range(rounds + 1):
        order = list(able)[turn % len(able) :] + list(able)[: turn % len(able)]
        for name in order:
            count = max(100, tasks // PART.get(name, 1))
            gc.collect()
            begin = time.perf_counter()
            CASES[what].run(able[name], count)
            if turn:  # the first warms up
                taken[name].append((time.perf_counter() - begin) / count)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def table(rounds: int, scale: float) -> str:
    """Return the table as Markdown."""
    pools, missing = open_all()
    try:
        found = {what: measure(pools, what, rounds, int(TASKS[what] * scale)) for what in CASES}
    finally:
        for pool in pools.values():
            getattr(pool, "shutdown", lambda: None)()
    lines = ["| executor | " + " | ".join(CASES) + " |", "|---" * (len(CASES) + 1) + "|"]
    for name in pools:
        ratios = [
            f"{found[what][name] / found[what]['standard']:.2f}" if name in found[what] else "-" for what in CASES
        ]
        lines.append(f"| {name} | " + " | ".join(ratios) + " |")
    lines += [f"| {name} | not there: {why} |" + " |" * (len(CASES) - 1) for name, why in missing.items()]
    version = ".".join(map(str, sys.version_info[:3]))
    return "\n".join([*lines, "", f"Python {version}, {WORKERS} threads, {rounds} rounds."])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tasks, two rounds")
    into_docs.add_option(parser)
    told = parser.parse_args()
    text = table(2 if told.quick else told.rounds, 0.1 if told.quick else 1.0)
    into_docs.show([text], "peers", told.docs)


if __name__ == "__main__":
    main()
