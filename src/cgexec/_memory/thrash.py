"""
Whether the page cache thrashes: so much memory is taken that the pages of files are thrown out before they are used,
and fetched again and again. Then more has to be kept free for them, though none of it counts as used.

What this process fetched from storage is compared with what it asked for (proc_pid_io(5)). One that reads the same
files again and again fetches no more than it asks for, whereas it refaults (``workingset_refault_file``) as well.
"""

from typing import NamedTuple

__all__ = ["FileReads", "Thrash"]

# Between two looks at it, in seconds. Without a fuse only while so much of the limit cannot be given back.
_EVERY_S, _FULL = 0.1, 0.5
# So much more of the limit is kept free each time, up to the most; it halves in so many seconds.
_STEP, _MOST, _HALF_LIFE_S = 0.1, 0.3, 60.0
# With a fuse tasks fill what there is to the brim, and those that thrash then hardly end. So as soon as such a part of
# the limit is fetched in a second, so much is kept free.
_FETCHES, _BEFOREHAND = 0.02, 0.17


class FileReads(NamedTuple):
    """
    Bytes so far: *asked* for, by reads that have ended (those of sockets and pipes, too) and page faults; *fetched*
    from storage.
    """

    asked: int
    fetched: int


class Thrash:
    """Decides how much is kept free for files. Pure; used by one thread at a time."""

    def __init__(self) -> None:
        self.share = 0.0  # of the limit
        self._looked = 0.0
        self._fetched: int | None = None
        self._least = 0  # that was fetched beyond what was asked for

    def is_due(self, now: float, full: float, *, fused: bool) -> bool:
        """Return whether to look; *full* is how much of the limit cannot be given back (0 to 1)."""
        return (fused or full >= _FULL) and now - self._looked >= _EVERY_S

    def see(self, now: float, reads: FileReads | None, limit: int, *, fused: bool) -> bool:
        """
        Take in what was read so far; True if files did not fit, and more is kept free from now on.

        Reads under way were fetched and not counted as asked for. But what they fetched is in memory, so that is less
        than the limit. What was fetched beyond that was thrown out again.
        """
        seconds, self._looked = now - self._looked, now
        self.share *= 0.5 ** (seconds / _HALF_LIFE_S)
        if reads is None:
            return False
        beyond = reads.fetched - reads.asked
        before, self._fetched = self._fetched, reads.fetched
        if before is None:
            self._least = beyond
            return False
        if fused and reads.fetched - before >= _FETCHES * seconds * limit:
            self.share = max(self.share, _BEFOREHAND)
        self._least = min(self._least, beyond)
        if beyond - self._least < limit:
            return False
        self._least = beyond
        self.share = min(_MOST, self.share + _STEP)
        return True
