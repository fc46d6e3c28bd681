"""
How many instructions a task takes, ours beside the standard pool's: a figure that does not depend on how busy the
machine is, so it can guard the hot path.

Run ``python bench/instructions.py``; it needs valgrind, whose callgrind counts, and prints a Markdown table. With
``--check`` the status is 1 where a ratio is above its bound, 77 where there is no valgrind. A count is the difference
between a process with many tasks and one with few, so what starting takes does not count.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

from executor import burst, nothing, one_at_a_time

FEW, MANY = 200, 1700
SKIPPED = 77


def submit(pool: Executor, tasks: int) -> None:
    """Only queue: the one worker is held, and the process ends with it."""
    gate = threading.Lock()
    gate.acquire()
    pool.submit(gate.acquire)
    for _ in range(tasks):
        pool.submit(nothing)
    os._exit(0)


# What is done, and the most that it may take as a part of the standard pool's.
CASES: dict[str, tuple[Callable[[Executor, int], None], float]] = {
    "submit": (submit, 0.75),
    "burst": (burst, 1.0),
    "one at a time": (one_at_a_time, 1.15),
}


def child(case: str, pool: str, tasks: int) -> None:
    """Be the process whose instructions are counted."""
    if pool == "ours":
        from cgexec import ThreadPoolExecutor as Ours

        made: ThreadPoolExecutor = Ours(1, queue_size=2 * MANY, memory_guard=False)
    else:
        made = ThreadPoolExecutor(1)
    made.submit(nothing).result()
    CASES[case][0](made, tasks)
    made.shutdown()


def count(case: str, pool: str, tasks: int) -> int:
    """Return the instructions of such a process."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, __file__]
    done = subprocess.run(
        [*command, "--child", case, pool, str(tasks)],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr[-2000:]}")
    return int(found[1])


def per_task(case: str, pool: str) -> float:
    """Return the instructions of a task."""
    return (count(case, pool, MANY) - count(case, pool, FEW)) / (MANY - FEW)


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the bounds")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        child(told.child[0], told.child[1], int(told.child[2]))
        return 0
    if shutil.which("valgrind") is None:
        print("no valgrind: instructions are not counted")
        return SKIPPED
    print("| what | standard pool | ours | ratio | bound |\n|---|---:|---:|---:|---:|")
    worse = False
    for case, (_, bound) in CASES.items():
        stock, ours = per_task(case, "stock"), per_task(case, "ours")
        worse = worse or ours > bound * stock
        print(f"| {case} | {stock:.0f} | {ours:.0f} | {ours / stock:.2f} | {bound:.2f} |", flush=True)
    return int(told.check and worse)


if __name__ == "__main__":
    sys.exit(main())
