"""
The fuse: an allocation that would have had the container killed raises MemoryError instead.

While a pool with ``memory_fuse=True`` has work, the soft RLIMIT_DATA of the process is held at what it may have mapped
(`Cap`). The kernel enforces it (getrlimit(2): since Linux 4.7 for private mappings, too), so nothing depends on how
soon anybody looks.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from cgexec._kernel.host import is_linux, is_main_interpreter
from cgexec._memory.allocator import free_bytes
from cgexec._memory.cap import Cap, Caps
from cgexec._memory.gap import stack_size
from cgexec._memory.gauge import Reading

__all__ = ["Fuse", "fuse", "unfused", "why_no_fuse"]

try:
    import resource as _resource
except ImportError:  # Windows
    _resource = None  # type: ignore[assignment]

_MOST = (1 << 63) - 1


def why_no_fuse() -> str | None:
    """Return why there is no fuse here, None if there is one."""
    if _resource is None or not hasattr(_resource, "RLIMIT_DATA"):
        return "this platform has no RLIMIT_DATA"
    if not is_linux():
        return "only Linux holds a process to RLIMIT_DATA"
    # Two that move one limit would each take the other's for the user's, and put that back in the end.
    return None if is_main_interpreter() else "RLIMIT_DATA is the process's, and this is not its main interpreter"


class Fuse:
    """
    Keeps the process's soft limit. Any thread may call it; nothing blocks for longer than a system call.

    Its lock is re-entrant, as a finalizer that runs in the middle may run out of memory, too.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cap: Cap | None = None
        # Whole argument tuples, made beforehand: where they are needed no memory may be left to make them.
        self._steps: tuple[tuple[int, int], ...] = ()
        self._step = 0  # how many thirds of the margin are given out
        self._ours: int | None = None  # the soft limit that was set here, None: none
        self._before: int | None = None  # the one that was set here before that
        self._theirs = 0  # what it was before any
        self._pauses: set[object] = set()  # blocks of code that have it out of the way
        self._starts: set[object] = set()  # and those that start a thread

    @property
    def limit(self) -> int | None:
        """The bytes that may be mapped now; None while it is out of the way."""
        return self._ours

    def follow(self, reading: Reading, margin: int, *, rest: bool, pinned: bool = False) -> None:
        """
        Hold the limit where *reading* wants it. *rest*: no task runs, so that what lies idle can be measured. *pinned*:
        the allocator has been, in the middle, and what was free then stays mapped.
        """
        own = reading.own
        if own is None:  # nothing to go by
            self.restore()
            return
        with self._lock:
            if self._cap is None:
                self._cap = Cap(stack_size())
            if rest:
                self._cap.gap.rest(own, free_bytes())
            caps = self._cap.follow(reading, own, margin, (free_bytes() or 0) if pinned else 0)
            # What was given out is taken back when it is no longer in use.
            if own.data < caps.plan - margin // 6:
                self._step = 0
            self._set(caps)

    def give_out(self, *, everything: bool = False) -> None:
        """Let the reserve go: an allocation was refused, and the rest must go on. First thing on a MemoryError."""
        with self._lock:
            step = 2 if everything else 1
            if self._ours is not None and self._step < step:
                self._step = step
                self._apply()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """
        Have one more thread map its stack, which it will hardly touch, and all of the reserve let go while it begins.

        Not more than that: one mapping made meanwhile may be larger than the container.
        """
        with self._lock:
            if self._steps and self._cap is not None:  # until the next look, which counts it
                more = self._cap.gap.stack
                self._steps = tuple((soft + more, hard) for soft, hard in self._steps)
        with self._inside(self._starts):
            yield

    def restore(self) -> None:
        """Put back the limit that was there."""
        with self._lock:
            self._steps = ()
            self._step = 0
            self._apply()

    def pause(self) -> AbstractContextManager[None]:
        """Return what has it out of the way for the length of a block."""
        return self._inside(self._pauses)

    @contextmanager
    def _inside(self, blocks: set[object]) -> Iterator[None]:
        block = object()
        with self._lock:
            blocks.add(block)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                blocks.discard(block)  # in a child process, forked inside, it is gone already
                self._apply()

    def _set(self, caps: Caps) -> None:
        hard = _resource.getrlimit(_resource.RLIMIT_DATA)[1]
        top = _MOST if hard == _resource.RLIM_INFINITY else hard
        self._steps = tuple((max(1, min(soft, top)), hard) for soft in caps)
        self._apply()

    def _apply(self) -> None:
        """
        Have the kernel know what holds now. What somebody else has set meanwhile is what will be put back.

        Another thread may fork at any point here: so that the child, too, knows our limit from theirs, one is ours from
        before it is set until after it is no more.
        """
        wanted = self._steps[-1 if self._starts else self._step] if self._steps and not self._pauses else None
        if wanted is None and self._ours is None:
            return
        soft, hard = _resource.getrlimit(_resource.RLIMIT_DATA)
        if soft not in (self._ours, self._before):
            self._theirs = soft
        if wanted is None:
            _resource.setrlimit(_resource.RLIMIT_DATA, (self._theirs, hard))
            self._ours = self._before = None
        elif wanted[0] != soft:
            if self._theirs != _resource.RLIM_INFINITY and self._theirs < wanted[0]:  # theirs is the tighter one
                wanted = (self._theirs, hard)
            self._before = self._ours
            self._ours = wanted[0]
            _resource.setrlimit(_resource.RLIMIT_DATA, wanted)

    def after_fork(self) -> None:
        """
        Be as before in a child process, which has none of the pools.

        Nor is it in any of the blocks, though it may have been forked in one: those of other threads it never leaves,
        nor its own where it goes on elsewhere, as multiprocessing's do.
        """
        self._lock = threading.RLock()
        self._pauses.clear()
        self._starts.clear()
        self._cap = None
        self.restore()


_fuse = Fuse()


def fuse() -> Fuse:
    """Return the one of this process."""
    return _fuse


def unfused() -> AbstractContextManager[None]:
    """
    Return a context manager that has the memory fuse out of the way; the limit is the process's, not a thread's.

    For what maps much and touches little (a sparse array), and for starting a subprocess, which would inherit the
    limit: ``with cgexec.unfused(): subprocess.run(...)``. What was mapped meanwhile counts in full again afterwards,
    until the next moment at which no task runs. Any thread may use it, also more than one at a time; it does not
    block, and does nothing where no fuse is armed.
    """
    return _fuse.pause()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fuse.after_fork)
