"""
The variables by which native libraries size their own thread pools, for this container. Pure.

They count the machine's CPUs otherwise: a BLAS call on a 64-CPU node starts 64 threads in a pod that may use two. They
are read when the library is loaded, so they must be set before the interpreter starts.
"""

import json
import math
from collections.abc import Mapping
from fractions import Fraction

from cgexec._environ import parse_count, told_processes
from cgexec._limits import Limits

__all__ = ["FORMATS", "render", "variables"]

FORMATS = ("sh", "dotenv", "json")
_PER_CALL = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
# glibc makes up to eight arenas a CPU of the machine, and each keeps what was freed in it. Two is the common advice for
# small containers; more CPUs that allocate at once want more.
_LEAST_ARENAS = 2


def variables(limits: Limits, processes: int | None, callers: int, environ: Mapping[str, str]) -> dict[str, int]:
    """
    Return each variable and its value.

    A library call gets this process's part of the CPUs divided by those who call at the same time, rounded down and at
    least 1: threads in lock step wait for the one that is throttled.

    Raises:
        ValueError: *processes* or *callers* is no whole number from 1.
    """
    count = told_processes(environ)[0] if processes is None else parse_count(processes, name="processes")
    share = Fraction(str(limits.cpus)) / count
    each = max(1, math.floor(share / parse_count(callers, name="callers", what="callers")))
    return {
        **dict.fromkeys(_PER_CALL, each),
        "LOKY_MAX_CPU_COUNT": max(1, math.floor(share)),
        "MALLOC_ARENA_MAX": max(_LEAST_ARENAS, math.ceil(share)),
    }


def render(values: Mapping[str, int], form: str) -> str:
    """Return the variables in one of `FORMATS`, without a newline at the end."""
    if form == "json":
        return json.dumps({name: str(value) for name, value in values.items()}, indent=2)
    prefix = "export " if form == "sh" else ""
    return "\n".join(f"{prefix}{name}={value}" for name, value in values.items())
