"""What was found, for people (80 columns) and for programs. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from cgexec._manifest.blocks import placed
from cgexec._manifest.packing import Packing
from cgexec._manifest.rules import LEVELS, Finding
from cgexec._manifest.sizing import Answer, Node
from cgexec._manifest.workloads import Container, Pod
from cgexec._naming import cpu_bound
from cgexec._plain import plain
from cgexec._quantity import format_bytes, format_cpus
from cgexec._recommend import Recommendation
from cgexec._sizing import share_of

__all__ = ["Checked", "Judged", "as_dict", "render"]

_WIDTH = 80
_BOUND = {
    "memory": "memory",
    "gil": "the GIL",
    "floor": "nothing: the least there can be",
}


class Judged(NamedTuple):
    """A container, what it would get, and what is wrong with it."""

    container: Container
    answer: Answer
    findings: tuple[Finding, ...]


class Checked(NamedTuple):
    """A pod, its containers, and how it fits the node; None if no node is told."""

    pod: Pod
    containers: tuple[Judged, ...]
    packing: Packing | None


def as_dict(checked: Sequence[Checked]) -> dict[str, object]:
    """Return plain JSON values. Keys may be added from version to version."""
    return {
        "pods": [
            {
                "file": one.pod.file,
                "line": one.pod.line,
                "kind": one.pod.kind,
                "name": one.pod.name,
                "resources": {name: float(value) for name, value in one.pod.values.items()},
                "containers": [_container(judged) for judged in one.containers],
                "node": None if one.packing is None else one.packing._asdict(),
            }
            for one in checked
        ],
        "counts": _counts(checked),
    }


def _container(judged: Judged) -> dict[str, object]:
    container, answer = judged.container, judged.answer
    recommendation = answer.recommendation
    return {
        "name": container.name,
        "line": container.line,
        "role": container.role,
        "resources": {name: float(value) for name, value in container.values.items()},
        "workers": answer.workers,
        "workers_source": answer.workers_source or None,
        "ceiling": None if recommendation is None else recommendation.ceiling,
        "min_workers": None if recommendation is None else recommendation.min_workers,
        "bound_by": None if recommendation is None else recommendation.bound_by,
        "processes": None if recommendation is None else recommendation.workload.processes,
        "findings": [finding._asdict() for finding in judged.findings],
    }


def _counts(checked: Sequence[Checked]) -> dict[str, int]:
    levels = [finding.level for one in checked for judged in one.containers for finding in judged.findings]
    return {level: levels.count(level) for level in LEVELS}


def render(checked: Sequence[Checked], node: Node | None, *, bold: bool = False) -> str:
    """Return it for a person, complete without colour."""
    parts = []
    for one in checked:
        parts += ["\n".join(_about(one.pod, judged, bold=bold)) for judged in one.containers]
        if one.packing is not None and node is not None:
            parts.append("\n".join(_wrapped(_packed(one, node), "  ")))
    counts = _counts(checked)
    total = sum(len(one.containers) for one in checked)
    what = ", ".join(_plural(count, level) for level, count in counts.items())
    return "\n\n".join([*parts, f"{_plural(total, 'container')}: {what}"])


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _about(pod: Pod, judged: Judged, *, bold: bool) -> Iterator[str]:
    container = judged.container
    role = {"main": "container", "sidecar": "sidecar", "init": "init container"}[container.role]
    head = plain(f"{pod.file}:{container.line}: {pod.kind} {pod.name}, {role} {container.name}")
    yield f"\033[1m{head}\033[0m" if bold else head
    for name in ("limits", "requests"):
        yield f"  {name:<10}{_pair(container, pod, name)}"
    yield from _wrapped(_would_get(judged.answer), f"  {'would get':<10}")
    env = set(container.env) if container.has_env else None
    for finding in judged.findings:
        yield from _wrapped(f"{finding.text} [{finding.rule}]", f"  {finding.level:<10}", f"line {finding.line}: ")
        if finding.fix:
            where, block = placed(finding.fix, env)
            env = env or set()  # the next block goes below this one
            yield f"{'':12}{where}"
            yield from (f"{'':14}{line}" for line in block.split("\n"))


def _pair(container: Container, pod: Pod, name: str) -> str:
    cpu, memory = container.values.get(f"{name}.cpu"), container.values.get(f"{name}.memory")
    written = any(resource.startswith(name) for resource in container.amounts)
    taken = " (taken from the limits)" if name == "requests" and not written and (cpu or memory) else ""
    whole = _amounts(pod.values.get(f"{name}.cpu"), pod.values.get(f"{name}.memory"))
    shared = f"; {whole} for the whole pod" if any(resource.startswith(name) for resource in pod.values) else ""
    return f"{_amounts(cpu, memory)}{taken}{shared}"


def _amounts(cpu: Fraction | None, memory: Fraction | None) -> str:
    cpus = "CPUs: none" if cpu is None else format_cpus(float(cpu))
    return f"{cpus}, {'memory: none' if memory is None else format_bytes(float(memory))}"


def _would_get(answer: Answer) -> str:
    recommendation = answer.recommendation
    if answer.trouble:
        return "nothing: a variable holds nonsense, see below"
    if answer.workers is None and answer.workers_source:
        own = "" if recommendation is None else f" (else {_plural(recommendation.max_workers, 'worker')})"
        return f"the standard pool's size, the node's CPUs + 4 and at most 32, by {answer.workers_source}{own}"
    if recommendation is None:
        told = (
            ""
            if answer.workers is None
            else f"{_plural(answer.workers, 'worker')} by {answer.workers_source}; the rest "
        )
        return f"{told}depends on the node: pass --node cpu=8,memory=32Gi"
    work, workers = recommendation.workload, answer.workers or 1
    each = "" if work.processes == 1 else f" in each of {work.processes} processes"
    left = share_of(recommendation.limits.memory_bytes, recommendation.usage, work) // workers
    holds = f"; a worker may hold {format_bytes(left)}" if left > 0 else ""
    by = f"by {answer.workers_source}" if answer.workers_source else f"bound by {_bound(recommendation)}"
    own = f" (else {recommendation.max_workers})" if answer.workers_source else ""
    return f"{_plural(workers, 'worker')}{each}, {by}{own}; at most {recommendation.ceiling}{holds}"


def _bound(recommendation: Recommendation) -> str:
    if recommendation.bound_by == "cpu":
        return cpu_bound(recommendation.limits)
    if recommendation.bound_by == "cap":
        stock = recommendation.terms["default_cap"] == recommendation.max_workers
        return "the standard pool's size: nothing limits the CPUs" if stock else "the most that cgexec ever starts"
    return _BOUND.get(recommendation.bound_by, recommendation.bound_by)


def _packed(one: Checked, node: Node) -> str:
    packing = one.packing
    assert packing is not None, "asked only where a node is told"
    by = {"cpu": "CPU request", "memory": "memory request"}.get(packing.bound_by, "the kubelet's default of 110 pods")
    machine = f"{format_cpus(float(node.cpus))} and {format_bytes(node.memory_bytes)}"
    words = [f"{one.pod.kind} {one.pod.name}: {packing.pods} such fit a node of {machine} by {by}"]
    for what, share in (("CPU", packing.cpu_overcommit), ("memory", packing.memory_overcommit)):
        words.append(_missing(one.pod, what) if share is None else f"{what} limits are then {share:.0%} of the node")
    return "; ".join(words) + "."


def _missing(pod: Pod, what: str) -> str:
    some = any(each.role != "init" and each.values.get(f"limits.{what.lower()}") for each in pod.containers)
    return f"not every container has a {what} limit" if some else f"no {what} limits"


def _wrapped(text: str, first: str, lead: str = "") -> list[str]:
    return textwrap.wrap(
        plain(lead + text), _WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
