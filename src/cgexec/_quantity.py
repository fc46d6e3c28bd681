"""Quantities as Kubernetes and people write them: text to number and back. Pure; knows no unit of time."""

import math
import operator
import re
from decimal import Decimal
from fractions import Fraction
from numbers import Rational, Real
from typing import SupportsIndex

__all__ = ["as_integer", "format_bytes", "format_cpus", "format_times", "parse_bytes", "parse_exact", "parse_quantity"]

# The suffixes of Kubernetes' resource.Quantity, and the same with the B that people add.
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_FACTORS = {
    **{suffix: Fraction(10) ** power for suffix, power in _DECIMAL.items()},
    **{suffix: Fraction(2**power) for suffix, power in _BINARY.items()},
    **{f"{suffix}B": Fraction(10) ** power for suffix, power in _DECIMAL.items() if power >= 0},
    **{f"{suffix}B": Fraction(2**power) for suffix, power in _BINARY.items()},
}
_QUANTITY = re.compile(r"\+?([0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE]([+-]?[0-9]{1,3})| ?([A-Za-z]{0,3}))")
# More than any machine has, and far from where floats end.
_LARGEST = Fraction(2) ** 80
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_RIGHT_FORMS = 'right are 2, 0.5, "500m", "512Mi", "1.5Gi", "2k"'


def parse_quantity(value: str | float | Real) -> int | float:
    """
    Return the number that a Kubernetes quantity stands for.

    ``"500m"`` is 0.5, ``"2k"`` is 2000, ``"1.5Gi"`` is 1610612736, ``"1e3"`` is 1000; a leading ``+``, a trailing
    ``B`` (``"512MiB"``) and a blank before the suffix change nothing. The suffixes are Kubernetes': ``512M`` is
    512 000 000, not Docker's 536 870 912 (write ``512Mi``), and ``m`` is a thousandth. A number is returned as it is.

    Returns:
        An int where the value is whole, else the float nearest to it.

    Raises:
        ValueError: not a quantity, negative, infinite, or beyond 2**80.
    """
    exact = parse_exact(value)
    return exact.numerator if exact.denominator == 1 else float(exact)


def parse_exact(value: str | float | Real | Decimal) -> Fraction:
    """Return what `parse_quantity` returns, without rounding; a float counts as the decimal it prints as."""
    if isinstance(value, str):
        exact = _parse_text(value)
    elif isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        raise ValueError(f"expected a quantity, got {value!r}; {_RIGHT_FORMS}")  # one kind of error for callers
    elif isinstance(value, Rational):  # first, as the largest of these are no float and have no text
        exact = Fraction(int(value.numerator), int(value.denominator))
    elif not math.isfinite(value):
        raise ValueError(f"expected a finite quantity, got {value!r}; {_RIGHT_FORMS}")
    else:
        exact = Fraction(str(value))
    if not 0 <= exact <= _LARGEST:
        raise ValueError(f"expected a quantity from 0 to 2**80, got {_shown(value)}; {_RIGHT_FORMS}")
    return exact


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # more digits than Python writes (sys.set_int_max_str_digits)
        return "a number of thousands of digits"
    return text if len(text) <= 50 else f"{text[:50]}..."


def _parse_text(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text.strip(" \t\n"))
    if match is None:
        raise ValueError(f"expected a quantity, got {text!r}; {_RIGHT_FORMS}")
    number, exponent, suffix = match.groups()
    if exponent is not None:
        return Fraction(number) * Fraction(10) ** int(exponent)
    factor = _FACTORS.get(suffix)
    if factor is None:
        raise ValueError(f"unknown suffix {suffix!r} in {text!r}; {_RIGHT_FORMS}" + _suffix_hint(suffix))
    return Fraction(number) * factor


def _suffix_hint(suffix: str) -> str:
    letter = suffix[:1]
    for right in ("k", "M", "G", "T"):
        if letter.lower() == right.lower():
            return f'; {suffix} may mean "{right}" (powers of 1000) or "{right.upper()}i" (powers of 1024)'
    return ""


def parse_bytes(value: str | float | Real, *, name: str, least: int = 1) -> int:
    """
    Return a number of bytes, rounded down to a whole one.

    Raises:
        ValueError: names *name*; also for less than *least* bytes, which is nearly always a missing suffix
            (``200`` for ``"200Mi"``) or Docker's ``m`` (``"512m"`` is half a byte in Kubernetes).
    """
    try:
        size = parse_exact(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if size < least:
        shown = "less than a byte" if 0 < size < 1 else format_bytes(float(size))
        hint = _size_hint(str(value).strip(), size)
        raise ValueError(f"{name}={value!r} is {shown}; expected at least {format_bytes(least)}{hint}")
    return math.floor(size)


def _size_hint(text: str, size: Fraction) -> str:
    if text.endswith("m"):
        return f' ("m" is a thousandth; Docker\'s {text} is "{text[:-1]}Mi" here)'
    match = _QUANTITY.fullmatch(text)
    bare = match is not None and match[2] is None and not match[3]
    # A bare number of a mebibyte or more is meant in bytes.
    return f' (for mebibytes write "{text}Mi")' if bare and 0 < size < 1 << 20 else ""


def as_integer(value: object) -> int | None:
    """Return what is an integer, of whatever library, as Python's own; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array of several
        return None


def format_bytes(n: float, *, exact: bool = False) -> str:
    """
    Return *n* bytes for people, in binary units with up to three digits: ``"1.5 GiB"``, ``"64 MiB"``, ``"-3.2 KiB"``.

    With *exact* the text loses nothing: the largest binary suffix that divides *n* (``"1536Mi"``, ``"1000"``),
    which is also a Kubernetes quantity, so that ``parse_quantity(format_bytes(n, exact=True)) == n`` for whole n >= 0.
    """
    if exact:
        whole = int(n)
        for suffix, power in reversed(_BINARY.items()):
            if whole and whole % 2**power == 0:
                return f"{whole >> power}{suffix}"
        return str(whole)
    size, unit = abs(float(n)), 0
    # 1023.95 would print as 1024 of its unit, so the next one takes over before.
    while size >= 1023.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    digits = 0 if unit == 0 or size >= 99.95 or size == int(size) else 1
    return f"{'-' if n < 0 else ''}{size:.{digits}f} {_UNITS[unit]}"


def format_times(ratio: float) -> str:
    """Return how many times as large something is, for people: ``"4"``, ``"2.5"``, ``"4096"``."""
    return f"{ratio:.0f}" if ratio >= 99.95 else f"{ratio:.3g}"


def format_cpus(cpus: float) -> str:
    """Return a number of CPUs for people: ``"2 CPUs"``, ``"1 CPU"``, ``"0.5 CPU"``, ``"1.25 CPUs"``."""
    return f"{cpus:.4g} CPU{'' if cpus <= 1 else 's'}"
