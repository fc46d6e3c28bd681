"""The gauntlet's runs as a Markdown table."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import gauntlet_workloads

Record = Mapping[str, Any]


class Best(NamedTuple):
    """The fastest fixed size that was never killed, never wrong and never hung."""

    pool: str
    seconds: float
    runs: int


def is_stock(pool: str) -> bool:
    """Tell the standard pools."""
    return pool.startswith("stock-")


def seconds(runs: Iterable[Record]) -> list[float]:
    """Return how long the good runs took."""
    return [run["seconds"] for run in runs if run["outcome"] == "ok"]


def best_fixed(runs: Iterable[Record]) -> Best | None:
    """Return the best fixed size among one workload's runs, None if there is none."""
    by_pool: dict[str, list[Record]] = {}
    for run in runs:
        if is_stock(run["pool"]):
            by_pool.setdefault(run["pool"], []).append(run)
    found = [
        Best(pool, statistics.median(seconds(mine)), len(mine))
        for pool, mine in by_pool.items()
        if all(run["outcome"] == "ok" for run in mine)
    ]
    return min(found, key=lambda best: best.seconds, default=None)


def ends(runs: list[Record]) -> str:
    """Return how many runs failed, and how."""
    bad = [run["outcome"] for run in runs if run["outcome"] != "ok"]
    kinds = sorted({kind for kind in bad if kind != "killed"})
    more = "".join(f", {kind} {bad.count(kind)}" for kind in kinds)
    return f"{bad.count('killed')}/{len(runs)}{more}"


def cell(runs: list[Record], best: Best | None, memory: int) -> str:
    """Return one contender's answer: killed, throughput against the best fixed size, peak."""
    if not runs:
        return "-"
    text = f"killed {ends(runs)}"
    taken = seconds(runs)
    if taken and best:
        middle, low, high = (best.seconds / some for some in (statistics.median(taken), max(taken), min(taken)))
        text += f"; {middle:.2f}" + (f" ({low:.2f} to {high:.2f})" if len(taken) > 1 else "")
    if taken:
        text += f"; peak {max(run['cgroup_peak'] for run in runs if run['outcome'] == 'ok') / memory:.2f}"
    return text


def size_of(memory: int) -> str:
    """Return a limit as it was given."""
    return f"{memory / 2**30:g}G" if memory % 2**30 == 0 else f"{memory / 2**20:g}M"


def stock_killed(runs: Iterable[Record]) -> str:
    """Return the fixed sizes that failed, and how where they were not killed."""
    bad = {int(run["pool"][6:]): run["outcome"] for run in runs if is_stock(run["pool"]) and run["outcome"] != "ok"}
    return " ".join(f"{n}" if bad[n] == "killed" else f"{n} ({bad[n]})" for n in sorted(bad)) or "none"


def row(name: str, memory: int, runs: list[Record], others: list[str]) -> str:
    """Return the line of one workload under one limit."""
    best = best_fixed(runs)
    cells = [name + ("\\*" if gauntlet_workloads.NAMED[name].unforeseeable else ""), size_of(memory)]
    cells += [stock_killed(runs), f"{best.pool[6:]} ({best.runs} runs)" if best else "-"]
    cells += [cell([run for run in runs if run["pool"] == pool], best, memory) for pool in others]
    return "| " + " | ".join(cells) + " |"


def table(records: list[dict[str, Any]]) -> str:
    """Return all of it; a contender's throughput is the best fixed size's time over its own, medians (extremes)."""
    others = list(dict.fromkeys(run["pool"] for run in records if not is_stock(run["pool"])))
    titles = ["workload", "limit", "stock killed at", "best fixed size", *others]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for name, memory in dict.fromkeys((run["workload"], run["memory"]) for run in records):
        runs: list[Record] = [run for run in records if (run["workload"], run["memory"]) == (name, memory)]
        lines.append(row(name, memory, runs, others))
    lines += [
        "",
        "\\* nobody can know beforehand. Killed: runs killed of all runs. Then the throughput, the best fixed",
    ]
    lines += [
        "size's being 1: medians (slowest and fastest run). Peak: most that was charged, as a share of the limit,"
    ]
    lines += ["page cache included. Hung: nothing came for two minutes or more."]
    return "\n".join(lines)
