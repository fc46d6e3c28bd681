"""
Asking memory back: of the allocator at once, and of the collector in a thread of its own that ends with it.

A collection runs finalizers, which may be anybody's code: one that shuts a pool down waits for tasks, and these may be
held for want of memory. So it is done where nobody waits for it: not by the thread that looks by time, as what is held
depends on it, nor by a worker, nor under a lock of ours. A finalizer that never ends keeps this thread, and memory is
not asked back any more; all else goes on. The allocator runs nobody's code, and it must not need a thread: at the fuse
none may be to be had.
"""

import gc
import threading
from contextlib import suppress
from time import monotonic

from cgexec._memory.allocator import trim
from cgexec._memory.fuse import fuse
from cgexec._memory.relief import Asked
from cgexec._pool import life, ticker
from cgexec._pool.beginning import background, begin

__all__ = ["relieve"]

_NAME = "cgexec-relief"
# The interpreter's end waits so long for it, in seconds: cut off in the middle, it would leave the collector unusable.
_AT_EXIT_S = 1.0


def relieve(asked: Asked, watch: ticker.Ticking) -> None:
    """Have it done, soon or at once, and the *watch* tick then. A collection needs a thread, or it is not done."""
    if not asked.collects:
        _relieve(asked, watch)
        return
    try:
        begin(background(lambda: _relieve(asked, watch), _NAME))
    except BaseException as error:
        asked.ended = monotonic()
        if not isinstance(error, (RuntimeError, MemoryError)):
            raise


def _relieve(asked: Asked, watch: ticker.Ticking) -> None:
    try:
        if asked.collects:
            gc.collect()
        trim()
        asked.done = True
    except MemoryError:
        fuse().give_out()
    finally:
        asked.ended = monotonic()
    ticker.call_at(watch, asked.ended)


def _await_the_last() -> None:
    for thread in threading.enumerate():
        if thread.name == _NAME:
            with suppress(RuntimeError):  # it is about to begin
                thread.join(_AT_EXIT_S)


life.at_exit(_await_the_last)
