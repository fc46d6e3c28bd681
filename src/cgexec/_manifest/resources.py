"""What a container requests and may use, as written and as numbers. Pure."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from cgexec._manifest.document import Field
from cgexec._quantity import parse_exact

__all__ = ["RESOURCES", "Amount", "amount", "defaulted", "numbers", "resources"]

# What Kubernetes' resource.Quantity takes where nothing may be negative. What people write beside it, blanks and a
# trailing B, is refused there, so here it is not taken as it is where a program reads a variable.
_NUMBER = r"(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})"
_QUANTITY = re.compile(rf"\+?{_NUMBER}(?:[eE][+-]?[0-9]{{1,3}}|[KMGTPE]i|[numkMGTPE])?")
RESOURCES = ("requests.cpu", "limits.cpu", "requests.memory", "limits.memory")


class Amount(NamedTuple):
    """A quantity as written; *value* is None if it is none, and *trouble* says why."""

    text: str
    line: int
    value: Fraction | None
    trouble: str = ""


def resources(field: Field) -> dict[str, Amount]:
    """Return what is written of `RESOURCES`, and under "limits" and its like what should have keys and has none."""
    amounts = {
        name: Amount("", holder.line, None, "expected cpu: and memory: with their quantities below it")
        for name, holder in (("limits", field.get("limits")), ("requests", field.get("requests")))
        if holder and not holder.is_mapping
    }
    for resource in RESOURCES:
        value = field.get(*resource.split("."))
        if value.text is not None:
            amounts[resource] = amount(value.text, value.line)
        elif value:
            amounts[resource] = Amount("", value.line, None, f"expected a quantity, got {_shape(value)}")
    return amounts


def _shape(field: Field) -> str:
    return "a mapping" if field.is_mapping else "a list"


def amount(text: str, line: int) -> Amount:
    """Return a quantity at its place."""
    try:
        value = parse_exact(text.removeprefix("+"))
    except ValueError as error:
        return Amount(text, line, None, str(error))
    if _QUANTITY.fullmatch(text) is None:
        right = re.sub(r"\s", "", text).removesuffix("B")
        return Amount(
            text, line, None, f'{text!r} is no quantity to Kubernetes, which refuses the pod: write "{right}"'
        )
    return Amount(text, line, value)


def numbers(amounts: Mapping[str, Amount]) -> dict[str, Fraction]:
    """Return what is one."""
    return {name: amount.value for name, amount in amounts.items() if amount.value is not None}


def defaulted(amounts: Mapping[str, Amount]) -> dict[str, Fraction]:
    """Return the numbers; a request that is not written is its limit."""
    values = numbers(amounts)
    for what in ("cpu", "memory"):
        if f"requests.{what}" not in amounts and f"limits.{what}" in values:
            values[f"requests.{what}"] = values[f"limits.{what}"]
    return values
