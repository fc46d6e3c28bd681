"""
The files of the flight recorder: one a process, mapped into memory, so that a write costs no more than a copy and is
not lost when the process is killed.

Whoever writes a file holds a lock on it, which the kernel takes away with the process, however that ends. So a file
that can be locked is left behind by one that did not end well. Process numbers would not tell: two containers may share
the folder, and each has a process 1.
"""

import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cgexec._flight.layout import FILE_BYTES, SLOT_BYTES, Record, pack, unpack

__all__ = ["Recorder", "take_leftovers"]

_PREFIX, _SUFFIX = "cgexec-", ".flight"


class Recorder:
    """
    One process's file. Used by one thread at a time.

    Raises:
        OSError: the folder cannot be made or written to, or the system has no such locks.
    """

    def __init__(self, folder: Path, pid: int, started: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{_PREFIX}{pid}-{started}{_SUFFIX}"
        self._sequence = 0
        # Locked before it has its name, or another process might take it for one left behind.
        unnamed = folder / f".{self.path.name}"
        self._file = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _lock(self._file)
            _fill(self._file)
            self._map = mmap.mmap(self._file, FILE_BYTES)
            unnamed.rename(self.path)
        except BaseException:
            os.close(self._file)
            unnamed.unlink(missing_ok=True)
            raise

    def write(self, record: Record) -> None:
        """Write a record over the one before the last."""
        self._sequence += 1
        start = self._sequence % 2 * SLOT_BYTES
        self._map[start : start + SLOT_BYTES] = pack(record, self._sequence)

    def let_go(self) -> None:
        """Close the file and leave it, as a forked child has to: the parent's lock stays."""
        self._map.close()
        os.close(self._file)

    def close(self) -> None:
        """Remove the file: the process ends well."""
        self.path.unlink(missing_ok=True)
        self.let_go()


def take_leftovers(folder: Path) -> list[Record]:
    """
    Remove the files of processes that are no more, and return what they last wrote, the newest first.

    Raises:
        OSError: the folder cannot be read.
    """
    records = [record for path in _files(folder) if (record := _take(path)) is not None]
    return sorted(records, key=lambda record: record.when, reverse=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX))


def _take(path: Path) -> Record | None:
    """Return the record of a file nobody writes any more; None if somebody does, or it holds none."""
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, a link, or another user's
        return None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        _lock(file)
        data = os.read(file, FILE_BYTES)
        path.unlink(missing_ok=True)
        return unpack(data)
    except OSError:  # it lives
        return None
    finally:
        os.close(file)


def _fill(file: int) -> None:
    """Write it, not only make it longer: a hole on a full disk would end the process at the first access."""
    missing = FILE_BYTES
    while missing:  # where the disk takes a part, the next attempt says why not the rest
        missing -= os.write(file, bytes(missing))


def _lock(file: int) -> None:
    try:
        import fcntl
    except ImportError:
        raise OSError("this system has no flock()") from None
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
