"""The report: everything gathered once, then text or JSON from the same values."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from cgexec import __version__
from cgexec._advice import advice, throttled_share
from cgexec._cli.formats import as_dict
from cgexec._cli.processes import find_siblings
from cgexec._explain import indented, term_lines, verdict, what_each_may_hold
from cgexec._kernel.files import Files
from cgexec._kernel.host import Host, read_host
from cgexec._limits import Limits
from cgexec._naming import limit_of_use, memory_bound, seen_or_not
from cgexec._plain import plain_lines
from cgexec._quantity import format_bytes
from cgexec._recommend import Recommendation

__all__ = ["PythonView", "Report", "python_view", "render", "take_report"]


@dataclass(frozen=True, slots=True)
class PythonView:
    """What the interpreter believes: its CPU counts, and the size of the pool it would make."""

    cpu_count: int
    process_cpu_count: int | None  # None before 3.13
    stock_pool: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown. *host* and *python* are None for a container one is not in."""

    recommendation: Recommendation
    host: Host | None
    python: PythonView | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Return plain JSON values. Keys may be added from version to version."""
        answer = self.recommendation
        return {
            "cgexec": __version__,
            "verdict": verdict(answer, answer.limits, answer.usage, answer.workload),
            "limits": asdict(answer.limits),
            "usage": asdict(answer.usage),
            "host": None if self.host is None else {"cpus": self.host.cpus, "memory_bytes": self.host.memory_bytes},
            "python": None if self.python is None else asdict(self.python),
            "recommendation": as_dict(answer),
            "notes": list(self.notes),
        }


def python_view() -> PythonView:
    """Return what this interpreter believes, by its own rules."""
    asked = getattr(os, "process_cpu_count", None)
    count = os.cpu_count() or 1
    process_count = None if asked is None else asked()
    # ThreadPoolExecutor's documented default: os.process_cpu_count() from 3.13 on, os.cpu_count() before.
    return PythonView(count, process_count, min(32, (process_count or count) + 4))


def take_report(recommendation: Recommendation, root: str | None) -> Report:
    """Return the report on *recommendation*; *root* is where it was read, None if it was stated."""
    here = root == "/"
    files = Files("/" if root is None else root)
    siblings = find_siblings(files) if here else ()
    limits, usage = recommendation.limits, recommendation.usage
    notes = (
        *limits.notes,
        *usage.notes,
        *advice(limits, usage, recommendation, recommendation.workload, siblings),
    )
    return Report(
        recommendation,
        host=None if root is None else read_host(files),
        python=python_view() if here else None,
        notes=tuple(dict.fromkeys(notes)),
    )


def render(report: Report, *, bold: bool = False) -> str:
    """Return the report for a person. It is complete without colour."""
    answer = report.recommendation
    parts = (answer, answer.limits, answer.usage, answer.workload)
    first = verdict(*parts)
    sections = [
        [first],
        list(limit_table(report)),
        ["In use now", *indented(use_lines(report))],
        ["Workers (the least term binds)", *indented(term_lines(*parts))],
        ["What each worker may hold", *indented(what_each_may_hold(*parts))],
    ]
    if report.python is not None:
        sections.insert(2, ["What Python believes", *indented(python_lines(report.python))])
    if answer.usage.sources == {}:
        sections = [section for section in sections if section[0] != "In use now"]
    if report.notes:
        sections.append(["Notes", *indented([f"- {note}" for note in report.notes])])
    shown = plain_lines("\n\n".join("\n".join(lines) for lines in sections))
    return f"\033[1m{first}\033[0m{shown.removeprefix(first)}" if bold else shown


def limit_table(report: Report) -> Iterator[str]:
    """Yield limit, request and what Python sees beside each other, and which file binds."""
    limits, host, python = report.recommendation.limits, report.host, report.python
    source = limits.sources.get
    seen = None if python is None else python.process_cpu_count or python.cpu_count
    rows = [
        ("", "limit", "request", "Python sees", "bound by"),
        ("CPUs", f"{limits.cpus:.4g}", _cpus(limits.cpu_request), _cpus(seen), _bound(limits)),
        (
            "memory",
            format_bytes(limits.memory_bytes),
            _size(limits.memory_request),
            _size(None if host is None else host.memory_bytes),
            source("memory_bytes", ""),
        ),
        (
            "tasks (pids)",
            _count(limits.pids_limit),
            "-",
            "-",
            source("pids_limit", "") if limits.pids_limit is not None else "-",
        ),
    ]
    if limits.swap_limit is not None:
        rows.append(("swap", format_bytes(limits.swap_limit), "-", "-", source("swap_limit", "")))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(row[n].rjust(widths[n]) for n in (1, 2, 3))]
        yield f"  {'   '.join(cells)}   {row[4]}".rstrip()


def _bound(limits: Limits) -> str:
    source = limits.sources.get("cpus", "")
    return f"no limit {seen_or_not(limits)}: all CPUs of the host" if source == "host" else source


def _cpus(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _size(value: int | None) -> str:
    return "-" if value is None else format_bytes(value)


def _count(value: int | None) -> str:
    return "none" if value is None else str(value)


def python_lines(view: PythonView) -> Iterator[str]:
    """Yield what the interpreter would go by."""
    asked = "not in this version" if view.process_cpu_count is None else str(view.process_cpu_count)
    yield f"os.cpu_count() {view.cpu_count}, os.process_cpu_count() {asked}"
    yield f"the stock ThreadPoolExecutor would start up to {view.stock_pool} threads"


def use_lines(report: Report) -> Iterator[str]:
    """Yield what is used now, and what is not counted."""
    limits, usage = report.recommendation.limits, report.recommendation.usage
    limit = limit_of_use(limits.memory_bytes, usage.level_limit, is_own=usage.level_is_own)
    share = usage.memory_bytes / limit if limit else 1.0
    same = limit == limits.memory_bytes
    whole = memory_bound(limits) if same else f"{format_bytes(limit)}, the limit of the level with the least room"
    yield f"memory        {format_bytes(usage.memory_bytes):>9}   {share:.0%} of {whole}; cannot be reclaimed"
    yield f"working set   {format_bytes(usage.working_set_bytes):>9}   what kubectl top shows"
    yield f"page cache    {format_bytes(usage.page_cache_bytes):>9}   not counted: given back when memory is needed"
    yield f"headroom      {format_bytes(usage.headroom_bytes):>9}   {usage.sources.get('headroom_bytes', '')}"
    if usage.pids is not None:
        yield f"tasks         {usage.pids:>9}   threads count"
    throttled = throttled_share(usage)
    if throttled is not None:
        yield f"throttled     {throttled:>9.0%}   of {usage.nr_periods} periods, {usage.throttled_seconds:.1f} s in all"
    for name, value, words in (
        ("stalls", usage.psi_memory_full, "all tasks waited for memory (PSI)"),
        ("CPU waits", usage.psi_cpu_some, "some task waited for a CPU (PSI)"),
    ):
        if value is not None:
            yield f"{name:<13} {value:>7.1f} s   {words}"
    if usage.oom_kills:
        yield f"OOM kills     {usage.oom_kills:>9}   since this cgroup was made"
