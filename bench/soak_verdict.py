"""What a soak calls flat: samples in, verdicts out; pure."""

import itertools
import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["HEAD", "Sample", "line", "slope", "verdicts"]

MIB = 1 << 20
# What may be gained over the last half of a run, by its slope. The allocator's arenas come and go by a megabyte or two;
# the interpreter's own count of blocks is quieter.
MEMORY_BOUND = 6 * MIB
BLOCKS_BOUND = 20_000

HEAD = (
    "| s | tasks | limit | private | resident | blocks | threads | descriptors | children |\n"
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


class Sample(NamedTuple):
    """One look, while nothing ran. Bytes."""

    at: float
    tasks: int
    private: int
    resident: int
    blocks: int
    threads: int
    descriptors: int
    children: int
    limit: int | None  # of the container's memory

    def counts(self) -> tuple[int, int, int]:
        """Return what should be the same at every look."""
        return self.threads, self.descriptors, self.children


def line(one: Sample) -> str:
    """Return the row of the table."""
    limit = "none" if one.limit is None else f"{one.limit / MIB:.0f} MiB"
    sizes = f"{limit} | {one.private / MIB:.1f} MiB | {one.resident / MIB:.1f} MiB | {one.blocks}"
    return f"| {one.at:.0f} | {one.tasks} | {sizes} | {one.threads} | {one.descriptors} | {one.children} |"


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes of all pairs (Theil and Sen): one odd sample does not turn it."""
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x2 > x1]
    return statistics.median(slopes) if slopes else 0.0


def _gained(samples: Sequence[Sample], name: str) -> float:
    """Return what *name* gained over these samples, by its slope over tasks."""
    points = [(float(one.tasks), float(getattr(one, name))) for one in samples]
    return slope(points) * (points[-1][0] - points[0][0])


def verdicts(samples: Sequence[Sample]) -> list[tuple[str, bool, str]]:
    """Return for each thing whether it is flat, and what was seen. The first sample is what it must come back to."""
    half = samples[len(samples) // 2 :]
    if len(half) < 2:
        return [("samples", False, f"{len(samples)} are too few to tell")]
    found = []
    for name, bound, unit in (("private", MEMORY_BOUND, "MiB"), ("blocks", BLOCKS_BOUND, "")):
        gained, scale = _gained(half, name), MIB if unit else 1
        seen = f"{gained / scale:+.1f} {unit} over the last half (bound {bound / scale:.0f})"
        found.append((f"memory: {name}", gained < bound, seen))
    for name in ("threads", "descriptors", "children"):
        values = [getattr(one, name) for one in samples]
        # The one that looks by time is there only while something is expected: one more or less is no growth.
        found.append((name, values[-1] <= values[0] + 1, f"{values[0]} at first, {values[-1]} at the end"))
    return found
