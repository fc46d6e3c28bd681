"""
A Windows job object, decoded from buffers.

There is no Windows here, so the system call is not exercised: decoding is pure, its input is built by hand in the
layout that winnt.h documents (ctypes structures with a pointer of either size), and `read_job` is handed a function
that answers in the system's place.
"""

import ctypes
import struct
from collections.abc import Mapping

import pytest

from cgexec._kernel.windows import JobLimits, decode_cpu_rate, decode_memory_limit, read_job

PROCESS_MEMORY, JOB_MEMORY, KILL_ON_CLOSE = 0x100, 0x200, 0x2000  # JOB_OBJECT_LIMIT_...
ENABLE, WEIGHT, HARD_CAP, NOTIFY, MIN_MAX = 0x1, 0x2, 0x4, 0x8, 0x10  # JOB_OBJECT_CPU_RATE_CONTROL_...
EXTENDED_LIMIT, CPU_RATE, MEMORY_USAGE = 9, 15, 28  # JOBOBJECTINFOCLASS
GIB = 1 << 30
HERE = struct.calcsize("P")
# SIZE_T and ULONG_PTR by size of a pointer; the 64-bit times are aligned to 8 in both.
WORDS = {4: ctypes.c_uint32, 8: ctypes.c_uint64}


def extended(pointer: int, flags: int, *, process: int = 0, job: int = 0) -> bytes:
    """Return a JOBOBJECT_EXTENDED_LIMIT_INFORMATION; every field that must not matter is full of ones."""
    word = WORDS[pointer]

    class Basic(ctypes.Structure):
        _fields_ = (
            ("PerProcessUserTimeLimit", ctypes.c_int64),
            ("PerJobUserTimeLimit", ctypes.c_int64),
            ("LimitFlags", ctypes.c_uint32),
            ("MinimumWorkingSetSize", word),
            ("MaximumWorkingSetSize", word),
            ("ActiveProcessLimit", ctypes.c_uint32),
            ("Affinity", word),
            ("PriorityClass", ctypes.c_uint32),
            ("SchedulingClass", ctypes.c_uint32),
        )

    class Extended(ctypes.Structure):
        _fields_ = (
            ("BasicLimitInformation", Basic),
            ("IoInfo", ctypes.c_uint64 * 6),
            ("ProcessMemoryLimit", word),
            ("JobMemoryLimit", word),
            ("PeakProcessMemoryUsed", word),
            ("PeakJobMemoryUsed", word),
        )

    value = Extended.from_buffer_copy(b"\xff" * ctypes.sizeof(Extended))
    value.BasicLimitInformation.LimitFlags = flags
    value.ProcessMemoryLimit, value.JobMemoryLimit = process, job
    return bytes(value)


def rate(flags: int, value: int) -> bytes:
    """Return a JOBOBJECT_CPU_RATE_CONTROL_INFORMATION: the flags and a union of 32 bits."""
    return struct.pack("<II", flags, value)


both = pytest.mark.parametrize("pointer", [4, 8], ids=["32-bit", "64-bit"])


@both
def test_the_layout_has_the_documented_size(pointer: int) -> None:
    assert len(extended(pointer, 0)) == {4: 112, 8: 144}[pointer]


@both
@pytest.mark.parametrize(
    ("flags", "process", "job", "limit"),
    [
        pytest.param(0, GIB, GIB, None, id="no-flag-no-limit"),
        pytest.param(KILL_ON_CLOSE, GIB, GIB, None, id="another-flag"),
        pytest.param(JOB_MEMORY, 5, 2 * GIB, 2 * GIB, id="job"),
        pytest.param(PROCESS_MEMORY, GIB, 5, GIB, id="process"),
        pytest.param(PROCESS_MEMORY | JOB_MEMORY, GIB, 2 * GIB, GIB, id="the-process-limit-is-less"),
        pytest.param(PROCESS_MEMORY | JOB_MEMORY, 3 * GIB, 2 * GIB, 2 * GIB, id="the-job-limit-is-less"),
        pytest.param(JOB_MEMORY | KILL_ON_CLOSE, 0, GIB, GIB, id="among-other-flags"),
        pytest.param(JOB_MEMORY, 0, 2**32 - 1, 2**32 - 1, id="largest-32-bit"),
    ],
)
def test_memory_limit(pointer: int, flags: int, process: int, job: int, limit: int | None) -> None:
    assert decode_memory_limit(extended(pointer, flags, process=process, job=job), pointer) == limit


def test_a_limit_above_4_gib_is_read_whole_on_64_bit() -> None:
    assert decode_memory_limit(extended(8, JOB_MEMORY, job=64 * GIB), 8) == 64 * GIB


@pytest.mark.parametrize(
    ("flags", "value", "share"),
    [
        pytest.param(ENABLE | HARD_CAP, 2500, 0.25, id="hard-cap"),
        pytest.param(ENABLE | HARD_CAP | NOTIFY, 5000, 0.5, id="hard-cap-with-notification"),
        pytest.param(ENABLE | HARD_CAP, 1, 0.0001, id="least-cap"),
        pytest.param(ENABLE | HARD_CAP, 10_000, None, id="all-of-the-machine"),
        pytest.param(ENABLE | HARD_CAP, 0, None, id="zero-is-no-statement"),
        pytest.param(ENABLE | WEIGHT, 5, None, id="a-weight-is-no-limit"),
        pytest.param(ENABLE | WEIGHT | HARD_CAP, 5, None, id="a-weight-whatever-else"),
        pytest.param(ENABLE, 2500, None, id="a-soft-cap-is-no-limit"),
        pytest.param(HARD_CAP, 2500, None, id="disabled"),
        pytest.param(0, 2500, None, id="no-flags"),
        pytest.param(ENABLE | MIN_MAX, 7500 << 16 | 1000, 0.75, id="the-maximum-is-the-upper-word"),
        pytest.param(ENABLE | MIN_MAX, 10_000 << 16 | 1000, None, id="only-a-minimum"),
    ],
)
def test_cpu_rate(flags: int, value: int, share: float | None) -> None:
    assert decode_cpu_rate(rate(flags, value)) == share


def answering(answers: Mapping[int, bytes]) -> tuple[list[tuple[int, int]], JobLimits]:
    """Return what `read_job` asked for, as (class, size), and what it made of *answers*."""
    asked: list[tuple[int, int]] = []

    def query(information_class: int, size: int) -> bytes | None:
        asked.append((information_class, size))
        return answers.get(information_class)

    return asked, read_job(query)


def test_a_job_with_everything() -> None:
    _, job = answering(
        {
            EXTENDED_LIMIT: extended(HERE, JOB_MEMORY, job=GIB),
            CPU_RATE: rate(ENABLE | HARD_CAP, 2500),
            MEMORY_USAGE: struct.pack("<QQ", 300 << 20, 400 << 20),
        }
    )
    assert job == JobLimits(memory_limit=GIB, cpu_share=0.25, memory_bytes=300 << 20)


def test_each_class_is_asked_for_with_the_size_of_its_structure() -> None:
    asked, _ = answering({})
    assert dict(asked) == {EXTENDED_LIMIT: len(extended(HERE, 0)), CPU_RATE: 8, MEMORY_USAGE: 16}


def test_a_system_that_refuses_sets_no_limits() -> None:
    _, job = answering({})
    assert job == JobLimits(None, None, None)


def test_what_is_refused_does_not_hide_what_is_told() -> None:
    _, job = answering({CPU_RATE: rate(ENABLE | HARD_CAP, 5000)})
    assert job == JobLimits(None, 0.5, None)


@pytest.mark.skipif(hasattr(ctypes, "windll"), reason="this is Windows, where a job may well be found")
def test_elsewhere_than_on_windows_there_is_no_job() -> None:
    assert read_job() == JobLimits(None, None, None)
