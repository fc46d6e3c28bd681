"""``profile``: run a function alone and beside itself, and say how many workers it is worth."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cgexec._cli.seconds import seconds
from cgexec._limits import limits
from cgexec._profile.evaluate import Level, evaluate, ladder
from cgexec._profile.measure import INTERRUPTED, Task, climb
from cgexec._profile.plot import check, plot
from cgexec._profile.report import as_dict, render
from cgexec._recommend import gil_enabled
from cgexec._signals import signals_interrupt
from cgexec._usage import usage

__all__ = ["add", "run"]

_ON_INTERRUPT = 130
_Told = Callable[[int, Sequence[Level]], object]


def add(commands: Any) -> None:  # Any: argparse has no public name for what add_subparsers returns
    """Add the command to the parser."""
    parser = commands.add_parser("profile", help="run a function beside itself, and say how many workers it is worth")
    parser.add_argument("target", metavar="MODULE:FUNCTION", help="imported as python -m would, from this folder")
    parser.add_argument(
        "--args", nargs="*", default=[], metavar="VALUE", help="its arguments: JSON, or else taken as text"
    )
    parser.add_argument("--kwargs", default="{}", metavar="JSON", help='its keyword arguments, such as {"size": 3}')
    parser.add_argument(
        "--seconds", type=seconds(0.05, 3600), default=2.0, metavar="S", help="time a level (default: 2)"
    )
    parser.add_argument("--most", type=int, default=64, metavar="N", help="the most workers to try (default: 64)")
    parser.add_argument(
        "--budget", type=seconds(), default=120.0, metavar="S", help="begin no level after so long (default: 120)"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw it: .svg, .png or .pdf (extra plot)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Profile, and return the exit status: 1 if memory does not suffice for one call, 130 if interrupted."""
    try:
        with signals_interrupt():
            return _profile(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("cgexec-py: interrupted\n")
        return _ON_INTERRUPT


def _profile(arguments: argparse.Namespace) -> int:
    """Measure, and print what follows, also from the levels before an interruption."""
    task = Task(
        arguments.target, [_value(text) for text in arguments.args], _kwargs(arguments.kwargs), arguments.seconds
    )
    if not 1 <= arguments.most <= 1000:
        raise ValueError(f"--most {arguments.most}: expected from 1 to 1000")
    steps = ladder(arguments.most)
    if arguments.plot is not None:
        check(arguments.plot)
    with _progress(steps) as told:
        levels, stopped = climb(task, steps, arguments.budget, told)
    result = evaluate(levels, stopped, limits(), usage(), gil=gil_enabled())
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if arguments.json:
        print(json.dumps(as_dict(task.target, result), indent=2))
    else:
        print(render(task.target, result, bold=bold))
    if arguments.plot is not None:
        plot(task.target, result, arguments.plot)
    if stopped == INTERRUPTED:
        return _ON_INTERRUPT
    return 0 if result.recommendation.fits else 1


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise ValueError(f"{_start(text)}: nested too deep to be an argument") from None


def _start(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _kwargs(text: str) -> dict[str, Any]:
    value = _value(text)
    if not isinstance(value, dict):
        raise ValueError(f'--kwargs {_start(text)}: expected a JSON object, such as {{"size": 3}}')
    return value


@contextlib.contextmanager
def _progress(steps: Sequence[int]) -> Iterator[_Told]:
    """Show on a terminal how far it is; nothing elsewhere. With rich a bar, without it a line for each level."""
    if not sys.stderr.isatty():
        yield lambda workers, levels: None  # noqa: ARG005  # nobody looks
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield lambda workers, levels: sys.stderr.write(f"{_words(workers, levels)}\n")
        return
    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        level = bar.add_task("starting", total=len(steps))
        yield lambda workers, levels: bar.update(level, description=_words(workers, levels), completed=len(levels))


def _words(workers: int, levels: Sequence[Level]) -> str:
    best = max((level.throughput for level in levels), default=0.0)
    return f"{workers} worker{'' if workers == 1 else 's'}" + (f", best so far {best:.4g} calls/s" if levels else "")
