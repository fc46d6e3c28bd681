"""
The idle gap: what is mapped and never touched, mostly the stacks of threads. It counts against RLIMIT_DATA, and not
against the container. Pure but for `stack_size`.
"""

import threading

from cgexec._memory.gauge import Own

try:
    import resource as _resource
except ImportError:  # Windows
    _resource = None  # type: ignore[assignment]

__all__ = ["Gap", "stack_size"]

# glibc's for threads where RLIMIT_STACK sets none (pthread_create(3), x86-64).
_STACK = 2 << 20


class Gap:
    """
    Follows it. Used by one thread at a time.

    *stack*: bytes that a thread maps for its stack; *spare*: bytes of stacks of ended threads that stay mapped for the
    next.
    """

    def __init__(self, stack: int, spare: int = 0) -> None:
        self.stack = stack
        self._spare = spare // stack
        self._bytes: int | None = None
        self._stacks = 0  # mapped when it was measured
        self._most = 0  # threads that there were at once

    @property
    def known(self) -> bool:
        """Whether it was measured."""
        return self._bytes is not None

    def rest(self, own: Own, free: int | None) -> None:
        """
        Measure it while no task runs. *free*: what the allocator has mapped and not in use, which tasks may touch again
        without mapping anything; None where nobody knows, and then the gap only grows by stacks.

        How much of what is free has been touched is not known either, so the gap lies between two bounds.
        """
        most = max(0, own.data - own.private)
        least = 0 if free is None and self.known else max(0, most - (free or 0))
        self._bytes = min(max(self.at(own.threads), least), most)
        self._stacks = self._mapped(own.threads)

    def at(self, threads: int) -> int:
        """Return it with so many threads: one that was started later has a stack that it hardly touches."""
        return (self._bytes or 0) + (self._mapped(threads) - self._stacks) * self.stack

    def _mapped(self, threads: int) -> int:
        """Return how many stacks are mapped."""
        self._most = max(self._most, threads)
        return min(self._most, threads + self._spare)


def stack_size() -> int:
    """Return the bytes that a new thread maps for its stack."""
    own = threading.stack_size()  # asked without a size it sets the default one, whatever it was
    if own:
        threading.stack_size(own)
        return own
    soft: int = _STACK if _resource is None else _resource.getrlimit(_resource.RLIMIT_STACK)[0]
    return _STACK if _resource is None or soft == _resource.RLIM_INFINITY else soft
