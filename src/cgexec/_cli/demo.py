"""``demo``: the stock pool beside ours under a memory limit. Unlike the other commands it starts processes."""

import argparse
import json
import os
import sys
from typing import Any, TextIO

from cgexec._cli.seconds import seconds
from cgexec._demo import plot, show
from cgexec._demo.arena import Arena, open_arena
from cgexec._demo.contest import Run, contest
from cgexec._demo.work import Plan
from cgexec._quantity import parse_bytes
from cgexec._signals import signals_interrupt
from cgexec._usage import usage

__all__ = ["add_parser"]

# Below that the interpreter and the pool's margin leave no room for tasks.
_LEAST = 96 << 20
_INTERRUPTED = 130


def add_parser(commands: Any) -> None:  # Any: argparse has no public name for what add_subparsers returns
    """Add the command."""
    demo = commands.add_parser("demo", help="the stock pool beside ours under a memory limit, in half a minute")
    demo.add_argument("--memory", default="192Mi", metavar="SIZE", help="the limit (default: 192Mi, least: 96Mi)")
    demo.add_argument("--seconds", type=seconds(1, 600), default=20.0, metavar="S", help="about how long (default: 20)")
    demo.add_argument("--simulate", action="store_true", help="make no cgroup: RLIMIT_DATA stands in for the limit")
    demo.add_argument("--plot", metavar="FILE", help='write a picture, .svg or .png (needs "cgexec[plot]")')
    demo.add_argument("--json", action="store_true", help="print JSON, with every sample")
    demo.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    plan = Plan(parse_bytes(arguments.memory, name="--memory", least=_LEAST), arguments.seconds)
    if arguments.plot is not None:
        plot.check(arguments.plot)
    room = usage().headroom_bytes
    out = sys.stderr if arguments.json else sys.stdout
    try:
        with signals_interrupt():
            arena = open_arena(simulate=arguments.simulate, room=room, memory=plan.memory)
            runs = _contest(plan, arena, room, out)
    except KeyboardInterrupt:
        sys.stderr.write("cgexec-py: interrupted; both runs were ended\n")
        return _INTERRUPTED
    print(json.dumps(show.as_dict(plan, arena, runs)) if arguments.json else f"\n{show.result(plan, arena, runs)}")
    if arguments.plot is not None:
        plot.draw(arguments.plot, plan, arena, runs)
    return 0 if show.survived(runs) else 1


def _contest(plan: Plan, arena: Arena, room: int, out: TextIO) -> tuple[Run, ...]:
    # A simulated limit is told to our pool as what others use and so much more: nobody else may start or end meanwhile.
    together = arena.real and room >= 2 * plan.memory + (64 << 20)
    bars = out.isatty() and os.environ.get("TERM") != "dumb"
    try:
        print(show.headline(plan, arena), file=out, flush=True)
        with show.progress(plan, out, bars=bars) as follow:
            return contest(plan, arena, together=together, show=follow)
    finally:
        arena.close()
