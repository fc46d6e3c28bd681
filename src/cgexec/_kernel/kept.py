"""The same files with their descriptors kept open: for a look that is taken again and again."""

import errno
import os
from typing import NamedTuple

from cgexec._kernel.files import LARGEST, Files

__all__ = ["KeptFiles"]

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_CHUNK = 1 << 14
# What the kernel prints in one piece (single_open() in fs/seq_file.c, cgroup_kf_single_ops in kernel/cgroup/cgroup.c):
# an answer shorter than what was asked for is all of it. Of any other file (mountinfo, cgroup.procs) an answer is the
# lines that fit a page, mostly a little less than 4096 bytes, and only an empty one says "no more": seq_read_iter().
_ONE_PIECE = frozenset(
    {
        *("memory.current", "memory.events", "memory.high", "memory.max", "memory.stat"),
        *("memory.limit_in_bytes", "memory.usage_in_bytes"),
        *("cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.max", "cpu.pressure", "cpu.stat", "pids.max"),
        *("io", "schedstat", "statm", "status"),
    }
)
# More than the levels of any container have, less than a process would miss.
_MOST = 64
# The process has nothing left to look with, which says nothing about the file.
_STARVED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class _Kept(NamedTuple):
    fd: int
    device: int
    inode: int
    one_piece: bool

    def is_ours(self) -> bool:
        """Return whether the number still stands for the file it was opened for."""
        try:
            return _identity_of(self.fd) == (self.device, self.inode)
        except OSError:  # closed
            return False


def _identity_of(fd: int) -> tuple[int, int]:
    seen = os.fstat(fd)
    return seen.st_dev, seen.st_ino


class KeptFiles(Files):
    """
    `Files` whose descriptors stay open between looks. Used by one thread at a time.

    Opening is most of what a look costs, and with a kept descriptor it needs none when the process has no more to give
    (EMFILE). A file that is gone (its cgroup was removed) is opened again, and is absent if that fails. After a fork
    the descriptors of ``/proc/self`` are still the parent's: `close` them.

    *starved*: a file could not be opened because the process has no more descriptors, or no memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.starved = False
        self._kept: dict[str, _Kept] = {}

    def text(self, path: str) -> str | None:
        """Return the content of *path*, None if it is absent or cannot be read."""
        kept = self._kept.get(path)
        if kept is not None:
            try:
                return self._content(path, kept)
            except OSError:  # the cgroup is gone, or somebody closed what is not theirs
                self.forget(path)
                self.check()  # else the next number opened may stand for another path, too
        try:
            fd = os.open(path, _FLAGS)
        except (OSError, ValueError) as error:
            self.starved = self.starved or (isinstance(error, OSError) and error.errno in _STARVED)
            self._note_refusal(path, error)
            return None
        if len(self._kept) >= _MOST:
            self.close()
        try:
            kept = self._kept[path] = _Kept(fd, *_identity_of(fd), path.rpartition("/")[2] in _ONE_PIECE)
            return self._content(path, kept)
        except OSError as error:
            self.forget(path)
            self._note_refusal(path, error)
            return None

    def _content(self, path: str, kept: _Kept) -> str | None:
        content = more = os.pread(kept.fd, _CHUNK, 0)
        # Where one call is known to be enough it is the only one: each lets go of the interpreter lock.
        while len(more) == _CHUNK if kept.one_piece else more:
            more = os.pread(kept.fd, _CHUNK, len(content))
            content += more
            if len(content) > LARGEST:
                self._note_size(path)
                return None
        return os.fsdecode(content)

    def forget(self, path: str) -> None:
        """Close the descriptor of *path*, if there is one and it is still ours."""
        kept = self._kept.pop(path, None)
        if kept is not None and kept.is_ours():
            os.close(kept.fd)

    def check(self) -> None:
        """Forget descriptors that somebody has closed, and that may be another file's by now."""
        self._kept = {path: kept for path, kept in self._kept.items() if kept.is_ours()}

    def close(self) -> None:
        """Close the descriptors; the next look opens them again."""
        for path in list(self._kept):
            self.forget(path)
