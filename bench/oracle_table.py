"""The oracle's runs as a Markdown table."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

Record = Mapping[str, Any]


def median(runs: Iterable[Record], name: str) -> float:
    """Return the median of a number over runs."""
    return float(statistics.median([run[name] for run in runs]))


def by_pool(runs: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the runs of each contender."""
    pools: dict[str, list[Record]] = {}
    for run in runs:
        pools.setdefault(run["pool"], []).append(run)
    return pools


def hand_picked(fixed: dict[str, list[Record]]) -> float:
    """
    Return what the best fixed size does, found on the other runs: of seven that differ by chance, the one that did best
    in a run did better than it does.
    """
    turns = range(min(len(runs) for runs in fixed.values()))
    rates = []
    for turn in turns:
        others = [each for each in turns if each != turn] or [turn]
        best = max(fixed, key=lambda pool: statistics.fmean(fixed[pool][each]["rate"] for each in others))
        rates.append(fixed[best][turn]["rate"])
    return float(statistics.median(rates))


def row(workload: str, cpus: float, runs: list[Record]) -> str:
    """Return the line of one workload under one quota."""
    pools = by_pool(runs)
    fixed = {pool: mine for pool, mine in pools.items() if pool.startswith("stock-")}
    cells = [workload, f"{cpus:g}"]
    if fixed:
        best = max(fixed, key=lambda pool: median(fixed[pool], "rate"))
        top = median(fixed[best], "rate")
        cells += [best[6:], f"{median(fixed[best], 'throttled'):.2f}"]
    else:
        cells, top = [*cells, "-", "-"], 0.0
    ours = pools.get("ours")
    if not ours or not top:
        return "| " + " | ".join([*cells, "-", "-", "-", "-", "-"]) + " |"
    low, high = (some(run["rate"] for run in ours) / top for some in (min, max))
    cells += [f"**{median(ours, 'rate') / top:.2f}** ({low:.2f} to {high:.2f})"]
    cells += [f"{median(ours, 'rate') / hand_picked(fixed):.2f}", f"{median(ours, 'throttled'):.2f}"]
    cells.append(", ".join(str(size) for size in sorted({run["size"] for run in ours})))
    others = [f"{pool[6:]}: {median(mine, 'rate') / top:.2f}" for pool, mine in fixed.items()]
    return "| " + " | ".join([*cells, ", ".join(others)]) + " |"


def table(records: list[dict[str, Any]]) -> str:
    """Return all of it; throughput is given in parts of the best fixed size's, medians (extremes)."""
    titles = ["work", "CPUs", "best fixed", "its throttled", "ours", "beside the size the other runs pick", "throttled"]
    titles += ["size at the end", "fixed sizes"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for workload, cpus in dict.fromkeys((run["workload"], run["cpus"]) for run in records):
        runs: list[Record] = [run for run in records if (run["workload"], run["cpus"]) == (workload, cpus)]
        lines.append(row(workload, cpus, runs))
    return "\n".join(lines)
