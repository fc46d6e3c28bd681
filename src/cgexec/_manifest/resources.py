"""What a container requests and may use, as written and as numbers. Pure."""

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from cgexec._manifest.document import Field
from cgexec._quantity import parse_exact

__all__ = ["RESOURCES", "Amount", "amount", "defaulted", "resources"]

RESOURCES = ("requests.cpu", "limits.cpu", "requests.memory", "limits.memory")


class Amount(NamedTuple):
    """A quantity as written; *value* is None if it is none, and *trouble* says why."""

    text: str
    line: int
    value: Fraction | None
    trouble: str = ""


def resources(field: Field) -> dict[str, Amount]:
    """Return what is written of `RESOURCES`."""
    amounts = {}
    for resource in RESOURCES:
        value = field.get(*resource.split("."))
        if value.text is not None:
            amounts[resource] = amount(value.text, value.line)
    return amounts


def amount(text: str, line: int) -> Amount:
    """Return a quantity at its place."""
    try:
        return Amount(text, line, parse_exact(text))
    except ValueError as error:
        return Amount(text, line, None, str(error))


def defaulted(amounts: Mapping[str, Amount]) -> dict[str, Fraction]:
    """Return the numbers; a request that is not written is its limit."""
    values = {name: amount.value for name, amount in amounts.items() if amount.value is not None}
    for what in ("cpu", "memory"):
        if f"requests.{what}" not in amounts and f"limits.{what}" in values:
            values[f"requests.{what}"] = values[f"limits.{what}"]
    return values
