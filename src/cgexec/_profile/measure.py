"""Runs a function in a fresh process for each level, and watches it from outside, where no lock of its stands."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import IO, Any, NamedTuple

from cgexec._kernel.files import Files
from cgexec._kernel.parse import parse_kib_table
from cgexec._profile.evaluate import Level, stop_reason, worth_keeping
from cgexec._usage import usage

__all__ = ["INTERRUPTED", "Task", "climb"]

INTERRUPTED = "interrupted"
_LOOK_S = 0.01
# Beyond what its calls should take a level gets so much, in seconds.
_PATIENCE_S = 30.0
# What a call takes is not known before the first; one that takes so many budgets alone may be one that never ends.
_BUDGETS = 3
# Some errors are pages long, and this one is part of a sentence.
_LONGEST_ERROR = 160
_KEYS = frozenset({"RssAnon", "RssShmem", "VmRSS"})


class Task(NamedTuple):
    """What to call: ``module:function`` and its arguments; *seconds* a level."""

    target: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    seconds: float = 2.0


class _Call(NamedTuple):
    """What a child says of a level, and what was seen of it: each look's time and size beyond *base*, in bytes."""

    tallies: list[tuple[int, float, float, float, float, float, list[list[float]]]]
    gil: float | None
    looks: list[tuple[float, int]]
    base: int


def climb(
    task: Task, ladder: Sequence[int], budget_s: float, told: Callable[[int, Sequence[Level]], object]
) -> tuple[list[Level], str]:
    """
    Measure one level after the other, and return them and why no more were; `INTERRUPTED` if that was why.

    Args:
        task: what to call.
        ladder: the levels, the first of them 1.
        budget_s: seconds that all of it should take.
        told: called before each level with its number of workers and what was measured before.

    Raises:
        ValueError: there is no such function, or called alone it raises, or is not over in time.
        KeyboardInterrupt: before the first level was over.
    """
    levels: list[Level] = []
    try:
        return levels, _climb(task, ladder, budget_s, told, levels)
    except KeyboardInterrupt:
        if not levels:
            raise
        return levels, INTERRUPTED


def _climb(
    task: Task,
    ladder: Sequence[int],
    budget_s: float,
    told: Callable[[int, Sequence[Level]], object],
    levels: list[Level],
) -> str:
    """Add to *levels* one after the other; return why no more."""
    begin = time.monotonic()
    for workers in ladder:
        why = stop_reason(levels, workers, usage().headroom_bytes, budget_s - (time.monotonic() - begin))
        if why:
            return why
        told(workers, levels)
        call_s = 3 * (workers + 1) * levels[0].wall if levels else _BUDGETS * budget_s
        levels.append(_measure(task, workers, task.seconds + call_s + _PATIENCE_S))
        if levels[0].ended:
            raise ValueError(f"{task.target}, called alone: {levels[0].ended}")
    last = levels[-1]
    return f"{last.workers} workers: {last.ended}" if last.ended else f"{ladder[-1]} is the most to try"


def _measure(task: Task, workers: int, patience: float) -> Level:
    """*patience*: so many seconds for the call that warms up, and again for what is measured."""
    # What a program writes there may be no text.
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        _child(task, workers, errors) as child,
    ):
        try:
            said = _line(child, _Deadline(patience), None)
            if "error" in said:
                return _raised(task, workers, said)
            held, counted = _held(child.pid), usage()
            looks: list[tuple[float, int]] = []
            _start(child)
            answer = _line(child, _Deadline(patience), looks)
            after = usage()
        except TimeoutError:
            if workers == 1:
                raise ValueError(
                    f"{task.target}, called alone: not over after {patience:.0f} s; "
                    "if a call takes longer, pass a larger --budget"
                ) from None
            return Level(workers, ended=f"not over after {patience:.0f} s")
        except EOFError:
            child.wait()
            errors.seek(0)
            return Level(workers, ended=_death(child.returncode, errors.read()))
    if "error" in answer:
        return _raised(task, workers, answer)
    call = _Call(answer["tallies"], answer["gil"], [(when, max(0, size - held)) for when, size in looks], held)
    return _level(workers, call, _share(after.nr_throttled, counted.nr_throttled, after.nr_periods, counted.nr_periods))


def _start(child: "subprocess.Popen[bytes]") -> None:
    """
    Tell the child to go on.

    Raises:
        EOFError: it has ended.
    """
    assert child.stdin is not None, "it is a pipe"
    try:
        os.write(child.stdin.fileno(), b"\n")  # not through its buffer, which would be written once more at the end
    except BrokenPipeError:  # the command line would take it for its own reader's
        raise EOFError from None


def _raised(task: Task, workers: int, said: dict[str, Any]) -> Level:
    """
    Return the level that an error of the function's ended, such as that of a database with too few connections.

    Raises:
        ValueError: it raises alone as well, or cannot be called at all.
    """
    if said["ours"] or workers == 1:
        raise ValueError(said["error"] if said["ours"] else f"{task.target} raised {said['error']}")
    return Level(workers, ended=f"raised {shorten(said['error'], _LONGEST_ERROR, placeholder=' ...')}")


def _share(after: int | None, before: int | None, periods: int | None, periods_before: int | None) -> float | None:
    if after is None or before is None or not periods or periods_before is None or periods <= periods_before:
        return None
    return (after - before) / (periods - periods_before)


def _level(workers: int, call: _Call, throttled: float | None) -> Level:
    calls = sum(tally[0] for tally in call.tallies)
    wall = sum(tally[1] for tally in call.tallies) / calls
    peaks: tuple[int, ...] = ()
    if workers == 1 and worth_keeping(wall):
        intervals = call.tallies[0][6]
        peaks = tuple(
            max((size for when, size in call.looks if begin <= when <= end), default=0) for begin, end in intervals
        )
    return Level(
        workers=workers,
        calls=calls,
        # Each worker's own rate: the last call of one may end long after those of the others.
        throughput=sum(tally[0] / tally[1] for tally in call.tallies if tally[1]),
        wall=wall,
        cpu=sum(tally[2] for tally in call.tallies) / calls,
        queued=sum(tally[3] for tally in call.tallies) / calls,
        gil=call.gil,
        base=call.base,
        memory=max((size for _, size in call.looks), default=0),
        peaks=peaks,
        throttled=throttled,
    )


@contextmanager
def _child(task: Task, workers: int, errors: IO[str]) -> Iterator["subprocess.Popen[bytes]"]:
    told = {
        "target": task.target,
        "args": task.args,
        "kwargs": task.kwargs,
        "workers": workers,
        "seconds": task.seconds,
    }
    command = [sys.executable, "-m", "cgexec._profile.child", json.dumps(told)]
    try:
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603  # ourselves
    except OSError as error:  # arguments of more than the system takes, or no process left
        raise ValueError(f"{task.target}: no process could be started for it: {error.strerror or error}") from None
    with started as child:
        try:
            _volunteer(child.pid)
            yield child
        finally:
            child.kill()
            child.wait()  # an interrupted `with` would go without


def _volunteer(pid: int) -> None:
    """Have the kernel kill the child rather than us, should memory not suffice."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123  # no file of ours
            file.write("1000")
    except OSError:
        pass


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise TimeoutError


def _line(child: "subprocess.Popen[bytes]", deadline: _Deadline, looks: list[tuple[float, int]] | None) -> Any:
    """Return the child's next line, having looked at what it holds meanwhile."""
    assert child.stdout is not None, "it is a pipe"
    data = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not data.endswith(b"\n"):
            deadline.check()
            if looks is not None:
                looks.append((time.monotonic(), _held(child.pid)))
            if selector.select(_LOOK_S):
                more = os.read(child.stdout.fileno(), 65536)
                if not more:
                    raise EOFError
                data += more
    return json.loads(data)


def _held(pid: int) -> int:
    """Return what a process holds and cannot give back, in bytes; 0 once it is gone."""
    text = Files("/").text(f"/proc/{pid}/status")
    if text is None:
        return _held_elsewhere(pid)
    sizes = parse_kib_table(text, _KEYS)
    return sizes["RssAnon"] + sizes.get("RssShmem", 0) if "RssAnon" in sizes else sizes.get("VmRSS", 0)


def _held_elsewhere(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _death(status: int, errors: str) -> str:
    if status == -9:
        return "killed, most likely for memory"
    last = errors.strip().rpartition("\n")[2]
    return f"ended with status {status}" + (f" ({last})" if last else "")
