"""
What a manifest says about containers, as Kubernetes understands it: `List` kinds, defaults, sidecars.

Pure. Whatever is of another shape than Kubernetes expects is as if it were not there; what is wrong with values that
are there is for `rules`.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

from cgexec._manifest.document import Field
from cgexec._manifest.resources import Amount, defaulted, numbers, resources
from cgexec._manifest.variables import Variable, environment, expanded

__all__ = ["Container", "Pod", "kinds", "pods"]

Role = Literal["main", "sidecar", "init"]
# Kubernetes' default terminationGracePeriodSeconds.
GRACE_SECONDS = 30
# As much as a process is started with (Linux: 6 MiB); what refers to variables beyond that is left as it is written.
_MOST_WORDS = 6 << 20
# ``sleep 20``, in a shell's line too.
_SLEEP = re.compile(r"(?<![\w.-])sleep\s+([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)(?![\w.])")
# As many digits as Kubernetes' own integers have.
_WHOLE = re.compile(r"[0-9]{1,19}")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Container:
    """
    One container.

    Attributes:
        amounts: what `resources.RESOURCES` names, as far as it is written; requests are not yet defaulted.
        values: the same as numbers, a request defaulted to its limit, as Kubernetes does.
        bounds: the limits that hold for it: its own, or the pod's where that has the lower or the only one; never 0.
        env: by name; what ``$(NAME)`` refers to is put in, and the downward API is answered.
        has_env: whether an ``env`` is written, an empty one too.
        words: command and arguments, a shell's line split; what ``$(NAME)`` refers to is put in, where it is known.
        pre_stop_seconds: how long its ``preStop`` hook sleeps, as far as one can see.
    """

    name: str
    line: int
    role: Role
    amounts: Mapping[str, Amount]
    values: Mapping[str, Fraction]
    bounds: Mapping[str, Fraction]
    env: Mapping[str, Variable]
    has_env: bool
    words: tuple[str, ...]
    pre_stop_seconds: float

    def line_of(self, resource: str) -> int:
        """Return where it stands, else where the container does."""
        return self.amounts[resource].line if resource in self.amounts else self.line

    @property
    def known_env(self) -> dict[str, str]:
        """What is certain of the environment."""
        return {name: variable.value for name, variable in self.env.items() if variable.value is not None}


@dataclass(frozen=True, slots=True)
class Pod:
    """
    A pod, or the template of some. Times are seconds; None is not said or not a number.

    *amounts* and *values* are what is written for the pod as a whole, which its containers share. *best_effort*:
    nowhere in it is a request or a limit, and Kubernetes gives it the QoS class of that name.
    """

    file: str
    line: int
    kind: str
    name: str
    containers: tuple[Container, ...]
    amounts: Mapping[str, Amount]
    values: Mapping[str, Fraction]
    best_effort: bool
    grace_seconds: float
    grace_line: int
    deadline_seconds: float | None
    deadline_line: int

    def line_of(self, resource: str) -> int:
        """Return where it stands, else where the pod does."""
        return self.amounts[resource].line if resource in self.amounts else self.line


def pods(document: Field, file: str) -> Iterator[Pod]:
    """Yield the pods and pod templates of a document: one, those of a list, or none."""
    for field in _objects(document, set()):
        for path in (("spec",), ("spec", "template", "spec"), ("spec", "jobTemplate", "spec", "template", "spec"),
                     ("template", "spec")):  # fmt: skip
            spec = field.get(*path)
            # Deployment and its like, CronJob, PodTemplate; a custom kind too, if it has a template where they have.
            if any(True for _ in spec.get("containers").items()):
                yield _pod(field, spec, field.get("kind").text or "?", file)
                break


def kinds(document: Field) -> Iterator[str]:
    """Yield the kinds of what a document holds, with containers or without."""
    yield from (kind for field in _objects(document, set()) if (kind := field.get("kind").text))


def _objects(field: Field, seen: set[int]) -> Iterator[Field]:
    """Yield a document, or what it lists."""
    if not (field.get("kind").text or "").endswith("List"):
        yield field
    elif field.identity not in seen:  # a list that holds itself, by an alias
        seen.add(field.identity)
        for item in field.get("items").items():
            yield from _objects(item, seen)


def _pod(field: Field, spec: Field, kind: str, file: str) -> Pod:
    namespace, name = field.get("metadata", "namespace").text, field.get("metadata", "name").text
    name = name or field.get("metadata", "generateName").text or "?"
    grace = spec.get("terminationGracePeriodSeconds")
    job = field.get("spec", "jobTemplate", "spec") or field.get("spec")
    deadline = spec.get("activeDeadlineSeconds") or job.get("activeDeadlineSeconds")
    given = _seconds(grace)
    whole = resources(spec.get("resources"))
    values = numbers(whole)
    containers = tuple(_containers(spec, values))
    held = (whole, *(container.amounts for container in containers))
    return Pod(
        file=file,
        line=field.line,
        kind=kind,
        name=f"{namespace}/{name}" if namespace else name,
        containers=containers,
        amounts=whole,
        values=values,
        best_effort=not any(amount.value != 0 for amounts in held for amount in amounts.values()),
        grace_seconds=GRACE_SECONDS if given is None else given,
        grace_line=grace.line,
        deadline_seconds=_seconds(deadline),
        deadline_line=deadline.line,
    )


def _seconds(field: Field) -> float | None:
    text = field.text
    return float(text) if text is not None and _WHOLE.fullmatch(text) else None


def _pre_stop_seconds(hook: Field) -> float:
    command = " ".join(item.text or "" for item in hook.get("exec", "command").items())
    slept = sum(float(number) * _SECONDS[unit] for number, unit in _SLEEP.findall(command))
    return slept + (_seconds(hook.get("sleep", "seconds")) or 0)


class _Spec(NamedTuple):
    field: Field
    role: Role
    amounts: dict[str, Amount]
    values: dict[str, Fraction]


def _containers(spec: Field, whole: Mapping[str, Fraction]) -> Iterator[Container]:
    found = []
    for key in ("initContainers", "containers"):
        for field in spec.get(key).items():
            # An init container that is restarted always is Kubernetes' sidecar: it runs beside the others.
            sidecar = field.get("restartPolicy").text == "Always"
            role: Role = "main" if key == "containers" else "sidecar" if sidecar else "init"
            amounts = resources(field.get("resources"))
            found.append(_Spec(field, role, amounts, defaulted(amounts)))
    by_name = {one.field.get("name").text: one.values for one in found}
    for one in found:
        env = environment(one.field.get("env"), one.values, by_name)
        yield Container(
            name=one.field.get("name").text or "?",
            line=one.field.line,
            role=one.role,
            amounts=one.amounts,
            values=one.values,
            bounds=_bounds(one.values, whole),
            env=env,
            has_env=one.field.get("env").is_written,
            words=tuple(_words(one.field, env)),
            pre_stop_seconds=_pre_stop_seconds(one.field.get("lifecycle", "preStop")),
        )


def _bounds(own: Mapping[str, Fraction], whole: Mapping[str, Fraction]) -> dict[str, Fraction]:
    names = ("limits.cpu", "limits.memory")
    held = {name: [each[name] for each in (own, whole) if each.get(name)] for name in names}
    return {name: min(values) for name, values in held.items() if values}


def _words(field: Field, env: Mapping[str, Variable]) -> Iterator[str]:
    room = _MOST_WORDS
    for key in ("command", "args"):
        for item in field.get(key).items():
            text = item.text or ""
            known = expanded(text, env) if room > 0 else None
            text = text if known is None else known
            room -= len(text)
            if " " not in text.strip():
                yield text
                continue
            try:
                yield from shlex.split(text, comments=True)
            except ValueError:  # a shell's line with an open quote
                yield from text.split()
