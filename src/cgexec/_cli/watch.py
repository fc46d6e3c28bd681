"""``watch``: a live view of this container, or of a running service's pools."""

import argparse
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cgexec._cli.seconds import seconds
from cgexec._extras import MissingExtra
from cgexec._pool.served import VARIABLE, snapshot
from cgexec._watch.draw import as_rich, as_text
from cgexec._watch.frame import Frame, make_frame
from cgexec._watch.source import fetch, sockets

__all__ = ["add", "run"]

_Said = list[dict[str, Any]]


def add(commands: Any) -> None:  # Any: argparse has no public name for what add_subparsers returns
    """Add the command to the parser."""
    parser = commands.add_parser("watch", help="a live view of this container, or of a running service's pools")
    parser.add_argument(
        "socket", nargs="?", default=os.environ.get(VARIABLE), metavar="SOCKET",
        help=f"what the service gave cgexec.serve_stats(): a socket, or a folder of them (default: {VARIABLE}; "
        "without both: this container alone)",
    )  # fmt: skip
    parser.add_argument(
        "--interval", type=seconds(0.1, 3600), default=1.0, metavar="S", help="seconds between two looks"
    )
    parser.add_argument("--once", action="store_true", help="look once and end")
    parser.add_argument("--json", action="store_true", help="print JSON, a line for each look")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show it until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        if arguments.json:
            _print_json(arguments)
        elif arguments.once or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
            _print_text(arguments)
        else:
            _draw(arguments)
    return 0


def _looks(arguments: argparse.Namespace) -> Iterator[_Said]:
    """Return what is said at each look; nothing where somebody was there before, and is not now."""
    answered = False
    while True:
        try:
            said = _look(arguments.socket)
        except ValueError:  # a service that restarts comes back; one that was never there may be a mistyped name
            if not answered:
                raise
            said = []
        answered = True
        yield said
        if arguments.once:
            return
        time.sleep(arguments.interval)


def _look(place: str | None) -> _Said:
    """Return what each process says; of several, those that have ended meanwhile are left out."""
    if not place:
        return [snapshot()]
    said, troubles = [], []
    for path in sockets(place):
        try:
            said.append(fetch(path))
        except ValueError as error:
            troubles.append(error)
    if not said:
        raise troubles[0]
    return said


def _frames(arguments: argparse.Namespace) -> Iterator[Frame]:
    before: _Said = []
    frame: Frame | None = None
    for said in _looks(arguments):
        clock = time.strftime("%H:%M:%S")
        if said:
            frame = make_frame(said, before, where=_where(arguments.socket, said), clock=clock)
            before = said
        elif frame is not None and not frame.notice:
            frame = frame._replace(notice=f"not answering since {clock}; its last numbers were:")
        if frame is not None:
            yield frame


def _where(place: str | None, said: _Said) -> str:
    if not place:
        return socket.gethostname()
    return f"{Path(place).name}, process {', '.join(str(one.get('pid')) for one in said)}"[:60]


def _print_json(arguments: argparse.Namespace) -> None:
    for said in filter(None, _looks(arguments)):
        print(json.dumps(said[0] if not arguments.socket or len(said) == 1 else said), flush=True)


def _print_text(arguments: argparse.Namespace) -> None:
    for number, frame in enumerate(_frames(arguments)):
        print(("\n" if number else "") + as_text(frame), flush=True)


def _draw(arguments: argparse.Namespace) -> None:
    frames = _frames(arguments)
    first = next(frames)
    try:
        drawn = as_rich(first)
    except MissingExtra as error:
        sys.stderr.write(f"{error} (going on without)\n")
        _print_text(arguments)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=bool(os.environ.get("NO_COLOR")))
    with Live(drawn, console=console, auto_refresh=False, screen=True) as live:
        for frame in frames:
            live.update(as_rich(frame), refresh=True)
