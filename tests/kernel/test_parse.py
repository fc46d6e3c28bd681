"""Every parser, as tables with an id per row: what a file means, and what no file should look like."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgexec._kernel import parse
from cgexec._kernel.parse import MalformedFile

Parser = Callable[[str], object]

PARSERS: dict[str, Parser] = {
    "count": parse.parse_count,
    "flag": parse.parse_flag,
    "bytes-limit": parse.parse_bytes_limit,
    "pids-max": parse.parse_pids_max,
    "cpu-max": parse.parse_cpu_max,
    "cpu-max-quota": lambda text: parse.parse_cpu_max(f"{text} 100000"),
    "cpu-max-period": lambda text: parse.parse_cpu_max(f"100000 {text}"),
    "cfs-quota": parse.parse_cfs_quota,
    "cfs-period": parse.parse_cfs_period,
    "cpu-list": parse.parse_cpu_list,
    "pressure": parse.parse_pressure,
    "stat": lambda text: parse.parse_flat_keyed(text, frozenset({"anon", "inactive_file"})),
    "kib": lambda text: parse.parse_kib_table(text, frozenset({"MemTotal", "MemFree", "Inactive(file)"})),
    "status": lambda text: parse.parse_status_word(text, "Cpus_allowed_list"),
}

# (text, value) by parser and id
MEANT: dict[str, dict[str, tuple[str, object]]] = {
    "count": {
        "zero": ("0\n", 0),
        "missing-newline": ("42", 42),
        "blanks-around": (" \t42\n\n", 42),
        "leading-zeros": ("007\n", 7),
        "largest-u64": ("18446744073709551615\n", 2**64 - 1),
    },
    "flag": {"on": ("1\n", True), "off": ("0\n", False), "missing-newline": ("1", True)},
    "bytes-limit": {
        "v2-max": ("max\n", None),
        "v2-max-missing-newline": ("max", None),
        "v1-minus-one": ("-1\n", None),
        "v1-4k-pages": ("9223372036854771712\n", None),
        "v1-16k-pages": ("9223372036854759424\n", None),
        "v1-64k-pages": ("9223372036854710272\n", None),
        "v1-32-bit": ("8796093018112\n", None),
        "gvisor-int64-max": ("9223372036854775807\n", None),
        "u64-max": ("18446744073709551615\n", None),
        "just-below-64k-pages": ("9223372036854710271\n", 9223372036854710271),
        "just-below-32-bit": ("8796093014016\n", 8796093014016),
        "just-above-32-bit": ("8796093022208\n", 8796093022208),
        "zero-is-a-limit": ("0\n", 0),
        "missing-newline": ("67108864", 67108864),
    },
    "pids-max": {"max": ("max\n", None), "number": ("100\n", 100), "zero": ("0\n", 0), "missing-newline": ("7", 7)},
    "cpu-max": {
        "max": ("max 100000\n", None),
        "max-one-field": ("max\n", None),
        "two-cpus": ("200000 100000\n", 2.0),
        "half": ("50000 100000\n", 0.5),
        "one-field-has-the-default-period": ("250000\n", 2.5),
        "short-period": ("1000 1000\n", 1.0),
        "long-period-64-cpus": ("64000000 1000000\n", 64.0),
        "missing-newline": ("150000 100000", 1.5),
        "tab": ("150000\t100000\n", 1.5),
        "blanks-around": ("  150000   100000 \n", 1.5),
        "least-quota": ("1 1000000\n", 1e-6),
        "twenty-digits": ("10000000000000000000 100000\n", 1e14),
    },
    "cfs-quota": {
        "minus-one": ("-1\n", None),
        "any-negative": ("-5\n", None),
        "above-a-period": ("150000\n", 150000),
        "missing-newline": ("300000", 300000),
    },
    "cfs-period": {"short": ("1000\n", 1000), "missing-newline": ("50000", 50000)},
    "cpu-list": {
        "one": ("0\n", 1),
        "range": ("0-3\n", 4),
        "mixed": ("0-2,5,7-8\n", 6),
        "missing-newline": ("0-3", 4),
        "overlap": ("0-3,2-5\n", 6),
        "contained-and-unsorted": ("4-5,0-9,4\n", 10),
        "repeated": ("1,1,1\n", 1),
        "range-of-one": ("5-5\n", 1),
        "adjacent": ("0-1,2-3\n", 4),
        "empty": ("", None),
        "v1-empty-cpuset": ("\n", None),
        "huge": ("0-4294967295\n", 2**32),
    },
    "pressure": {
        "some-and-full": ("some avg10=1.00 total=1500000\nfull avg10=0.00 total=250000\n", {"some": 1.5, "full": 0.25}),
        "cpu-before-5.13": ("some avg10=1.00 avg60=0.50 avg300=0.00 total=1500000\n", {"some": 1.5}),
        "irq-has-only-full": ("full avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n", {"full": 0.25}),
        "missing-newline": ("some avg10=0.00 total=0", {"some": 0.0}),
        "further-fields": ("some avg10=0 avg_new=1 total=2000000 more=1\n", {"some": 2.0}),
        "odd-line-passed-over": ("some total=x\nfull total=1000000\n", {"full": 1.0}),
    },
    "stat": {
        "wanted-among-others": ("anon 5\nfile 6\ninactive_file 7\n", {"anon": 5, "inactive_file": 7}),
        "missing-newline": ("anon 5", {"anon": 5}),
        "whole-keys-only": ("inactive_anon 1\nanonymous 2\nanon 3\n", {"anon": 3}),
        "negative-passed-over": ("anon -5\ninactive_file 7\n", {"inactive_file": 7}),
        "second-value-passed-over": ("anon 5 6\ninactive_file 7\n", {"inactive_file": 7}),
        "numa-line-passed-over": ("anon N0=5\ninactive_file 7\n", {"inactive_file": 7}),
        "binary-line-passed-over": ("\x00\udcff\nanon 1\n", {"anon": 1}),
    },
    "kib": {
        "meminfo": ("MemTotal:       16384 kB\nMemFree:         1 kB\n", {"MemTotal": 16 << 20, "MemFree": 1024}),
        "status-has-tabs": ("MemTotal:\t  16384 kB", {"MemTotal": 16 << 20}),
        "parentheses": ("Inactive(file):  4 kB\nInactive:  8 kB\n", {"Inactive(file)": 4096}),
        "without-unit-passed-over": ("MemTotal: 5\nMemFree: 1 kB\n", {"MemFree": 1024}),
        "another-unit": ("MemTotal: 5 MB\n", {}),
        "negative": ("MemTotal: -5 kB\n", {}),
        "exponent": ("MemTotal: 1e3 kB\n", {}),
        "no-colon": ("MemTotal 5 kB\n", {}),
        "empty": ("", {}),
    },
    "status": {
        "list": ("Cpus_allowed:\tff\nCpus_allowed_list:\t0-3,5\nPid:\t1\n", "0-3,5"),
        "last-line-without-newline": ("Cpus_allowed_list:\t7", "7"),
        "in-another-value": ("Name:\tCpus_allowed_list: 9\n", None),
        "longer-key": ("Mems_Cpus_allowed_list:\t9\n", None),
    },
}

# What int() or float() would take, or a lenient reader would cut short. The kernel prints none of these.
NO_NUMBERS = {
    "word": "unlimited",
    "plus-sign": "+5",
    "double-minus": "--1",
    "lone-minus": "-",
    "underscores": "1_000",
    "arabic-digits": "٢٠٠",
    "fullwidth-digits": "５",
    "superscript": "5²",
    "nan": "nan",
    "inf": "inf",
    "exponent": "1e5",
    "fraction": "1.5",
    "hexadecimal": "0x10",
    "trailing-unit": "5 kB",
    "trailing-junk": "5x",
    "two-lines": "5\n6\n",
    "21-digits": "1" * 21,
    "21-digits-negative": "-" + "1" * 21,
    "no-break-space": "\u00a05",
    "form-feed": "\f5",
    "nul": "5\0",
    "no-utf-8": "5\udcff",
}
NO_VALUE = {"empty": "", "newline": "\n", "blanks": " \t\n"}
NO_MAX = {"upper-case": "MAX\n", "max-and-more": "max 5\n", "maximum": "maximum\n", **NO_NUMBERS, **NO_VALUE}
MALFORMED: dict[str, dict[str, str]] = {
    "count": {"negative": "-1\n", "max": "max\n", **NO_NUMBERS, **NO_VALUE},
    "flag": {"two": "2\n", "word": "yes\n", **NO_NUMBERS, **NO_VALUE},
    "bytes-limit": NO_MAX,
    "pids-max": {"negative": "-1\n", **NO_MAX},
    "cpu-max": {"three-fields": "200000 100000 0\n", "comma": "200000,100000\n", **NO_VALUE},
    "cpu-max-quota": {"zero": "0", "negative": "-1", **NO_NUMBERS},
    "cpu-max-period": {"zero": "0\n", "negative": "-1\n", "max": "max\n", **NO_NUMBERS},
    "cfs-quota": {"zero": "0\n", "max": "max\n", **NO_NUMBERS, **NO_VALUE},
    "cfs-period": {"zero": "0\n", "negative": "-1\n", **NO_NUMBERS, **NO_VALUE},
    "cpu-list": {
        "backwards": "3-1\n",
        "open-range": "0-\n",
        "two-dashes": "0-1-2\n",
        "blank-after-comma": "0, 1\n",
        "stride": "0-3:1/2\n",
        "mask": "ff\n",
        **NO_NUMBERS,
    },
    "pressure": {
        "no-total": "some avg10=0.00 avg60=0.00 avg300=0.00\n",
        "negative": "some total=-1\n",
        "exponent": "some total=1e6\n",
        "no-equals-sign": "some total 5\n",
        **NO_VALUE,
    },
    "stat": {"other-keys": "file 6\n", "no-number": "anon x\n", **NO_VALUE},
}


def rows(tables: Mapping[str, Mapping[str, Any]]) -> list[Any]:  # Any: pytest does not export its parameters' type
    """Return a pytest parameter for each row: its parser and what the row holds."""
    return [pytest.param(PARSERS[p], row, id=f"{p}:{name}") for p, some in tables.items() for name, row in some.items()]


@pytest.mark.parametrize(("read", "row"), rows(MEANT))
def test_a_file_means(read: Parser, row: tuple[str, object]) -> None:
    text, value = row
    assert read(text) == value


@pytest.mark.parametrize(("read", "text"), rows(MALFORMED))
def test_what_the_kernel_never_prints_is_malformed(read: Parser, text: str) -> None:
    with pytest.raises(MalformedFile):
        read(text)


def test_a_huge_range_of_cpus_is_counted_and_not_walked() -> None:
    before = time.process_time()
    assert parse.parse_cpu_list("0-9999999999999999999,5\n") == 10**19
    assert time.process_time() - before < 1


def test_the_error_says_what_was_expected_and_shows_what_was_found() -> None:
    with pytest.raises(MalformedFile, match=r"expected .*quota.*period.*, got '200000 0"):
        parse.parse_cpu_max("200000 0\n")


def test_the_error_cuts_a_long_file_short() -> None:
    with pytest.raises(MalformedFile) as caught:
        parse.parse_count("x" * 100_000)
    assert len(str(caught.value)) < 200


@given(st.binary(max_size=200) | st.text("max -109\t\n\0:,=kB٣").map(str.encode))
def test_no_bytes_make_a_parser_raise_anything_else(content: bytes) -> None:
    for read in PARSERS.values():
        with suppress(MalformedFile):
            read(os.fsdecode(content))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=8))
def test_a_list_of_cpus_counts_like_a_set(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(f"{low}-{low + more}" if more else str(low) for low, more in ranges)
    cpus = {cpu for low, more in ranges for cpu in range(low, low + more + 1)}
    assert parse.parse_cpu_list(text) == len(cpus)
