"""The pools of this process, for those who look at all of them."""

import itertools
import os
import threading
from typing import Protocol
from weakref import WeakKeyDictionary

from cgexec._pool.look import Stats

__all__ = ["Listed", "enlist", "pools"]


class Listed(Protocol):
    """A pool that can be asked for its numbers."""

    def stats(self) -> Stats:
        """Return them."""


# Re-entrant: a finalizer that runs in the middle may make a pool.
_lock = threading.RLock()
_pools: WeakKeyDictionary[Listed, int] = WeakKeyDictionary()
_numbers = itertools.count(1)


def enlist(pool: Listed) -> None:
    """Have the pool among those that `pools` returns, for as long as somebody holds it."""
    with _lock:
        _pools[pool] = next(_numbers)


def pools() -> list[tuple[Listed, int]]:
    """Return the pools there are, oldest first, and their numbers; those of a parent process are left out."""
    with _lock:
        return list(_pools.items())


def _after_fork_in_child() -> None:
    global _lock, _pools  # another thread may have held the lock, and the pools are the parent's
    _lock, _pools = threading.RLock(), WeakKeyDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
