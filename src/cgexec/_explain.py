"""A sizing in words, for a person who has to believe it. Pure: values in, lines out."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from cgexec._limits import Limits
from cgexec._naming import cpu_bound, cpu_enforcement, memory_bound, memory_enforcement, seen_or_not
from cgexec._quantity import format_bytes, format_cpus
from cgexec._sizing import (
    CAP,
    PIDS_RESERVE,
    WORKERS_PER_CPU,
    Sizing,
    assumed_io_ratio,
    covered_by_cpus,
    gil_binds,
    memory_budget,
    per_worker,
    round_down,
    share_of,
    size,
)
from cgexec._usage import Usage
from cgexec._workload import NOISE, Workload

__all__ = ["explain", "term_lines", "verdict", "what_each_may_hold"]

# The numbers people try first; beside them the one that was found.
_USUAL = (8, 20, 50)
_LABELS = {
    "cpu": "CPU",
    "default_cap": "stock pool",
    "memory": "memory",
    "pids": "tasks (pids)",
    "address_space": "address space",
    "gil": "GIL",
    "cap": "cap",
}


def explain(sizing: Sizing, limits: Limits, usage: Usage, work: Workload) -> str:
    """Return the reasons for *sizing* as plain text."""
    sections = [
        [verdict(sizing, limits, usage, work)],
        ["Terms (the least binds)", *indented(term_lines(sizing, limits, usage, work))],
        ["What each worker may hold", *indented(what_each_may_hold(sizing, limits, usage, work))],
        ["Requests and limits", *indented(request_lines(sizing, limits, usage, work))],
        ["What would change the answer", *indented(change_lines(sizing, limits, usage, work))],
    ]
    if limits.notes:
        sections.append(["Notes", *indented(f"- {note}" for note in limits.notes)])
    return "\n\n".join("\n".join(lines) for lines in sections)


def indented(lines: "Iterator[str] | list[str]") -> list[str]:
    """Return the lines as the body of a section."""
    return [f"  {line}" for line in lines]


def workers(count: int) -> str:
    """Return a number of workers in words."""
    return f"{count} worker{'' if count == 1 else 's'}"


def verdict(sizing: Sizing, limits: Limits, usage: Usage, work: Workload) -> str:
    """Return the answer in one line: where to start, how far it may grow, and what is still open."""
    each = "" if work.processes == 1 else f" in each of {work.processes} processes"
    text = f"start {workers(sizing.max_workers)}{each}, may grow to {sizing.ceiling}"
    if not sizing.fits:
        return f"start 1 worker{each}, and even one task may not fit: memory is too small for it"
    if work.io_ratio is None and work.kind == "thread":
        waiting = size(limits, usage, work._replace(io_ratio=Fraction(9, 10))).max_workers
        if waiting > sizing.max_workers:  # of a tenth of a CPU it is less than the least of a guess
            text += f"; {waiting} if jobs wait 90 % of their time"
    return text


def term_lines(sizing: Sizing, limits: Limits, usage: Usage, work: Workload) -> Iterator[str]:
    """Yield one line a term: its value and how it came about."""
    how = {
        "cpu": _how_cpu(limits, work),
        "default_cap": f"no limit on CPUs {seen_or_not(limits)}, nothing is said about I/O: min(32, CPUs + 4)",
        "memory": _how_memory(limits, usage, work),
        "pids": _how_pids(limits, usage, work),
        "address_space": "RLIMIT_AS less what is mapped, by a thread's stack and memory",
        "gil": _how_gil(work),
        "cap": "never more",
    }
    for name, value in sizing.terms.items():
        if value is None and name in ("default_cap", "address_space"):
            continue
        number, reason = ("none", "no limit") if value is None else (str(value), how[name])
        yield f"{_LABELS[name]:<14}{number:>7}   {reason}{_mark(sizing, name)}"


def _mark(sizing: Sizing, name: str) -> str:
    bound = "cap" if name == "default_cap" else name
    value = sizing.terms[name]
    if sizing.bound_by == "floor":
        least = min(v for n, v in sizing.terms.items() if v is not None and n != "gil")
        why = "below what a pool can have" if least < 1 else "the least where nothing is said"
        return f"   <- {why}" if value == least and name != "gil" else ""
    return "   <- binds" if bound == sizing.bound_by and value == sizing.max_workers else ""


def _how_pids(limits: Limits, usage: Usage, work: Workload) -> str:
    used = usage.pids or 0
    # The level with the least room need not be the one with the least limit.
    allowed = limits.pids_limit if usage.pids_headroom is None else used + usage.pids_headroom
    return f"{allowed} tasks allowed, {used} in use, {PIDS_RESERVE} kept{_shared(work)}"


def _shared(work: Workload) -> str:
    return "" if work.processes == 1 else f", / {work.processes} processes"


def _how_cpu(limits: Limits, work: Workload) -> str:
    cpus = format_cpus(limits.cpus) + _shared(work)
    if work.io_ratio is not None:
        return f"{cpus} / {_share(1 - work.io_ratio)} of a CPU per task, rounded up"
    if work.kind == "process":
        return f"{cpus} x 1 (nothing said about I/O: processes are for work that computes), rounded up"
    return f"{cpus} x {WORKERS_PER_CPU} (nothing said about I/O: the rule of two to four a CPU), at least 2"


def _share(share: Fraction) -> str:
    return f"{float(share):.4g}"


def _how_memory(limits: Limits, usage: Usage, work: Workload) -> str:
    worker = per_worker(usage, work)
    said = "" if work.memory_per_task is not None else " assumed, nothing is said"
    left = memory_budget(limits, usage, work)
    if work.basis == "now":
        reserve = format_bytes(work.reserve_of(limits.memory_bytes))
        source = f"headroom now {format_bytes(usage.headroom_bytes)} less reserve {reserve}{_shared(work)}"
    else:
        limit = limits.memory_bytes if work.basis == "limit" else min(limits.memory_request or 0, limits.memory_bytes)
        held = "" if usage.process_bytes is None else f" less {format_bytes(usage.process_bytes)} held now"
        source = f"{format_bytes(limit)} less reserve {format_bytes(work.reserve_of(limit))}{_shared(work)}{held}"
    return f"{source} = {format_bytes(left)}, / {format_bytes(worker)} per worker{said}"


def _how_gil(work: Workload) -> str:
    said = _share(1 - assumed_io_ratio(work))
    if work.kind == "process":
        return "does not bind: each process has its own"
    if not work.gil:
        return "does not bind: this build runs without the GIL"
    if gil_binds(work):
        return f"1 CPU / {said} of a CPU per task: pure Python runs on one CPU at a time"
    return f"1 CPU / {said} of a CPU per task; would bind pure Python (releases_gil=False)"


def what_each_may_hold(sizing: Sizing, limits: Limits, usage: Usage, work: Workload) -> Iterator[str]:
    """Yield a small table: for some numbers of workers, each one's part of what limit and request leave."""
    limit_left = share_of(limits.memory_bytes, usage, work)
    request_left = None if limits.memory_request is None else share_of(limits.memory_request, usage, work)
    limited = limits.memory_bytes in (limits.memory_limit, limits.memory_high)
    head = f"{'workers':>7}   {'of the limit' if limited else 'of the memory':>14}"
    yield head + ("" if request_left is None else f"   {'of the request':>14}")
    for count in sorted({*_USUAL, sizing.max_workers}):
        row = f"{count:>7}   {_part(limit_left, count):>14}"
        if request_left is not None:
            row += f"   {_part(request_left, count):>14}"
        yield row + ("   <- max_workers" if count == sizing.max_workers else "")


def _part(left: int, count: int) -> str:
    return format_bytes(left // count) if left > 0 else "nothing"


def request_lines(sizing: Sizing, limits: Limits, usage: Usage, work: Workload) -> Iterator[str]:
    """Yield what the requests promise beside what the limits allow."""
    if limits.cpu_request is None and limits.memory_request is None:
        yield "The requests are not known: a container cannot see them. Tell them with CGEXEC_CPU_REQUEST and"
        yield "CGEXEC_MEMORY_REQUEST (Kubernetes' downward API gives both)."
        return
    covered = _covered(limits, usage, work)
    yield f"The requests cover {covered}; the recommendation is {workers(sizing.max_workers)}."
    if limits.cpu_request is not None:
        yield (
            f"CPU request {format_cpus(limits.cpu_request)}: what the scheduler promises when the node is busy, "
            f"not what a task uses. {cpu_enforcement(limits)}"
        )
        computing = 1 - assumed_io_ratio(work)
        if work.io_ratio is not None and Fraction(str(limits.cpu_request)) == computing:
            yield (
                f"That cpu_per_task and the CPU request are both {_share(computing)} means nothing: one is about a "
                "task, the other about the whole pod."
            )
    if limits.memory_request is not None:
        yield (
            f"Memory request {format_bytes(limits.memory_request)}: use above it is what gets a pod evicted when the "
            f"node runs short. {memory_enforcement(limits)}"
        )


def _covered(limits: Limits, usage: Usage, work: Workload) -> str:
    """Return in words how many workers each request covers, without the floor of one."""
    parts = []
    if limits.cpu_request is not None:
        parts.append(f"{_few(covered_by_cpus(limits.cpu_request, work))} by CPU")
    if limits.memory_request is not None:
        if work.memory_per_task is None:
            parts.append("an unknown number by memory (memory_per_task is not said)")
        else:
            count = max(0, share_of(limits.memory_request, usage, work) // per_worker(usage, work))
            parts.append(f"{workers(count)} by memory")
    return " and ".join(parts)


def _few(exact: Fraction) -> str:
    return f"{float(exact):.2g} of a worker" if exact < 1 - NOISE else workers(round_down(exact))


def change_lines(sizing: Sizing, limits: Limits, usage: Usage, work: Workload) -> Iterator[str]:
    """Yield what the answer would be if something else held; each number is computed, not guessed."""

    def number(other: Workload) -> int:
        return size(limits, usage, other).max_workers

    if work.io_ratio is None:
        waits = (0, 50, 90, 96)
        shares = ", ".join(f"{number(work._replace(io_ratio=Fraction(wait, 100)))} at {wait} %" for wait in waits)
        yield f"- what jobs wait for: io_ratio= or cpu_per_task= would give {shares} of waiting"
    if work.memory_per_task is None:
        heavy = number(work._replace(memory_per_task=200 << 20))
        yield f'- what a task holds: memory_per_task="200Mi" would give {heavy}'
    twice = replace(limits, memory_bytes=2 * limits.memory_bytes)
    roomier = replace(usage, headroom_bytes=usage.headroom_bytes + limits.memory_bytes)  # what is used stays the same
    others = [
        (f"twice {cpu_bound(limits)}", size(replace(limits, cpus=2 * limits.cpus), usage, work).max_workers),
        (f"twice {memory_bound(limits)}", size(twice, roomier, work).max_workers),
    ]
    if work.memory_per_task is not None:
        others.append(("half the memory per task", number(work._replace(memory_per_task=work.memory_per_task // 2))))
    if work.kind == "thread" and work.gil:
        held = "pure Python, which holds the GIL (releases_gil=False)"
        words = held if work.releases_gil else "tasks that release the GIL"
        others.append((words, number(work._replace(releases_gil=not work.releases_gil))))
    yield from (f"- {words}: {answer}" for words, answer in others if answer != sizing.max_workers)
    if work.processes == 1:
        yield f"- four processes in this container (processes=4): {number(work._replace(processes=4))} in each"
    if sizing.bound_by == "cap" and sizing.max_workers == CAP:
        yield f"- more than {CAP} threads: that is work for processes or for an event loop"
