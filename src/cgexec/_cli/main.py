"""
Arguments in, text out, exit status back.

Exit status: 0 all is well; 1 the answer is "no" (memory does not suffice for one task, ``--compare`` found a change, a
manifest has something wrong in it); 2 the call was wrong, or the answer could not be written, and standard error says
how.
"""

import argparse
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cgexec import __version__
from cgexec._cli import compare, demo, formats, manifest, profile, threads, watch
from cgexec._cli.decided import decided
from cgexec._cli.fold import fold
from cgexec._cli.report import Report, render, take_report
from cgexec._cli.stated import KEYS, stated
from cgexec._extras import MissingExtra
from cgexec._kernel.files import Files
from cgexec._kernel.host import read_host
from cgexec._limits import Limits
from cgexec._limits import limits as read_limits
from cgexec._plain import plain, plain_lines
from cgexec._recommend import Recommendation, gil_enabled, size_up
from cgexec._usage import Usage
from cgexec._usage import usage as read_usage
from cgexec._workload import workload

__all__ = ["main"]

_NAME = "cgexec-py"
# Where standard output is a file.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)})
_COMMANDS = ("report", "recommend", "env", "manifest", "watch", "profile", "demo")
# What libcgroup's cgexec takes before the command that it runs.
_LIBCGROUP = ("-g", "--sticky", "-b")
_WRONG_PROGRAM = """\
cgexec-py: {option} is an option of libcgroup's cgexec, which runs a command in a cgroup: /usr/bin/cgexec {line}
(Debian and Ubuntu: package cgroup-tools). This is the Python library cgexec, which sizes worker pools;
"python -m cgexec" shows what this container allows, "python -m cgexec --help" the rest.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with *argv* (default: the process's) and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:  # closed by whoever started us: 2>&-
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  # for as long as we live
    if sys.stdout is None:
        return _wrong("the answer could not be written: standard output is closed")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a cgroup's name may be bytes that no encoding has
            stream.reconfigure(errors="backslashreplace")
    if words and (words[0] in _LIBCGROUP or words[0].startswith("-g")):
        sys.stderr.write(_WRONG_PROGRAM.format(option=words[0][:2], line=" ".join(words)))
        return 2
    arguments = command_line(words)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except (ValueError, MissingExtra) as error:
        return _wrong(str(error))
    except BrokenPipeError:  # the reader left ("| head")
        _write_no_more()
        return 0
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _write_no_more()
        return _wrong(f"the answer could not be written: {error.strerror}")
    return status


def _wrong(text: str) -> int:
    line = "\\n".join(text.splitlines())  # one line, whatever was said to us, or raised by who is profiled
    sys.stderr.write(f"{_NAME}: error: {plain(line)}\n")
    return 2


def _write_no_more() -> None:
    """Have what Python flushes at exit not complain either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command_line(words: list[str]) -> argparse.Namespace:
    """Return what *words* ask for; exits with status 2 and a message where they are wrong."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(_with_command(words))
    if rest:
        late = next((f"; the command comes first: {_NAME} {word} ..." for word in rest if word in _COMMANDS), "")
        parser.error(f"unrecognized arguments: {' '.join(rest)}{late}")
    return arguments


def _with_command(words: list[str]) -> list[str]:
    """Put in ``report`` where no command is named."""
    if words and (words[0] in _COMMANDS or words[0] in ("-h", "--help", "--version") or not words[0].startswith("-")):
        return words
    return ["report", *words]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_NAME,
        description="What this container really allows, and how many workers that makes.",
        epilog="Without a command: report. Not libcgroup's cgexec, which runs a command in a cgroup.",
    )
    parser.add_argument("--version", action="version", version=f"cgexec {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    common = _common()
    work = _work()

    report = commands.add_parser(
        "report", parents=[common, work], help="limits, requests, use, workers, and why (default)"
    )
    report.add_argument(
        "--compare", metavar="OLD.json", help="say what changed since a kept --json; exit status 1 if anything did"
    )
    report.set_defaults(run=_run_report)

    recommend = commands.add_parser("recommend", parents=[common, work], help="the number of workers, and why")
    recommend.add_argument("--format", choices=formats.FORMATS, default="text", help="how to print it (default: text)")
    recommend.set_defaults(run=_run_recommend)

    env = commands.add_parser("env", parents=[common], help="thread variables of native libraries for this container")
    env.add_argument("--processes", type=int, metavar="N", help="server processes that share the container")
    env.add_argument(
        "--callers",
        type=int,
        default=1,
        metavar="N",
        help="workers that call such libraries at the same time (default: 1)",
    )
    env.add_argument(
        "--format", choices=threads.FORMATS, default="sh", help="sh (export), dotenv, or json (default: sh)"
    )
    env.set_defaults(run=_run_env)

    manifest.add(commands, _number)
    watch.add(commands)
    profile.add(commands)
    demo.add_parser(commands)
    return parser


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON")
    where = common.add_mutually_exclusive_group()
    where.add_argument(
        "--as",
        dest="stated",
        metavar="LIST",
        help=f"answer for another container: {', '.join(f'{key}=...' for key in KEYS)}",
    )
    where.add_argument("--root", default="/", metavar="DIR", help="read the kernel's files below DIR")
    return common


def _work() -> argparse.ArgumentParser:
    work = argparse.ArgumentParser(add_help=False)
    tasks = work.add_argument_group("the tasks and the service (the arguments of cgexec.recommend)")
    tasks.add_argument("--memory-per-task", metavar="SIZE", help='the most one task holds, such as "200Mi"')
    tasks.add_argument(
        "--io-ratio", type=_number, metavar="R", help="share of a task's time in which it waits, such as 0.9"
    )
    tasks.add_argument("--cpu-per-task", type=_number, metavar="C", help="the other spelling: 1 - R")
    tasks.add_argument(
        "--releases-gil",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether what tasks compute is done outside the GIL; --no-releases-gil for pure Python (default: it is)",
    )
    tasks.add_argument("--processes", type=int, metavar="N", help="processes like this one that share the container")
    tasks.add_argument(
        "--kind", choices=("thread", "process"), default="thread", help="what the workers are (default: thread)"
    )
    tasks.add_argument("--reserve", metavar="SIZE", help="what stays free: a share such as 0.15, or a size")
    tasks.add_argument(
        "--basis",
        choices=("limit", "now", "request"),
        default="limit",
        help="what memory is counted against (default: limit)",
    )
    return work


def _number(text: str) -> float:
    """Return *text* as the library takes it; what is wrong with it the library says better than argparse."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, such as 0.9, got {text!r}") from None


def _seen(arguments: argparse.Namespace) -> tuple[Limits, Usage]:
    if arguments.stated is not None:
        return stated(arguments.stated, read_host(Files()))
    return read_limits(root=arguments.root), read_usage(root=arguments.root)


def _environ(arguments: argparse.Namespace) -> Mapping[str, str]:
    """Return the environment of what it is about; of a container one is not in none is known."""
    return os.environ if arguments.stated is None and arguments.root == "/" else {}


def _recommended(arguments: argparse.Namespace, limits: Limits, usage: Usage) -> Recommendation:
    if arguments.basis == "request" and limits.memory_request is None:
        if arguments.stated is not None:
            raise ValueError("--basis request needs the memory request: add memory-request=1Gi to --as")
        if arguments.root != "/":
            raise ValueError("--basis request: no file below --root tells the memory request: state it by --as")
    environ = _environ(arguments)
    work = workload(
        memory_per_task=arguments.memory_per_task,
        io_ratio=arguments.io_ratio,
        cpu_per_task=arguments.cpu_per_task,
        releases_gil=arguments.releases_gil,
        processes=arguments.processes,
        kind=arguments.kind,
        reserve=arguments.reserve,
        basis=arguments.basis,
        gil=gil_enabled(),
        environ=environ,
    )
    return size_up(replace(limits, notes=(*limits.notes, *decided(environ))), usage, work)


def _run_report(arguments: argparse.Namespace) -> int:
    limits, usage = _seen(arguments)
    root = None if arguments.stated is not None else arguments.root
    report = take_report(_recommended(arguments, limits, usage), root)
    if arguments.compare is not None:
        return _run_compare(arguments, report)
    print(json.dumps(report.as_dict(), indent=2) if arguments.json else _fitted(render(report, bold=_may_be_bold())))
    return 0 if report.recommendation.fits else 1


def _run_compare(arguments: argparse.Namespace, report: Report) -> int:
    changes = compare.changes(compare.load(arguments.compare), report.as_dict())
    if arguments.json:
        print(json.dumps([change._asdict() for change in changes], indent=2))
    else:
        print("\n".join(plain(str(change)) for change in changes) or "nothing changed")
    return 1 if changes else 0


def _run_recommend(arguments: argparse.Namespace) -> int:
    recommendation = _recommended(arguments, *_seen(arguments))
    form = "json" if arguments.json else arguments.format
    shown = formats.render(recommendation, form)
    print(_fitted(plain_lines(shown)) if form == "text" else shown)
    if not recommendation.fits and arguments.format != "text":
        sys.stderr.write("cgexec-py: warning: memory does not suffice for even one such task; see --format text\n")
    return 0 if recommendation.fits else 1


def _run_env(arguments: argparse.Namespace) -> int:
    limits, _ = _seen(arguments)
    variables = threads.variables(limits, arguments.processes, arguments.callers, _environ(arguments))
    print(threads.render(variables, "json" if arguments.json else arguments.format))
    return 0


def _fitted(text: str) -> str:
    """Return the text as wide as the terminal, as it is where there is none."""
    return fold(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text


def _may_be_bold() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
