"""What changed between two reports. Use is left out: it changes all the time."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["Change", "changes", "load"]

_COMPARED = ("limits", "host", "python", "recommendation")
# A report has four levels. A file may have as many as Python's parser of JSON takes, which is more than can be compared
# or printed: that is done level by level too, and takes more of the stack.
_MOST_LEVELS = 50
_NOT_COMPARED = frozenset({"notes", "workload.processes_source"})


class Change(NamedTuple):
    """One value that is not what it was; None stands for "no limit" or "was not there"."""

    name: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.old)} -> {_shown(self.new)}"


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def load(path: str) -> Mapping[str, object]:
    """
    Return a report that was kept.

    Raises:
        ValueError: the file cannot be read or is no report.
    """
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # a path from the command line, opened once
            report = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"--compare {path}: expected a file kept from report --json ({reason})") from None
    sections = report if isinstance(report, dict) else {}
    for name in ("limits", "recommendation"):  # recommend --json has the second's values, and not below that name
        if not isinstance(sections.get(name), dict):
            raise ValueError(f'--compare {path}: expected a file kept from report --json, but it has no "{name}"')
    if _levels_beyond(report, _MOST_LEVELS):
        raise ValueError(f"--compare {path}: expected a file kept from report --json, but it is nested too deep")
    return sections


def _levels_beyond(value: object, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [inner for each in level for inner in _inside(each)]
    return bool(level)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def changes(old: Mapping[str, object], new: Mapping[str, object]) -> list[Change]:
    """Return what differs, in the order of the new report; what is only in the old one comes last."""
    before, after = dict(_flat(old)), dict(_flat(new))
    names = [*after, *(name for name in before if name not in after)]
    return [Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def _flat(report: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for section in _COMPARED:
        values = report.get(section)
        if isinstance(values, dict):
            yield from _leaves(section, values)


def _leaves(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict):
            yield from _leaves(name, value)
        elif not any(name.endswith(f".{left}") for left in _NOT_COMPARED):
            yield name, value
