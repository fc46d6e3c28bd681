"""How long calls of a function last, and so what they can have taken at the most. Pure."""

from math import inf

__all__ = ["Lasting"]

# A call takes no more than so many bytes a second: what page faults and the memory bus allow one thread.
_PACE = 8 << 30
# So many calls make a mean, which is known for so many seconds.
_ENOUGH, _KNOWN_S = 20, 5.0


class Lasting:
    """*most*: what a call can have taken, in bytes, infinite while nobody knows. Used by one thread at a time."""

    __slots__ = ("_count", "_mean", "_seconds", "_until", "most")

    def __init__(self) -> None:
        self.most = inf
        self._count, self._seconds = 0, 0.0
        self._mean, self._until = inf, inf

    def see(self, count: int, seconds: float, now: float) -> None:
        """Take in that so many calls have ended, which lasted so long together."""
        self._count += count
        self._seconds += seconds
        if self._count >= _ENOUGH:
            self._mean, self._until = self._seconds / self._count, now + _KNOWN_S
            self._count, self._seconds = 0, 0.0

    def look(self, oldest: float, now: float) -> None:
        """Settle what a call can have taken by now, the *oldest* that runs having begun so many seconds ago."""
        if now >= self._until:  # by now they may be others
            self._mean = self._until = inf
        self.most = _PACE * max(self._mean, oldest)
