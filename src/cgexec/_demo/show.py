"""Progress and the result, for people and for scripts. Plain text is complete; rich only draws nicer bars."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from cgexec._demo.arena import Arena
from cgexec._demo.contest import NAMES, Run
from cgexec._demo.work import WORKERS, Plan, specs
from cgexec._quantity import format_bytes

__all__ = ["as_dict", "headline", "progress", "result", "survived"]

_BAR = 24
_OURS = f'cgexec.ThreadPoolExecutor({WORKERS}, memory_fuse=True, on_memory_error="retry")'
_STOCK = f"concurrent.futures.ThreadPoolExecutor({WORKERS})"
Show = Callable[[Sequence[Run]], object]


def headline(plan: Plan, arena: Arena) -> str:
    """Return what is about to happen, and where."""
    batch = specs(plan)
    least, most = format_bytes(batch[0].size), format_bytes(batch[-1].size)
    lines = [
        f"{plan.tasks} tasks of {least} at first and {most} at last, {WORKERS} workers, {format_bytes(plan.memory)}",
        f"stock:  {_STOCK}",
        f"cgexec: {_OURS}",
    ]
    if arena.real:
        lines += ["limit: real, a cgroup each; above it the kernel kills", f"  {arena.why}"]
    else:
        lines += [
            "limit: SIMULATED with RLIMIT_DATA, nothing can be killed here; where a",
            "  container would be, an allocation fails, and the stock pool's run ends",
            f"  because: {arena.why}",
        ]
    return "\n".join(lines)


@contextmanager
def progress(plan: Plan, out: TextIO, *, bars: bool) -> Iterator[Show]:
    """
    Give a function that shows how far the runs are. With rich, if it is there; it honours NO_COLOR by itself.

    Args:
        plan: what is run.
        out: where to.
        bars: *out* is a terminal, and lines may be written over; else one line for every quarter of a batch.
    """
    if not bars:
        yield _Lines(out)
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
    except ImportError:
        yield _Bars(out, plan)
        return
    columns = (
        TextColumn("{task.description:<7}"),
        BarColumn(bar_width=_BAR),
        TextColumn("{task.completed:>5}/{task.total}"),
        TextColumn("{task.fields[memory]:>8}"),
        TextColumn("{task.fields[end]}"),
    )
    # No refreshing thread: the loop that follows the runs refreshes.
    with Progress(*columns, console=Console(file=out, highlight=False), auto_refresh=False) as drawn:
        ids = {name: drawn.add_task(name, total=plan.tasks, memory="", end="waiting") for name in NAMES}

        def show(runs: Sequence[Run]) -> None:
            for run in runs:
                ended = run.outcome is not None
                style = "" if not ended else "green" if _well(run) else "red"
                end = f"[{style}]{_ending(run)}[/]" if ended else f"{run.seconds:.1f} s"
                drawn.update(ids[run.name], completed=run.done, memory=format_bytes(_held(run)), end=end)
            drawn.refresh()

        yield show


class _Bars:
    """Two lines, written over with what every terminal understands."""

    def __init__(self, out: TextIO, plan: Plan) -> None:
        self._out, self._plan = out, plan
        self._lines = 0

    def __call__(self, runs: Sequence[Run]) -> None:
        if self._lines:
            self._out.write(f"\033[{self._lines}A")
        for run in runs:
            full = _BAR * run.done // self._plan.tasks
            bar = "#" * full + "." * (_BAR - full)
            end = _ending(run) if run.outcome else f"{run.seconds:.1f} s"
            counted = f"{run.done:>5}/{self._plan.tasks}"
            self._out.write(f"\r\033[K{run.name:<7} {bar} {counted} {format_bytes(_held(run)):>8} {end}\n")
        self._lines = len(runs)
        self._out.flush()


class _Lines:
    """A line now and then, for a log."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._said: dict[str, int] = {}

    def __call__(self, runs: Sequence[Run]) -> None:
        for run in runs:
            quarter = 5 if run.outcome else 4 * run.done // run.plan.tasks
            if quarter > self._said.get(run.name, 0):
                self._said[run.name] = quarter
                end = f", {_ending(run)}" if run.outcome else ""
                counted = f"{run.done:>5} of {run.plan.tasks}"
                self._out.write(f"{run.name:<7} {counted} {run.seconds:5.1f} s{end}\n")
                self._out.flush()


def _held(run: Run) -> int:
    """Return what it holds now, in bytes; when it has ended, the most that it ever held."""
    return run.outcome.peak if run.outcome else run.used


def _well(run: Run) -> bool:
    return run.outcome is not None and run.outcome.how == "completed"


def _ending(run: Run) -> str:
    assert run.outcome is not None
    words = {"completed": "all results there", "killed": "KILLED", "memory error": "OUT OF MEMORY"}
    return words.get(run.outcome.how, run.outcome.how)


def survived(runs: Sequence[Run]) -> bool:
    """Tell whether ours came through with every result."""
    return any(run.name == "cgexec" and _well(run) for run in runs)


def result(plan: Plan, arena: Arena, runs: Sequence[Run]) -> str:
    """Return what came of it."""
    lines = [f"{'':7} {'outcome':<17} {'results':>10} {'time':>7} {'peak':>8} {'most at once':>13}"]
    for run in runs:
        end = run.outcome
        assert end is not None
        counted = f"{end.done}/{plan.tasks}"
        numbers = f"{counted:>10} {end.seconds:>5.1f} s {format_bytes(end.peak):>8} {end.most_running:>13}"
        lines.append(f"{run.name:7} {_ending(run):<17} {numbers}")
    lines += ["", *_verdict(arena, {run.name: run for run in runs})]
    for run in runs:
        if run.outcome and run.outcome.how == "failed" and run.outcome.detail:
            lines.append(f"{run.name} said: {run.outcome.detail}")
    return "\n".join(lines)


def _verdict(arena: Arena, runs: dict[str, Run]) -> list[str]:
    stock, ours = runs["stock"].outcome, runs["cgexec"].outcome
    assert stock is not None
    assert ours is not None
    at = f"after {stock.seconds:.1f} s with {stock.done} results"
    said = {
        "killed": f"The kernel killed the stock pool's process {at}.",
        "memory error": f"The stock pool ran out of memory {at}.\nIn a container that is the kill.",
        "completed": "The stock pool came through, too: this machine was too slow to fill the limit.",
    }
    lines = [said.get(stock.how, f"The stock pool's run ended otherwise: {stock.how}.")]
    if ours.how == "completed":
        lines.append(f"cgexec's returned all {ours.done} results, with {format_bytes(ours.peak)} at most.")
        if ours.retries:
            lines.append(f"In {ours.retries} cases the fuse had an allocation fail, and the task was run again.")
    else:
        lines.append(f"cgexec's did NOT come through ({ours.how}). That is a bug: please report it.")
    if not arena.real:
        lines.append("This was the simulated limit; see above.")
    return lines


def as_dict(plan: Plan, arena: Arena, runs: Sequence[Run]) -> dict[str, object]:
    """Return it as plain JSON values: bytes and seconds."""
    pools = {}
    for run in runs:
        assert run.outcome is not None
        pools[run.name] = {**run.outcome._asdict(), "samples": [list(sample) for sample in run.samples]}
    return {
        "limit": {"real": arena.real, "kind": "cgroup" if arena.real else "RLIMIT_DATA", "why": arena.why},
        "memory_bytes": plan.memory,
        "tasks": plan.tasks,
        "workers": WORKERS,
        "pools": pools,
        "survived": survived(runs),
    }
