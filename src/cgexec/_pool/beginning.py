"""
Starting a thread where memory may be short.

A thread that finds no memory for its first frame ends without a word to whoever started it, and `Thread.start` waits
for it for ever (CPython 3.11 to 3.15). At the fuse that happens.
"""

import threading
from collections.abc import Callable

from cgexec._memory.fuse import fuse

__all__ = ["background", "begin"]

# A thread that has not begun after so many seconds at the fuse hardly ever will; if it does, it ends at once.
PATIENCE_S = 3.0


class _NeverBegan(RuntimeError):
    """In the words of the standard library for a thread that the system refuses."""

    def __init__(self) -> None:
        super().__init__("can't start new thread: it found no memory to begin")


class _Begun(threading.Event):
    """What `Thread.start` waits for; at the fuse not for ever."""

    def wait(self, timeout: float | None = None) -> bool:
        while timeout is None and not self.is_set():
            if super().wait(PATIENCE_S):
                break
            if fuse().limit is not None and not self.is_set():
                raise _NeverBegan
        return super().wait(timeout)


def background(target: Callable[[], object], name: str) -> threading.Thread:
    """Return a thread for *target* that the interpreter does not wait for, where there are such; not yet started."""
    try:
        return threading.Thread(target=target, name=name, daemon=True)
    except RuntimeError:  # subinterpreters have none
        return threading.Thread(target=target, name=name, daemon=False)


def begin(thread: threading.Thread) -> None:
    """
    Start the thread.

    Raises:
        RuntimeError: it cannot be started.
        MemoryError: likewise.
    """
    # There is no public way to wait for less. Where the field is another one, it is as if this were not here.
    if isinstance(getattr(thread, "_started", None), threading.Event):
        thread._started = _Begun()  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        with fuse().starting():
            thread.start()
    except _NeverBegan:
        # Else it would be counted among those about to begin, for good. Should it begin after all, it ends at once.
        getattr(threading, "_limbo", {}).pop(thread, None)
        raise
