"""`Workload`: what the caller says about the tasks and the service, checked and exact. Pure."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

from cgexec._environ import parse_count, parse_reserve, told_processes, told_reserve
from cgexec._quantity import parse_bytes, parse_exact

__all__ = ["LEAST_PER_TASK", "NOISE", "Basis", "Kind", "Workload", "parse_memory", "workload"]

Kind = Literal["thread", "process"]
Basis = Literal["limit", "now", "request"]

# A smaller estimate is a missing suffix: memory_per_task=200 for "200Mi".
LEAST_PER_TASK = 1024
# The share of the limit that is left for what no estimate covers (other threads, caches, fragmentation, a burst), and
# its least in bytes. Chosen by hand: Erigon measured 20 % as best, automemlimit takes 10 %, Temporal advises 20 %.
RESERVE_SHARE = Fraction(15, 100)
LEAST_RESERVE = 32 << 20
# What a share such as 1 / 3 lacks as a float of sixteen digits, and far below what any measured share is worth.
NOISE = Fraction(1, 10**12)


class Workload(NamedTuple):
    """
    What is known about the tasks; None is "nothing said".

    *io_ratio* is the share of a task's time in which it needs no CPU, from 0 up to (not including) 1. *reserve* is a
    share of the limit (a Fraction below 1) or bytes.
    """

    io_ratio: Fraction | None = None
    memory_per_task: int | None = None
    releases_gil: bool = True
    gil: bool = True
    processes: int = 1
    processes_source: str = "one process"
    kind: Kind = "thread"
    reserve: Fraction | int | None = None
    basis: Basis = "limit"

    def reserve_of(self, limit: int) -> int:
        """Return how many bytes of *limit* stay free."""
        if self.reserve is None:
            return max(math.floor(limit * RESERVE_SHARE), LEAST_RESERVE)
        return math.floor(limit * self.reserve) if isinstance(self.reserve, Fraction) else self.reserve


def workload(
    *,
    memory_per_task: str | float | None = None,
    io_ratio: float | None = None,
    cpu_per_task: float | None = None,
    releases_gil: bool = True,
    gil: bool = True,
    processes: int | None = None,
    kind: str = "thread",
    reserve: str | float | None = None,
    basis: str = "limit",
    environ: Mapping[str, str],
) -> Workload:
    """
    Return the arguments of `cgexec.recommend`, checked; what is not given is taken from *environ*.

    Raises:
        ValueError: an argument is out of range or contradicts another; the text shows the right form.
    """
    if kind not in get_args(Kind):
        raise ValueError(f'kind={kind!r}: expected "thread" or "process"')
    if basis not in get_args(Basis):
        raise ValueError(f'basis={basis!r}: expected "limit", "now" or "request"')
    count, source = (
        told_processes(environ) if processes is None else (parse_count(processes, name="processes"), "processes=")
    )
    return Workload(
        io_ratio=_io_ratio(io_ratio, cpu_per_task),
        memory_per_task=None if memory_per_task is None else parse_memory("memory_per_task", memory_per_task),
        releases_gil=releases_gil,
        gil=gil,
        processes=count,
        processes_source=source,
        kind="process" if kind == "process" else "thread",
        reserve=told_reserve(environ) if reserve is None else parse_reserve(reserve, name="reserve"),
        basis="now" if basis == "now" else "request" if basis == "request" else "limit",
    )


def parse_memory(name: str, value: str | float) -> int:
    """
    Return what a task needs, in bytes.

    Raises:
        ValueError: it is no quantity, or so little that its suffix must be missing.
    """
    return parse_bytes(value, name=name, least=LEAST_PER_TASK)


def _io_ratio(io_ratio: float | None, cpu_per_task: float | None) -> Fraction | None:
    """Return the I/O ratio from either spelling; both may be given if they say the same."""
    waiting = None if io_ratio is None else _share(io_ratio, "io_ratio")
    computing = None if cpu_per_task is None else _share(cpu_per_task, "cpu_per_task")
    if waiting == 1:
        raise ValueError(
            "io_ratio=1: a task that never computes needs no worker; expected a share below 1, such as 0.99"
        )
    if computing == 0:
        raise ValueError(
            "cpu_per_task=0: a task that never computes needs no worker; expected a share above 0, such as 0.01"
        )
    if waiting is not None and computing is not None and abs(waiting + computing - 1) > NOISE:
        raise ValueError(
            f"io_ratio={io_ratio} and cpu_per_task={cpu_per_task} contradict each other: cpu_per_task is 1 - io_ratio; "
            f"pass one of them, for instance io_ratio={float(1 - computing):g}"
        )
    if waiting is None and computing is not None:
        waiting = 1 - computing
    return waiting


def _share(value: float, name: str) -> Fraction:
    try:
        exact = parse_exact(value)
    except ValueError:
        raise ValueError(f"{name}={value!r}: expected a share from 0 to 1, such as 0.9") from None
    if exact > 1:
        percent = f"; {value} % is {float(exact / 100):g}" if exact <= 100 else ""
        raise ValueError(f"{name}={value!r}: expected a share from 0 to 1, such as 0.9{percent}")
    return exact
