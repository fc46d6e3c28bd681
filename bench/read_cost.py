"""
What a look costs: ``limits()``, ``usage()`` and ``recommend()``, and what importing adds to a program that has a pool.

Run ``python bench/read_cost.py``; prints a Markdown table of medians. The targets are those of the project: a
millisecond for ``limits()``, 0.3 ms for ``usage()``, 15 ms for the import over ``concurrent.futures.thread``.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import into_docs

import cgexec

ROUNDS = 25
CALLS = 40
IMPORTS = 15

_TIMED_IMPORT = """
import time, concurrent.futures.thread
begin = time.perf_counter()
{statement}
print(time.perf_counter() - begin)
"""


def median_seconds(call: Callable[[], object]) -> float:
    """Return the median over rounds of the mean cost of a call, in seconds."""
    costs = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(CALLS):
            call()
        costs.append((time.perf_counter() - begin) / CALLS)
    return statistics.median(costs)


def import_seconds(statement: str) -> float:
    """Return the median time of *statement* in fresh interpreters that have the stock pool loaded, in seconds."""
    code = _TIMED_IMPORT.format(statement=statement)
    # -B off: the first run writes the bytecode, as an installed package has it.
    command = [sys.executable, "-c", code]
    costs = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(IMPORTS)]
    return statistics.median(costs[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    into_docs.add_option(parser)
    told = parser.parse_args()
    rows = [
        ("cgexec.limits()", median_seconds(cgexec.limits), 1e-3),
        ("cgexec.usage()", median_seconds(cgexec.usage), 0.3e-3),
        ("cgexec.recommend()", median_seconds(cgexec.recommend), None),
        ("import cgexec", import_seconds("import cgexec"), 15e-3),
        ("import cgexec, first recommend()", import_seconds("import cgexec; cgexec.recommend()"), None),
    ]
    lines = [
        f"| `{name}` | {seconds * 1e3:.3f} ms | {'' if target is None else f'{target * 1e3:g} ms'} |"
        for name, seconds, target in rows
    ]
    into_docs.show(["| what | median | target |", "|---|---:|---:|", *lines], "read_cost", told.docs)


if __name__ == "__main__":
    main()
