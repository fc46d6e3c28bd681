"""The environment of a container, as its processes would see it: references, downward API. Pure."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from cgexec._manifest.document import Field
from cgexec._manifest.resources import RESOURCES, amount

__all__ = ["Variable", "environment", "expanded"]

# More than any process is started with (Linux: 128 KiB a variable). Without it ten variables of ten references each to
# the one before are ten gigabytes.
_MOST_EXPANDED = 128 << 10
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


class Variable(NamedTuple):
    """An environment variable; *value* is None if it is known in the cluster only (a ConfigMap, a Secret, a field)."""

    value: str | None
    line: int
    is_string: bool = True


def environment(
    field: Field, own: Mapping[str, Fraction], by_name: Mapping[str | None, Mapping[str, Fraction]]
) -> dict[str, Variable]:
    """
    Return the variables of a container.

    Args:
        field: its ``env``.
        own: its resources.
        by_name: those of each container of the pod.
    """
    env: dict[str, Variable] = {}
    for item in field.items():
        name, value = item.get("name").text, item.get("value")
        if name is None:
            continue
        if value.text is not None:
            env[name] = Variable(expanded(value.text, env), value.line, value.is_string)
        elif item.get("valueFrom"):
            reference = item.get("valueFrom", "resourceFieldRef")
            container = reference.get("containerName").text
            values = own if container is None else by_name.get(container, {})
            env[name] = Variable(_downward(reference, values), item.line)
        else:
            env[name] = Variable("", item.line)
    return env


def expanded(text: str, env: Mapping[str, Variable]) -> str | None:
    """
    Put in the variables of *env*; None if one is not known, or it gets too long. ``$$(A)`` is a literal ``$(A)``.
    """
    unknown = False
    length = len(text)

    def replace(match: re.Match[str]) -> str:
        nonlocal unknown, length
        name = match[1]
        if name is None:
            return "$"
        if name not in env:  # left as it is, as Kubernetes does
            return match[0]
        value = env[name].value
        length += len(value or "")
        unknown = unknown or value is None or length > _MOST_EXPANDED
        return "" if unknown else value or ""

    result = _REFERENCE.sub(replace, text)
    return None if unknown else result


def _downward(reference: Field, values: Mapping[str, Fraction]) -> str | None:
    """Return what the downward API gives: rounded up to whole divisors; 0 for a request that is not there."""
    resource = reference.get("resource").text or ""
    if resource not in RESOURCES or (resource not in values and resource.startswith("limits.")):
        return None  # a limit that is not there is the node's, which we do not know
    divisor = amount(reference.get("divisor").text or "1", 0).value or Fraction(1)
    return str(math.ceil(values.get(resource, Fraction(0)) / divisor))
