"""Since when nothing has ended, pool by pool. Pure."""

from collections.abc import Mapping

__all__ = ["Lulls"]


class Lulls:
    """Compares each look with the one before. Used by one thread at a time."""

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}
        self._since: dict[int, float] = {}

    def see(self, ended: Mapping[int, int], now: float) -> dict[int, int]:
        """Take in how many tasks of each pool (by any key) have ended so far; return how many since the last look."""
        more = {pool: max(0, count - self._ended.get(pool, 0)) for pool, count in ended.items()}
        self._since = {pool: now if count else self._since.get(pool, now) for pool, count in more.items()}
        self._ended = dict(ended)
        return more

    def since(self, pool: int) -> float:
        """Return when something was last seen to have ended in a pool that was seen at the last look."""
        return self._since[pool]
