"""
Whether the page cache thrashes: so much memory is taken that the pages of files are thrown out before they are used,
and fetched again and again. Then more has to be kept free for them, though none of it counts as used.

It takes two signs. More was fetched from storage than was asked for (proc_pid_io(5)): alone that may be a file that is
mapped, or read ahead in vain. And as much was fetched that had been in memory before (refaults, cgroup-v2.rst): alone
that may be files that are read in turn and never fitted.
"""

from typing import Literal, NamedTuple

__all__ = ["FileReads", "Thrash"]

_MIB = 1 << 20
# Between two looks at it, and how far back it is remembered what was read; in seconds.
_EVERY_S, _WINDOW_S = 0.1, 10.0
# So much in vain is too much; or the limit, if that is less. So much more of the limit is kept free each time, up to
# the most; it halves in so many seconds.
_WASTED = 256 * _MIB
_STEP, _MOST, _HALF_LIFE_S = 0.1, 0.3, 60.0
# With a fuse tasks fill what there is to the brim, and those that thrash then hardly end. So where such a part of the
# limit is fetched, and at least so much, so large a part is kept free beforehand.
_FETCHES, _FETCHES_LEAST, _BEFOREHAND = 0.02, 16 * _MIB, 0.17


class FileReads(NamedTuple):
    """
    Bytes so far: *asked* for by reads that have ended (those of pipes, too) and by page faults; *fetched* from storage;
    and those that had been in memory before and came *again*, for the whole cgroup.
    """

    asked: int
    fetched: int
    again: int


class Thrash:
    """Decides how much is kept free for files. Pure; used by one thread at a time."""

    def __init__(self) -> None:
        self._share, self._shared = 0.0, 0.0  # of the limit, and when that was
        self._looked = 0.0
        self._base: tuple[float, FileReads] | None = None

    def share(self, now: float) -> float:
        """Return the part of the limit that is kept free now."""
        return self._share * float(0.5 ** ((now - self._shared) / _HALF_LIFE_S))

    def is_due(self, now: float) -> bool:
        """Return whether to look again."""
        return now - self._looked >= _EVERY_S

    def see(
        self, now: float, reads: FileReads | None, limit: int, *, beforehand: bool
    ) -> Literal["thrash", "fetch"] | None:
        """
        Take in what was read so far; return why more is kept free from now on, None if it is not. *beforehand*: do not
        wait until files do not fit.
        """
        self._looked = now
        if reads is None:
            return None
        if self._base is None or now - self._base[0] > _WINDOW_S:
            self._base = now, reads
            return None
        asked, fetched, again = (after - before for after, before in zip(reads, self._base[1], strict=True))
        wasted = min(limit, _WASTED)
        if fetched - asked >= wasted and again >= wasted / 2:
            self._base = now, reads
            self._share, self._shared = min(_MOST, self.share(now) + _STEP), now
            return "thrash"
        if not beforehand or fetched < max(_FETCHES_LEAST, _FETCHES * limit) or self.share(now) >= _BEFOREHAND:
            return None
        first = self.share(now) < _BEFOREHAND / 2  # of late; else it is only kept up
        self._share, self._shared = _BEFOREHAND, now
        return "fetch" if first else None
