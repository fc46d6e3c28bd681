"""
The controller of a pool's size on modelled pods (see modelled.py), under a clock of its own.

    python bench/simulate.py --pods 10000           that many pods of all kinds, and what they reach
    python bench/simulate.py --day                  a day of load that comes and goes
    python bench/simulate.py --picture run.png      size, queue, CPUs and memory over time (needs the extra "plot")

All of it is deterministic: the same --seed gives the same answer.
"""

import argparse
import itertools
import random
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from modelled import Phase, Pod, Run

# What the picture shows: waiting, computing, a database that serves no more, half of the quota, memory that runs out.
STORY = (
    Phase(15, 0.2, 0.002, locked=0.5),
    Phase(15, 0.0, 0.05),
    Phase(15, 0.2, 0.002, locked=0.5, served=150.0),
    Phase(15, 0.05, 0.02, locked=0.2),
    Phase(15, 0.05, 0.02, locked=0.2, quota=1.0),
    Phase(15, 0.2, 0.002, locked=0.5, memory=48 << 20),
)
TITLES = ("waiting", "computing", "slow database", "mixed", "half the quota", "memory")


def random_pod(number: int, seed: int, *, fixed: int | None = None) -> Pod:
    """Return a pod with work of some kind for fifteen seconds, and perhaps of another for as long."""
    choose = random.Random(f"{seed}:{number}")  # noqa: S311  # a model

    def phase() -> Phase:
        return Phase(
            15,
            wait=choose.choice([0.0, 0.1, 0.5, 2.0]),
            cpu=choose.choice([0.05, 0.1, 0.2]),
            locked=choose.choice([0.0, 0.2, 1.0]),
        )

    quota = choose.choice([0.5, 1.0, 2.0, 4.0])
    phases = [phase() for _ in range(choose.choice([1, 2]))]
    start = max(2, round(4 * quota))
    return Pod(phases, quota=quota, machine=16, seed=number, start=fixed or start, ceiling=256, fixed=fixed is not None)


class Summary(NamedTuple):
    """What is kept of a run: tasks ended, looks at the pod, changes of its size in the last five seconds."""

    ended: int
    looks: int
    changes: int


def summary(number: int, seed: int) -> Summary:
    """Run a pod and return what is kept of it."""
    run = random_pod(number, seed).run()
    return Summary(run.ended, len(run.points), run.changes(run.points[-1].time - 5))


def many(count: int, seed: int, compare: int) -> str:
    """Return how many pods did, the first *compare* of them beside the best of all fixed sizes."""
    begin = time.monotonic()
    with ProcessPoolExecutor() as pool:
        runs = list(pool.map(summary, range(count), itertools.repeat(seed), chunksize=50))
    took = time.monotonic() - begin
    changes = [run.changes for run in runs]
    parts = []
    for number in range(min(compare, count)):
        fixed = [random_pod(number, seed, fixed=size).run().ended for size in (1, 2, 4, 8, 16, 32, 64)]
        parts.append(runs[number].ended / max(1, *fixed))
    lines = [
        f"{count} pods in {took:.1f} s: {sum(run.looks for run in runs)} looks",
        f"size changes in the last five seconds: median {statistics.median(changes):g}, most {max(changes)}",
    ]
    if len(parts) > 1:
        low = statistics.quantiles(parts, n=20)[0]
        lines.append(
            f"of the best fixed size's throughput, over {len(parts)} pods: median {statistics.median(parts):.2f}, "
            f"one in twenty below {low:.2f}"
        )
    return "\n".join(lines)


def day(seed: int) -> str:
    """Return how a day went in which load comes and goes."""
    hours = [Phase(3600, 4.5, 0.5, arrivals=0.2 + hour % 12 * 0.3) for hour in range(24)]
    begin = time.monotonic()
    run = Pod(hours, quota=2.0, machine=4, seed=seed).run()
    took = time.monotonic() - begin
    sizes, queue = [point.size for point in run.points], max(point.waiting for point in run.points)
    return (
        f"a day in {took:.1f} s: {run.ended} tasks, sizes {min(sizes)} to {max(sizes)}, {run.changes()} changes, "
        f"longest queue {queue}, {run.throttled / max(1, run.periods):.1%} throttled"
    )


def picture(run: Run, file: Path) -> None:
    """Draw a run."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit('a picture needs matplotlib: pip install "cgexec[plot]"') from None
    times = [point.time for point in run.points]
    figure = Figure(figsize=(11, 8), layout="constrained")
    size, rate, cpu, memory = figure.subplots(4, 1, sharex=True)
    size.step(times, [point.size for point in run.points], where="post", label="size")
    size.plot(times, [point.running for point in run.points], linewidth=0.8, label="running")
    size.set_yscale("log", base=2)
    rate.plot(times, [point.rate for point in run.points], color="tab:green", label="tasks ended a second")
    rate.set_yscale("symlog")
    cpu.plot(times, [point.load for point in run.points], color="tab:red", label="CPUs used / allowed")
    cpu.fill_between(times, [point.throttled for point in run.points], alpha=0.3, step="pre", label="throttled")
    memory.plot(
        times, [point.memory / 2**30 for point in run.points], color="tab:purple", label="memory of tasks (GiB)"
    )
    ends = list(itertools.accumulate(phase.seconds for phase in STORY))
    for axis in (size, rate, cpu, memory):
        axis.legend(loc="upper left", fontsize="small")
        axis.grid(alpha=0.3)
        for end in ends:
            axis.axvline(end, color="grey", linewidth=0.8, linestyle=":")
    for title, end, phase in zip(TITLES, ends, STORY, strict=True):
        size.text(end - phase.seconds / 2, 1.02, title, transform=size.get_xaxis_transform(), ha="center")
    memory.set_xlabel("seconds")
    figure.savefig(file, dpi=110)


def main() -> int:
    """Do what is told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=0, help="how many pods")
    parser.add_argument("--compare", type=int, default=100, help="of so many the best fixed size is looked for, too")
    parser.add_argument("--day", action="store_true")
    parser.add_argument("--picture", type=Path, help="a file such as run.png")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    if not (told.pods or told.day or told.picture):
        parser.error("nothing to do: --pods 10000, --day or --picture run.png")
    if told.pods:
        print(many(told.pods, told.seed, told.compare))
    if told.day:
        print(day(told.seed))
    if told.picture:
        picture(Pod(STORY, quota=2.0, machine=4, memory_limit=4 << 30, seed=told.seed).run(), told.picture)
        print(f"drawn to {told.picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
