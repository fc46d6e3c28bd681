"""
What a Windows job object allows this process: memory limit and CPU rate. Containers there are job objects.

The layouts are those of winnt.h (JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECT_CPU_RATE_CONTROL_INFORMATION and
JOBOBJECT_MEMORY_USAGE_INFORMATION); decoding them is pure and runs on any system. Of nested jobs the kernel tells only
about the nearest one.
"""

import ctypes
import struct
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["JobLimits", "count_processors", "decode_cpu_rate", "decode_memory_limit", "read_job"]

_EXTENDED_LIMIT, _CPU_RATE, _MEMORY_USAGE = 9, 15, 28  # JOBOBJECTINFOCLASS
_LIMIT_PROCESS_MEMORY, _LIMIT_JOB_MEMORY = 0x100, 0x200
_RATE_ENABLE, _RATE_WEIGHT, _RATE_HARD_CAP, _RATE_MIN_MAX = 0x1, 0x2, 0x4, 0x10
# LimitFlags stands behind two 64-bit times; the two limits behind the basic part and six 64-bit I/O counters.
_FLAGS_AT = 16
_BASIC_SIZE = {4: 48, 8: 64}  # by size of a pointer
_IO_COUNTERS_SIZE = 48

_ALL_PROCESSOR_GROUPS = 0xFFFF

# (information class, size) -> the bytes, or None if the system refuses
Query = Callable[[int, int], bytes | None]


class JobLimits(NamedTuple):
    """The job's limits; None is no limit. *cpu_share* is a share of all processors of the machine."""

    memory_limit: int | None
    cpu_share: float | None
    memory_bytes: int | None  # what the job has committed now, where the system tells


def read_job(query: Query | None = None) -> JobLimits:
    """Return the limits of the job this process runs in; no limits if it runs in none. Never raises."""
    ask = query or _query
    pointer = struct.calcsize("P")
    extended = ask(_EXTENDED_LIMIT, _BASIC_SIZE[pointer] + _IO_COUNTERS_SIZE + 4 * pointer)
    rate = ask(_CPU_RATE, 8)
    use = ask(_MEMORY_USAGE, 16)
    return JobLimits(
        memory_limit=None if extended is None else decode_memory_limit(extended, pointer),
        cpu_share=None if rate is None else decode_cpu_rate(rate),
        memory_bytes=None if use is None else int(struct.unpack_from("<Q", use)[0]),
    )


def count_processors() -> int | None:
    """Return how many processors the machine has, which is what a share is of; None if the system does not tell."""
    kernel32 = getattr(ctypes, "windll", None)
    return None if kernel32 is None else kernel32.kernel32.GetActiveProcessorCount(_ALL_PROCESSOR_GROUPS) or None


def decode_memory_limit(data: bytes, pointer: int) -> int | None:
    """Return the least of the process's and the job's memory limit in bytes, None if neither is set."""
    (flags,) = struct.unpack_from("<I", data, _FLAGS_AT)
    word = "<Q" if pointer == 8 else "<I"
    at = _BASIC_SIZE[pointer] + _IO_COUNTERS_SIZE
    limits: list[int] = []
    if flags & _LIMIT_PROCESS_MEMORY:
        limits.append(struct.unpack_from(word, data, at)[0])
    if flags & _LIMIT_JOB_MEMORY:
        limits.append(struct.unpack_from(word, data, at + pointer)[0])
    return min(limits) if limits else None


def decode_cpu_rate(data: bytes) -> float | None:
    """Return the hard cap as a share of the machine, from 0 to 1; a weight is no limit."""
    flags, rate = struct.unpack_from("<II", data)
    if not flags & _RATE_ENABLE or flags & _RATE_WEIGHT:
        return None
    if flags & _RATE_MIN_MAX:
        rate >>= 16  # two 16-bit words, the maximum in the upper one
    elif not flags & _RATE_HARD_CAP:
        return None
    return rate / 10_000 if 0 < rate < 10_000 else None


def _query(information_class: int, size: int) -> bytes | None:
    """Ask the system about the job of the calling process (a null handle means that one)."""
    kernel32 = getattr(ctypes, "windll", None)
    if kernel32 is None:
        return None
    buffer = ctypes.create_string_buffer(size)
    ask = kernel32.kernel32.QueryInformationJobObject
    ask.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]
    ask.restype = ctypes.c_int
    return buffer.raw if ask(None, information_class, buffer, size, None) else None
