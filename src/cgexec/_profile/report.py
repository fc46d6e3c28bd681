"""What was found, for people (80 columns) and for programs. Pure."""

import textwrap
from collections.abc import Iterator
from dataclasses import asdict

from cgexec import __version__
from cgexec._profile.evaluate import Level, Result
from cgexec._quantity import format_bytes, format_cpus

__all__ = ["as_dict", "render"]

_WIDTH = 80
# Shares of a call's time from which on they are worth a word, and bytes from which on an estimate is.
_SOME, _BUSY = 0.01, 0.2
_LITTLE = 1 << 20
_KINDS = {
    True: "it computes outside the GIL",
    False: "it computes under the GIL, on one CPU at a time",
    None: "whether under the GIL was not measured, which a longer --seconds may do",
}


def as_dict(target: str, result: Result) -> dict[str, object]:
    """Return plain JSON values. Keys may be added from version to version."""
    answer, (least, middle, most) = result.recommendation, result.memory
    return {
        "cgexec": __version__,
        "target": target,
        "workers": result.workers,
        "why": result.why,
        "levels": [level._asdict() for level in result.levels],
        "stopped": result.stopped,
        "knee": result.knee,
        "flat": result.flat,
        "memory_per_task": {"least": least, "median": middle, "most": most},
        "cpu_share": result.cpu_share,
        "gil_share": result.levels[0].gil,
        "releases_gil": result.releases_gil,
        "recommendation": {
            "max_workers": answer.max_workers,
            "ceiling": answer.ceiling,
            "bound_by": answer.bound_by,
            "terms": dict(answer.terms),
            "fits": answer.fits,
        },
        "limits": asdict(answer.limits),
    }


def render(target: str, result: Result, *, bold: bool = False) -> str:
    """Return it for a person, complete without colour."""
    first = f"use {result.workers} worker{'' if result.workers == 1 else 's'} for {target}: {result.why}"
    lines = textwrap.wrap(first, _WIDTH)
    head = [f"\033[1m{line}\033[0m" if bold else line for line in lines]
    sections = [
        head,
        list(_table(result)),
        [
            *_paragraph(_alone(result)),
            *_paragraph(_by_arithmetic(result)),
            *_paragraph(f"The levels ended: {result.stopped}."),
        ],
        ["In the program:", f"  {_code(result)}"],
    ]
    return "\n\n".join("\n".join(section) for section in sections)


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ")


def _table(result: Result) -> Iterator[str]:
    yield f"{'workers':>7}  {'calls/s':>9}  {'a call':>8}  {'CPU':>5}  {'memory':>9}  {'throttled':>9}"
    for level in result.levels:
        mark = "  <- as much as any" if level.workers == result.knee else ""
        yield (
            f"{level.workers:>7}  {level.throughput:>9.4g}  {_seconds(level.wall):>8}  {_share(level):>5}  "
            f"{format_bytes(level.memory):>9}  {'-' if level.throttled is None else f'{level.throttled:.0%}':>9}{mark}"
        )


def _share(level: Level) -> str:
    return f"{level.cpu / level.wall:.0%}" if level.wall else "-"


def _seconds(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def _alone(result: Result) -> str:
    alone = result.levels[0]
    gil = "" if alone.gil is None else f" and {alone.gil:.0%} with the GIL held"
    computes = f"; {_KINDS[result.releases_gil]}" if result.cpu_share > _SOME else ""
    return (
        f"Alone a call takes {_seconds(alone.wall)}{_waited(alone)}, {result.cpu_share:.0%} of it computing{gil}"
        f"{computes}. "
        f"At its peak it holds {_spread(*result.memory)} beyond the {format_bytes(alone.base)} of the process."
    )


def _waited(alone: Level) -> str:
    share = alone.queued / alone.wall if alone.wall else 0.0
    if share <= _BUSY:
        return ""
    # The kernel counts both as waiting for a CPU.
    if (alone.throttled or 0.0) > _BUSY:
        return f" (for {share:.0%} of it the CPU limit had stopped it)"
    return f" (the machine is busy: for {share:.0%} of it no CPU was free)"


def _spread(least: int, middle: int, most: int) -> str:
    if most < _LITTLE:
        return "less than 1 MiB"
    low, high = format_bytes(least), format_bytes(most)
    return high if low == high else f"{format_bytes(middle)} ({low} to {high})"


def _by_arithmetic(result: Result) -> str:
    answer = result.recommendation
    limits = answer.limits
    return (
        f"With these numbers and {format_cpus(limits.cpus)}, {format_bytes(limits.memory_bytes)}, recommend() gives "
        f"{answer.max_workers} (bound by {answer.bound_by}), and at most {answer.ceiling}."
    )


def _code(result: Result) -> str:
    most = result.memory[2]
    memory = "" if most < _LITTLE else f', memory_per_task="{-(-most >> 20)}Mi"'
    return f"cgexec.ThreadPoolExecutor({result.workers}{memory})"
