"""``manifest``: what containers described by Kubernetes manifests would get, and what is wrong with them."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cgexec._cli.seconds import seconds
from cgexec._manifest.document import MOST_BYTES, Field, read_documents
from cgexec._manifest.output import Checked, Judged, as_dict, render
from cgexec._manifest.packing import node, pack
from cgexec._manifest.rules import LEVELS, RULES, Case, Finding, judge
from cgexec._manifest.sizing import Node, Tasks, answer_for
from cgexec._manifest.workloads import Pod, kinds, pods
from cgexec._quantity import parse_bytes
from cgexec._workload import workload

__all__ = ["add", "run"]

# So many are named where none of them has containers.
_MOST_KINDS = 8


def add(commands: Any, number: Any) -> None:  # argparse names neither the group of commands nor a type function
    """Add the command to the parser."""
    parser = commands.add_parser(
        "manifest",
        help="what containers of Kubernetes manifests would get, and what is wrong",
        description="Exit status: 0 nothing is wrong, 1 something is (see --fail-on), 2 a file is no manifest.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML, several documents too; - is standard input")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--node", metavar="LIST", help="how many pods fit a node of cpu=8,memory=32Gi")
    parser.add_argument("--container", action="append", default=[], metavar="NAME", help="only these; may be repeated")
    parser.add_argument("--ignore", action="append", default=[], metavar="RULE", help="a rule to leave out, likewise")
    parser.add_argument(
        "--fail-on",
        choices=(*LEVELS, "never"),
        default="warning",
        help="the least level that gives exit status 1 (default: warning)",
    )
    tasks = parser.add_argument_group("the tasks")
    tasks.add_argument("--memory-per-task", metavar="SIZE", help='the most one task holds, such as "200Mi"')
    tasks.add_argument("--io-ratio", type=number, metavar="R", help="share of a task's time in which it waits")
    tasks.add_argument("--cpu-per-task", type=number, metavar="C", help="the other spelling: 1 - R")
    tasks.add_argument("--no-releases-gil", action="store_true", help="the tasks are pure Python")
    tasks.add_argument("--held", metavar="SIZE", help="what one process holds before any task, such as 300Mi")
    tasks.add_argument("--task-seconds", type=seconds(), metavar="S", help="how long the longest task takes")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the files, print what is found, and return the exit status."""
    unknown = [rule for rule in arguments.ignore if rule not in RULES]
    if unknown:
        raise ValueError(f"--ignore {unknown[0]}: expected one of {', '.join(RULES)}")
    tasks, where = _tasks(arguments), None if arguments.node is None else node(arguments.node)
    documents = [(document, name) for file in arguments.files for document, name in _read(file)]
    found = [pod for document, name in documents for pod in pods(document, name)]
    if not found:
        seen = sorted({kind[:40] for document, _ in documents for kind in kinds(document)})
        raise ValueError(f"{', '.join(arguments.files)}: nothing in it has containers{_only(seen)}")
    checked = [_check(pod, tasks, where, arguments) for pod in found]
    checked = [one for one in checked if one.containers]
    if not checked:
        raise ValueError(f"--container {' '.join(arguments.container)}: no container has that name")
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    print(json.dumps(as_dict(checked), indent=2) if arguments.json else render(checked, where, bold=bold))
    return _status(checked, arguments.fail_on)


def _tasks(arguments: argparse.Namespace) -> Tasks:
    tasks = Tasks(
        memory_per_task=arguments.memory_per_task,
        io_ratio=arguments.io_ratio,
        cpu_per_task=arguments.cpu_per_task,
        releases_gil=not arguments.no_releases_gil,
        held_bytes=0 if arguments.held is None else parse_bytes(arguments.held, name="--held", least=1024),
        seconds=arguments.task_seconds,
    )
    # Said once about all containers, so what is wrong with it is no container's fault.
    workload(
        memory_per_task=tasks.memory_per_task, io_ratio=tasks.io_ratio, cpu_per_task=tasks.cpu_per_task, environ={}
    )
    return tasks


def _only(seen: Sequence[str]) -> str:
    more = f" and {len(seen) - _MOST_KINDS} more kinds" if len(seen) > _MOST_KINDS else ""
    return f"; there is only {', '.join(seen[:_MOST_KINDS])}{more}" if seen else ""


def _read(file: str) -> Iterator[tuple[Field, str]]:
    """Yield the documents of a file, each with what the file is called."""
    name = "<stdin>" if file == "-" else file
    if file == "-" and sys.stdin is None:
        raise ValueError(f"{name}: standard input is closed")
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)  # one that never ends is refused for its size
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror or error}") from None
    yield from ((document, name) for document in read_documents(data, name))


def _check(pod: Pod, tasks: Tasks, where: Node | None, arguments: argparse.Namespace) -> Checked:
    judged = []
    for container in pod.containers:
        if not arguments.container or container.name in arguments.container:
            answer = answer_for(container, tasks, where)
            found = judge(Case(pod, container, answer, tasks))
            judged.append(Judged(container, answer, tuple(_kept(found, arguments.ignore))))
    return Checked(pod, tuple(judged), None if where is None else pack(pod, where))


def _kept(found: Iterator[Finding], ignored: Sequence[str]) -> Iterator[Finding]:
    return (finding for finding in found if finding.rule not in ignored)


def _status(checked: Sequence[Checked], fail_on: str) -> int:
    failing = () if fail_on == "never" else LEVELS[: LEVELS.index(fail_on) + 1]
    found = (finding.level for one in checked for judged in one.containers for finding in judged.findings)
    return int(any(level in failing for level in found))
