"""The only place that opens a kernel file. One policy for what is absent, unreadable or malformed."""

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from cgexec._kernel.parse import MalformedFile

__all__ = ["LARGEST", "Files", "need_descriptor", "printable"]

T = TypeVar("T")

# Not there is ordinary life in a container: no such controller, another version, PSI switched off.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP})
_CHUNK = 1 << 16
# mountinfo of a node with thousands of containers is a few MiB; more than this is no kernel file.
LARGEST = 1 << 24
# A fake tree may hold a FIFO; without O_NONBLOCK opening it would wait for a writer.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def printable(path: str) -> str:
    """Return *path* with the bytes that are no text escaped: a cgroup's name may hold any, and a log may take none."""
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode()


def need_descriptor() -> None:
    """
    Do nothing, but where the process has no descriptor left to open anything with: then what is there seems not to be.

    Raises:
        OSError: it has none.
    """
    os.close(os.open(os.devnull, os.O_RDONLY))


class Files:
    """
    The kernel's files as seen below *root*, and the notes made while reading them.

    Made for one look and used by one thread. Nothing here raises for what a file holds or for how it refuses:
    *absent* is None; *unreadable* and *malformed* are None and a note that names the file and the reason.
    """

    def __init__(self, root: str = "/") -> None:
        if not root:
            raise ValueError('root="": expected "/" for this machine, or a directory')
        self.root = root
        self.notes: list[str] = []
        self._prefix = "" if root == "/" else root.rstrip("/")
        if not self.has_directory("/"):
            raise ValueError(f"root={root!r}: there is no such directory")

    @property
    def is_this_machine(self) -> bool:
        """Whether the files are those of the machine we run on, so that system calls may be asked too."""
        return not self._prefix

    def note(self, text: str) -> None:
        """Add a note, once."""
        text = printable(text)
        if text not in self.notes:
            self.notes.append(text)

    def has_directory(self, path: str) -> bool:
        """Return whether there is such a directory (absolute, below the root), as far as it can be seen."""
        return os.path.isdir(f"{self._prefix}{path}")

    def text(self, path: str) -> str | None:
        """Return the content of *path* (absolute, below the root), None if it is absent or cannot be read."""
        try:
            fd = os.open(self._prefix + path, _FLAGS)
        except (OSError, ValueError) as error:  # ValueError: a NUL in a path that another kernel file gave
            self._note_refusal(path, error)
            return None
        try:
            content = os.read(fd, _CHUNK)
            # A short answer is not the end: seq_file gives what fits, and only an empty answer says "no more".
            while content and (more := os.read(fd, _CHUNK)):
                content += more
                if len(content) > LARGEST:
                    self._note_size(path)
                    return None
        except OSError as error:
            self._note_refusal(path, error)
            return None
        finally:
            os.close(fd)
        return os.fsdecode(content)

    def _note_size(self, path: str) -> None:
        self.note(f"{path}: larger than any kernel file, and not read further")

    def _note_refusal(self, path: str, error: OSError | ValueError) -> None:
        if isinstance(error, OSError) and error.errno in _ABSENT:
            return
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.note(f"{path}: cannot be read ({reason})")

    def value(self, path: str, parse: Callable[[str], T]) -> T | None:
        """Return what *parse* makes of the file, None if it is absent, unreadable or malformed."""
        text = self.text(path)
        return None if text is None else self.parsed(path, text, parse)

    def parsed(self, path: str, text: str, parse: Callable[[str], T]) -> T | None:
        """Return what *parse* makes of *text*, which was read from *path*; None and a note if it is malformed."""
        try:
            return parse(text)
        except MalformedFile as error:
            self.note(f"{path}: {error}")
            return None
