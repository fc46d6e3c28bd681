"""Whether memory grows, or only goes up and down as it did before. Pure."""

from math import inf

__all__ = ["Growth"]

# "Before" is a stretch of so many seconds, that before the present one.
_STRETCH_S = 5.0


class Growth:
    """*since*: when use was last seen to be more than ever in the stretch before. Used by one thread at a time."""

    def __init__(self) -> None:
        self.since = -inf
        self._before = self._most = 0.0
        self._begun = -inf

    def see(self, used: float, tolerance: float, now: float) -> None:
        """Take in what is used, in bytes; so much more is no growth yet."""
        if now >= self._begun + _STRETCH_S:
            known = now < self._begun + 2 * _STRETCH_S  # else nobody looked for long
            self._before, self._most, self._begun = self._most if known else used, used, now
        self._most = max(self._most, used)
        if used > self._before + tolerance:
            self.since = now
