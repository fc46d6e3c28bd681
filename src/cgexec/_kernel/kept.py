"""The same files with their descriptors kept open: for a look that is taken again and again."""

import os

from cgexec._kernel.files import Files

__all__ = ["KeptFiles"]

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_CHUNK = 1 << 14
_LARGEST = 1 << 24
# More than the levels of any container have, less than a process would miss.
_MOST = 64


class KeptFiles(Files):
    """
    `Files` whose descriptors stay open between looks. Used by one thread at a time.

    Opening is most of what a look costs, and with a kept descriptor it needs none when the process has no more to give
    (EMFILE). A file that is gone (its cgroup was removed) is opened again, and is absent if that fails. After a fork
    the descriptors of ``/proc/self`` are still the parent's: `close` them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, int] = {}

    def text(self, path: str) -> str | None:
        """Return the content of *path*, None if it is absent or cannot be read."""
        fd = self._kept.get(path)
        if fd is not None:
            try:
                return self._content(fd)
            except OSError:  # the cgroup is gone, or somebody closed what is not theirs
                self.forget(path)
        try:
            fd = os.open(path, _FLAGS)
        except (OSError, ValueError) as error:
            self._note_refusal(path, error)
            return None
        if len(self._kept) >= _MOST:
            self.close()
        self._kept[path] = fd
        try:
            return self._content(fd)
        except OSError as error:
            self.forget(path)
            self._note_refusal(path, error)
            return None

    def _content(self, fd: int) -> str:
        content = os.pread(fd, _CHUNK, 0)
        # A full answer may not be all of it; a short one need not be either, so only what fits at once is trusted to.
        if len(content) >= _CHUNK // 4:
            while (more := os.pread(fd, _CHUNK, len(content))) and len(content) < _LARGEST:
                content += more
        return os.fsdecode(content)

    def forget(self, path: str) -> None:
        """Close the descriptor of *path*, if there is one."""
        fd = self._kept.pop(path, None)
        if fd is not None:
            try:
                os.close(fd)
            except OSError:
                return

    def close(self) -> None:
        """Close the descriptors; the next look opens them again."""
        for path in list(self._kept):
            self.forget(path)
