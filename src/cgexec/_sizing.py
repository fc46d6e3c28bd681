"""
The arithmetic from limits to a number of workers. Pure, exact (fractions, rounded once at the end), no text.

The CPU term is Goetz' rule (Java Concurrency in Practice, 8.2): CPUs x (1 + wait / compute), which is CPUs / (1 - r)
with r = wait / (wait + compute).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from cgexec._limits import Limits
from cgexec._usage import Usage
from cgexec._workload import NOISE, Workload

__all__ = ["Sizing", "assumed_io_ratio", "covered_by_cpus", "memory_budget", "round_down", "size"]

Bound = Literal["cpu", "memory", "pids", "gil", "cap", "address_space", "floor"]

CAP = 1000
# Nothing said about I/O: the common rule is two to four workers a CPU; four is a task that waits three quarters of
# its time.
WORKERS_PER_CPU = 4
LEAST_BY_GUESS = 2
# What a thread costs before it does anything: touched stack, kernel stack, arena. Chosen by hand, on the safe side.
LEAST_PER_THREAD = 256 << 10
# What a worker process costs before it does anything: an interpreter with a few imports.
LEAST_PER_PROCESS = 32 << 20
# Tasks left for what the service starts beside its workers.
PIDS_RESERVE = 8
# glibc's usual stack for a thread. It is mapped, not touched, so it matters for RLIMIT_AS only.
STACK = 8 << 20
QUEUE_LEAST = 1024
QUEUE_PER_WORKER = 32


@dataclass(frozen=True, slots=True)
class Sizing:
    """
    How many workers.

    Attributes:
        max_workers: the number to use when it is fixed, and where an adaptive pool starts.
        ceiling: how far an adaptive pool may grow: the least of memory, tasks (pids) and cap. What is said or guessed
            about I/O does not lower it.
        min_workers: what the *requests* cover, which is what the scheduler promises; 1 if they are not known. Never
            above `max_workers`.
        queue_size: places for waiting items: 1024, or 32 for each worker if that is more.
        bound_by: the term that decided `max_workers`. ``"floor"``: the terms gave less than a pool can have.
        terms: every candidate, the losers too; None where nothing is limited. ``default_cap`` is the stock pool's size,
            used where nothing is known; ``address_space`` is RLIMIT_AS. The ``gil`` term is always there, whether it
            binds or not. Do not change it.
        fits: False if memory does not suffice for even one task.
    """

    max_workers: int
    ceiling: int
    min_workers: int
    queue_size: int
    bound_by: Bound
    terms: Mapping[str, int | None] = field(hash=False)
    fits: bool


def size(limits: Limits, usage: Usage, work: Workload) -> Sizing:
    """Return how many workers the limits allow for this work."""
    memory = _memory_term(limits, usage, work)
    terms: dict[str, int | None] = {
        "cpu": cpu_term(limits, work),
        "default_cap": _default_cap(limits, work),
        "memory": memory,
        "pids": _pids_term(limits, usage, work),
        "address_space": _address_space_term(limits, usage, work),
        "gil": _round_up(1 / (1 - assumed_io_ratio(work))),
        "cap": CAP,
    }
    binding = {name: value for name, value in terms.items() if value is not None and (name != "gil" or gil_binds(work))}
    # Between equals the first: a reader asks about CPUs before caps.
    name = min(binding, key=lambda key: binding[key])
    most = max(1, binding[name])
    ceiling = max(1, min(binding[key] for key in ("memory", "pids", "address_space", "cap") if key in binding))
    by_floor = binding[name] < 1 or (name == "cpu" and _raised_by_floor(limits, work))
    return Sizing(
        max_workers=most,
        ceiling=max(ceiling, most),
        min_workers=_min_workers(limits, usage, work, most),
        queue_size=max(QUEUE_LEAST, QUEUE_PER_WORKER * most),
        bound_by="floor" if by_floor else _bound(name),
        terms=terms,
        fits=memory >= 1,
    )


def _bound(name: str) -> Bound:
    for bound in ("cpu", "memory", "pids", "gil", "address_space"):
        if name == bound:
            return bound
    return "cap"


def gil_binds(work: Workload) -> bool:
    """Return whether one interpreter lock bounds these workers: threads, a build that has it, tasks that keep it."""
    return work.kind == "thread" and work.gil and not work.releases_gil


def assumed_io_ratio(work: Workload) -> Fraction:
    """Return the I/O ratio given, or the one that the rule for "nothing said" comes down to."""
    if work.io_ratio is not None:
        return work.io_ratio
    # A process pool is for work that computes; a thread pool rarely is.
    return Fraction(0) if work.kind == "process" else 1 - Fraction(1, WORKERS_PER_CPU)


def _exact(cpus: float) -> Fraction:
    # By way of the decimal it prints as: 2 / (1 - 0.96) is 50, not 49.99...
    return Fraction(str(cpus))


def _round_up(exact: Fraction) -> int:
    """Round up what is more than noise above a whole number: 2 / (1 / 3) is 6, though ``1 / 3`` is a little less."""
    return math.ceil(exact * (1 - NOISE))


def round_down(exact: Fraction) -> int:
    """Round down what is more than noise below a whole number."""
    return math.floor(exact * (1 + NOISE))


def covered_by_cpus(cpus: float, work: Workload) -> Fraction:
    """Return how many workers so many CPUs keep going in each process."""
    return _exact(cpus) / work.processes / (1 - assumed_io_ratio(work))


def cpu_term(limits: Limits, work: Workload) -> int:
    """Return how many workers keep the CPUs busy, rounded up: the last one is a part-time worker."""
    return max(_round_up(covered_by_cpus(limits.cpus, work)), LEAST_BY_GUESS if _is_guess(work) else 1)


def _is_guess(work: Workload) -> bool:
    return work.io_ratio is None and work.kind == "thread"


def _raised_by_floor(limits: Limits, work: Workload) -> bool:
    return _is_guess(work) and _exact(limits.cpus) / work.processes * WORKERS_PER_CPU <= LEAST_BY_GUESS - 1


def _default_cap(limits: Limits, work: Workload) -> int | None:
    """Return the stock pool's size where we know no more than it does: no limit on CPUs, nothing said of I/O."""
    if limits.cpus_bound or not _is_guess(work):
        return None
    return min(32, math.ceil(limits.cpus) + 4)


def memory_budget(limits: Limits, usage: Usage, work: Workload) -> int:
    """Return the bytes that this process's workers may hold together; negative if there is no room even now."""
    if work.basis == "now":
        return math.floor(Fraction(usage.headroom_bytes - work.reserve_of(limits.memory_bytes), work.processes))
    limit = limits.memory_bytes
    if work.basis == "request":
        assert limits.memory_request is not None, "checked where the arguments come in"
        limit = min(limits.memory_request, limit)
    return share_of(limit, usage, work)


def share_of(limit: int, usage: Usage, work: Workload) -> int:
    """Return this process's part of *limit* bytes, less the reserve and what the process holds anyway."""
    return math.floor(Fraction(limit - work.reserve_of(limit), work.processes)) - (usage.process_bytes or 0)


def per_worker(usage: Usage, work: Workload) -> int:
    """Return what a worker counts in memory: the estimate, and never less than a bare worker costs."""
    if work.kind == "process":
        # A forked or spawned worker comes to hold what this process holds: imports, and pages it writes to.
        return work.memory_per_task or max(LEAST_PER_PROCESS, usage.process_bytes or 0)
    return max(work.memory_per_task or 0, LEAST_PER_THREAD)


def _memory_term(limits: Limits, usage: Usage, work: Workload) -> int:
    return max(0, memory_budget(limits, usage, work) // per_worker(usage, work))


def _pids_term(limits: Limits, usage: Usage, work: Workload) -> int | None:
    if limits.pids_limit is None:
        return None
    left = usage.pids_headroom
    if left is None:
        left = limits.pids_limit - (usage.pids or 0)
    return max(0, (left - PIDS_RESERVE) // work.processes)


def _address_space_term(limits: Limits, usage: Usage, work: Workload) -> int | None:
    """Return how many threads fit under RLIMIT_AS, which is this process's own and no other's."""
    if limits.address_space_limit is None or work.kind != "thread":
        return None
    left = limits.address_space_limit - (usage.process_address_space or 0)
    return max(0, left // (STACK + per_worker(usage, work)))


def _min_workers(limits: Limits, usage: Usage, work: Workload, most: int) -> int:
    """Return how many workers the requests cover, rounded down: the scheduler promises no more."""
    covered: list[int] = []
    if limits.cpu_request is not None:
        covered.append(round_down(covered_by_cpus(limits.cpu_request, work)))
    if limits.memory_request is not None and work.memory_per_task is not None:
        covered.append(share_of(limits.memory_request, usage, work) // per_worker(usage, work))
    return max(1, min([*covered, most])) if covered else 1
