"""
A record as bytes, in a fixed layout. Pure.

A file holds two slots that are written in turn, each with a sequence number and a checksum: a process that is killed in
the middle of one leaves the other. Whatever else a file may hold is no record.
"""

import math
import struct
import zlib
from typing import NamedTuple

from cgexec._plain import plain

__all__ = ["FILE_BYTES", "SLOT_BYTES", "Doing", "Record", "pack", "unpack"]

MAGIC = b"cgx1"
SLOT_BYTES = 2048
FILE_BYTES = 2 * SLOT_BYTES
MOST_FUNCTIONS = 12
_HEAD = struct.Struct("<4sIQ")  # magic, checksum of what follows it, sequence number
_NUMBERS = struct.Struct("<dqqqqIIIIII")
_TEXTS = struct.Struct("<128s64s")
_FUNCTION = struct.Struct("<d104s")
# The year 5138: beyond what a calendar of Python can show it is no time of a record.
_LATEST = 1e11


class Doing(NamedTuple):
    """A task that runs: the name of its function, and for how many seconds."""

    function: str
    seconds: float


class Record(NamedTuple):
    """
    What a process was doing. Sizes in bytes; None is "no limit" and "not known".

    Attributes:
        when: seconds since the epoch.
        pid: of the process, as it saw it itself.
        started: when the process was started, in the kernel's clock ticks; 0 where that is not known.
        size: tasks that may run at once, all pools together.
        functions: what ran longest, the longest first.
        source: where the limit stood.
        host: the machine's name, which is a pod's.
        cgroup: a number for where *oom_kills* were counted; 0 where that is not known.
    """

    when: float
    pid: int
    started: int
    limit: int | None
    used: int | None
    oom_kills: int | None
    size: int
    running: int
    waiting: int
    functions: tuple[Doing, ...] = ()
    source: str = ""
    host: str = ""
    cgroup: int = 0


def pack(record: Record, sequence: int) -> bytes:
    """Return a slot; what is too long for it is cut off."""
    functions = record.functions[:MOST_FUNCTIONS]
    body = b"".join((
        _NUMBERS.pack(
            record.when, record.started, _known(record.limit), _known(record.used), _known(record.oom_kills),
            *(min(count, 0xFFFFFFFF) for count in (record.pid, record.size, record.running, record.waiting)),
            record.cgroup,
            len(functions),
        ),
        _TEXTS.pack(_cut(record.source, 128), _cut(record.host, 64)),
        *(_FUNCTION.pack(doing.seconds, _cut(doing.function, 104)) for doing in functions),
    ))  # fmt: skip
    rest = struct.pack("<Q", sequence) + body
    return (MAGIC + struct.pack("<I", zlib.crc32(rest)) + rest).ljust(SLOT_BYTES, b"\0")


def _known(value: int | None) -> int:
    return -1 if value is None else min(value, 2**63 - 1)


def _cut(text: str, size: int) -> bytes:
    data = text.encode("utf-8", "replace")[:size]
    return data.decode("utf-8", "ignore").encode("utf-8")  # no half character


def unpack(data: bytes) -> Record | None:
    """Return the newest record of a file, None if it has none."""
    slots = (_slot(data[start : start + SLOT_BYTES]) for start in (0, SLOT_BYTES))
    newest = max((slot for slot in slots if slot is not None), key=lambda slot: slot[0], default=None)
    return None if newest is None else newest[1]


def _slot(data: bytes) -> tuple[int, Record] | None:
    if len(data) < SLOT_BYTES or data[: len(MAGIC)] != MAGIC:
        return None
    _, checksum, sequence = _HEAD.unpack_from(data)
    at = _HEAD.size
    when, started, limit, used, kills, pid, size, running, waiting, cgroup, count = _NUMBERS.unpack_from(data, at)
    at += _NUMBERS.size
    end = at + _TEXTS.size + min(count, MOST_FUNCTIONS) * _FUNCTION.size
    if zlib.crc32(data[8:end]) != checksum or not 0 <= when <= _LATEST:
        return None
    source, host = _TEXTS.unpack_from(data, at)
    pairs = _FUNCTION.iter_unpack(data[at + _TEXTS.size : end])
    functions = tuple(Doing(_text(name), seconds) for seconds, name in pairs if math.isfinite(seconds))
    return sequence, Record(
        when, pid, started, _unknown(limit), _unknown(used), _unknown(kills), size, running, waiting, functions,
        _text(source), _text(host), cgroup,
    )  # fmt: skip


def _unknown(value: int) -> int | None:
    return None if value < 0 else value


def _text(data: bytes) -> str:
    return plain(data.rstrip(b"\0").decode("utf-8", "replace"))
