"""Quantities: Kubernetes' and Docker's forms, exactly, and everything else refused with the right form shown."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgexec import format_bytes, parse_quantity
from cgexec._quantity import format_cpus, parse_bytes, parse_exact

RIGHT = {
    "zero": ("0", 0),
    "whole": ("2", 2),
    "decimal": ("0.1", 0.1),
    "no-leading-digit": (".5", 0.5),
    "trailing-point": ("2.", 2),
    "milli": ("500m", 0.5),
    "milli-small": ("100m", 0.1),
    "milli-whole": ("2000m", 2),
    "micro": ("100u", 0.0001),
    "nano": ("1n", 1e-9),
    "kilo": ("2k", 2000),
    "mega": ("512M", 512_000_000),
    "giga": ("1G", 10**9),
    "exa-not-exponent": ("1E", 10**18),
    "exponent": ("1e3", 1000),
    "exponent-upper": ("1E3", 1000),
    "exponent-signed": ("5e-1", 0.5),
    "kibi": ("1Ki", 1024),
    "mebi": ("512Mi", 512 << 20),
    "gibi": ("1Gi", 1 << 30),
    "gibi-fraction": ("1.5Gi", 3 << 29),
    "exbi": ("1Ei", 1 << 60),
    "with-b": ("512MiB", 512 << 20),
    "decimal-with-b": ("2kB", 2000),
    "blank": ("1.5 GiB", 3 << 29),
    "surrounded": (" 1Gi\n", 1 << 30),
    "plus": ("+2", 2),
    "plus-with-suffix": ("+1.5Gi", 3 << 29),
    "int": (7, 7),
    "float": (0.25, 0.25),
    "fraction": (Fraction(1, 4), 0.25),
}


@pytest.mark.parametrize(("text", "value"), RIGHT.values(), ids=RIGHT)
def test_right_forms(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["1Gi", 2, "2000m"])
def test_whole_values_are_ints(text):
    assert isinstance(parse_quantity(text), int)


WRONG = [
    "",
    " ",
    "Gi",
    "1.2.3",
    "-1",
    "++1",
    "+-1",
    "+",
    "+ 1",
    "1_000",
    "٣",
    "1,5Gi",
    "0x10",
    "nan",
    "inf",
    "1e",
    "1e9999",
    "1Gi2",
    "1  Gi",
]


@pytest.mark.parametrize("text", [*WRONG, float("nan"), float("inf"), -1, -0.5, True, None, [], "9" * 50, 2.0**90])
def test_anything_else_is_a_value_error_that_shows_right_forms(text):
    with pytest.raises(ValueError, match="1.5Gi"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        *((text, ["k", "Ki"]) for text in ("2K", "512KB", "512ki")),
        *((text, ["M", "Mi"]) for text in ("512mb", "512mi")),
        ("1g", ["G", "Gi"]),
        ("1t", ["T", "Ti"]),
    ],
)
def test_docker_suffixes_that_mean_two_things_are_refused_with_both_and_these_are_right(text, right):
    with pytest.raises(ValueError, match="powers of 1024") as caught:
        parse_quantity(text)
    hint = str(caught.value).partition(" may mean ")[2]
    assert re.findall('"([^"]+)"', hint) == right
    assert [parse_quantity(f"1{suffix}") > 1 for suffix in right] == [True, True]


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), 10**5000, Fraction(10**400, 3), 2**80 + 1],
    ids=["no-float", "negative", "no-text", "fraction", "just-beyond"],
)
def test_a_number_beyond_all_machines_is_refused_in_words_that_can_be_read(value):
    with pytest.raises(ValueError, match=r"expected a quantity from 0 to 2\*\*80, got .*1.5Gi") as caught:
        parse_quantity(value)
    assert len(str(caught.value)) < 200


def test_docker_m_as_memory_is_named():
    with pytest.raises(ValueError, match='Docker\'s 512m is "512Mi" here'):
        parse_bytes("512m", name="memory_per_task", least=1024)


def test_missing_suffix_is_named():
    with pytest.raises(ValueError, match='memory_per_task=200 is 200 B.*"200Mi"'):
        parse_bytes(200, name="memory_per_task", least=1024)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("10Mi", "size='10Mi' is 10 MiB; expected at least 96 MiB"),
        ("0.5k", "size='0.5k' is 500 B; expected at least 96 MiB"),
        ("1e3", "size='1e3' is 1000 B; expected at least 96 MiB"),
        (50_000_000, "size=50000000 is 47.7 MiB; expected at least 96 MiB"),
        (0, "size=0 is 0 B; expected at least 96 MiB"),
        ("200", "size='200' is 200 B; expected at least 96 MiB (for mebibytes write \"200Mi\")"),
        (" 0.5 ", "size=' 0.5 ' is less than a byte; expected at least 96 MiB (for mebibytes write \"0.5Mi\")"),
        ("512m", "is less than a byte; expected at least 96 MiB (\"m\" is a thousandth; Docker's 512m is \"512Mi\" here)"),
    ],
)  # fmt: skip
def test_too_few_bytes_are_shown_for_people_and_only_a_bare_number_lacks_a_suffix(value, said):
    with pytest.raises(ValueError, match="expected at least") as caught:
        parse_bytes(value, name="size", least=96 << 20)
    assert str(caught.value).endswith(said)


@given(st.integers(0, 2**63), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_parsing_is_exact(number, suffix):
    factor = {"": 1, "m": Fraction(1, 1000), "k": 1000, "M": 10**6, "G": 10**9}.get(suffix) or {
        "Ki": 2**10,
        "Mi": 2**20,
        "Gi": 2**30,
    }[suffix]
    expected = Fraction(number) * factor
    if expected <= 2**80:
        assert parse_exact(f"{number}{suffix}") == expected


@given(st.integers(0, 2**64))
def test_exact_round_trip(n):
    assert parse_quantity(format_bytes(n, exact=True)) == n


@given(st.integers(0, 2**62))
def test_shown_size_is_within_a_rounding_step(n):
    assert abs(parse_quantity(format_bytes(n)) - n) <= max(n * 0.051, 0)


@given(st.floats(0, 1e6, allow_nan=False))
def test_a_float_counts_as_the_decimal_it_prints_as(value):
    assert parse_quantity(str(value)) == pytest.approx(value, rel=1e-15, abs=1e-300)
    assert float(parse_exact(value)) == value


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1 << 20, "1 MiB"),
        ((1 << 20) - 1, "1.0 MiB"),  # the point says: not exactly
        (614 << 20, "614 MiB"),
        (3 << 29, "1.5 GiB"),
        (-3277, "-3.2 KiB"),
        (1 << 70, "1024 EiB"),
    ],
)
def test_sizes_for_people(n, text):
    assert format_bytes(n) == text


@pytest.mark.parametrize(("cpus", "text"), [(1, "1 CPU"), (2, "2 CPUs"), (0.5, "0.5 CPU"), (1.25, "1.25 CPUs")])
def test_cpus_for_people(cpus, text):
    assert format_cpus(cpus) == text
