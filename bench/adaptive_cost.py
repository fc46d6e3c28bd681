"""
What the controller costs on tasks that do nothing: a pool of fixed size beside one that follows the load and may not
leave that size, in turn. Prints the median of the ratios of neighbours (above 1: the fixed one costs less), in CPU
time, which what else runs on the machine disturbs less than the clock.

Run ``python bench/adaptive_cost.py --workers 4 --runs 15``.
"""

import argparse
import statistics
import time

import into_docs

import cgexec


def measure(workers: int, tasks: int, *, adaptive: bool) -> float:
    """Return the seconds of CPU time that so many tasks take."""
    least = workers if adaptive else None
    with cgexec.ThreadPoolExecutor(workers, adaptive=adaptive, min_workers=least, queue_size=tasks) as pool:
        begin = time.process_time()
        for future in [pool.submit(int) for _ in range(tasks)]:
            future.result()
        return time.process_time() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=15)
    into_docs.add_option(parser)
    told = parser.parse_args()
    ratios = []
    for turn in range(told.runs):
        order = (False, True) if turn % 2 else (True, False)
        took = {adaptive: measure(told.workers, told.tasks, adaptive=adaptive) for adaptive in order}
        ratios.append(took[True] / took[False])
    low, middle, high = statistics.quantiles(ratios, n=4)
    text = f"CPU time, the fixed size's being 1: {middle:.3f} ({low:.3f} to {high:.3f}, quartiles of {told.runs} pairs)"
    into_docs.show([text], "adaptive_cost", told.docs)


if __name__ == "__main__":
    main()
