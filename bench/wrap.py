"""
What `wrap` costs a task: the wrapped executor's time less the bare one's, in microseconds.

Run ``python bench/wrap.py``; prints a Markdown table of medians of paired runs: both executors live in one process and
take turns. "cpu" is CPU time of this process, all threads together: what wrapping takes from other work. "wall" is what
one waits, which with processes depends on who wakes whom. The target of the project is 3 microseconds.

"A future of its own" is the least that any wrapper takes that can queue a call, and have it cancelled there: it
makes a future and ends it as the other executor's has, and does nothing else.
"""

import argparse
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import into_docs
from executor import burst, one_at_a_time

import cgexec


class Inline(Executor):
    """Runs a call at once: what is left is the cost of the wrapper alone."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future that is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class OwnFuture(Executor):
    """Wraps with a future of its own, and nothing else."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand the call on."""
        ours: Future[Any] = Future()

        def end(theirs: Future[Any]) -> None:
            error = theirs.exception()
            if error is None:
                ours.set_result(theirs.result())
            else:
                ours.set_exception(error)

        self.inner.submit(fn, *args, **kwargs).add_done_callback(end)
        return ours

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the other executor."""
        self.inner.shutdown(wait, cancel_futures=cancel_futures)


CASES: tuple[tuple[str, Callable[[Executor, int], None]], ...] = (("burst", burst), ("one at a time", one_at_a_time))
EXECUTORS: tuple[tuple[str, Callable[[], Executor], int], ...] = (
    ("inline", Inline, 5_000),
    ("2 threads", lambda: ThreadPoolExecutor(2), 5_000),
    ("8 threads", lambda: ThreadPoolExecutor(8), 5_000),
    ("2 processes", lambda: ProcessPoolExecutor(2), 1_000),
)


def measure(case: Callable[[Executor, int], None], pool: Executor, tasks: int) -> tuple[float, float]:
    """Return wall and CPU time of a task, in microseconds."""
    gc.collect()
    begin, cpu = time.perf_counter(), time.process_time()
    case(pool, tasks)
    return (time.perf_counter() - begin) / tasks * 1e6, (time.process_time() - cpu) / tasks * 1e6


def costs(
    make: Callable[[], Executor], case: Callable[[Executor, int], None], tasks: int, rounds: int, in_flight: int | None
) -> list[float]:
    """
    Return the bare executor's wall and CPU time, and what wrapping and a future alone add to them; medians, of one run
    in which they take turns.
    """
    rows = []
    wrapped = cgexec.wrap(make(), queue_size=math.inf, max_in_flight=in_flight)
    with make() as bare, wrapped, OwnFuture(make()) as least:
        pools: list[Executor] = [bare, wrapped, least]
        for pool in pools:
            case(pool, tasks // 10)
        for turn in range(rounds):
            order = pools[turn % 3 :] + pools[: turn % 3]
            taken = {pool: measure(case, pool, tasks) for pool in order}
            more = [taken[pool][each] - taken[bare][each] for pool in (wrapped, least) for each in (0, 1)]
            rows.append([*taken[bare], *more])
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def table(rounds: int, only: str, in_flight: int | None) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"Python {'.'.join(map(str, sys.version_info[:3]))}, {rounds} rounds; microseconds a task, medians"
    yield ""
    yield "| executor | what | bare: wall | cpu | wrapping adds: wall | cpu | a future of its own adds: wall | cpu |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for name, make, tasks in EXECUTORS:
        for what, case in CASES if only in name else ():
            found = costs(make, case, tasks, rounds, in_flight)
            yield f"| {name} | {what} | " + " | ".join(f"{each:.1f}" for each in found) + " |"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--only", default="", help="the executors whose name contains this")
    arguments.add_argument("--in-flight", type=int, help="instead of the default")
    into_docs.add_option(arguments)
    told = arguments.parse_args()
    into_docs.show(table(told.rounds, told.only, told.in_flight), "wrap", told.docs)


if __name__ == "__main__":
    main()
