"""
What the C library's allocator keeps, and how to make it keep less. glibc only: musl and macOS give back by themselves.

CPython frees into the C library, and glibc keeps freed blocks in its arenas, each thread's in its own. What is kept
counts against the container like anything else. In an arena that all threads share the next task has it, and what
none has comes back by `trim`.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache

__all__ = ["free_bytes", "is_on_main_arena", "pin", "share_arena", "trim"]

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Pinned, blocks from this part of the limit on are large; from so many bytes on at least, and at most (glibc's own).
_PART, _LEAST, _MOST = 1024, 256 << 10, 32 << 20
# Too large for a thread's cache, too small for a mapping of its own.
_PROBE = 4096


class _Mallinfo2(ctypes.Structure):  # malloc.h, glibc 2.33
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


@cache  # it is asked for whenever a thread starts
def _glibc(name: str, *, short: bool = False) -> Callable[..., int] | None:
    """
    Return glibc's function of that name, None with another C library. Called, it lets the interpreter lock go, unless
    it is *short*: getting that again takes longer.
    """
    try:
        found: Callable[..., int] = getattr((ctypes.PyDLL if short else ctypes.CDLL)(None), name)
    except (AttributeError, OSError, TypeError):  # musl and macOS; Windows
        return None
    return found


def trim() -> None:
    """Have glibc give free memory back to the kernel."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def share_arena() -> None:
    """
    Have threads that start from now on share the main arena, if no other has an arena yet; holds for the process.

    What one has freed the next can have, without a page fault and without mapping more. MALLOC_ARENA_MAX is kept to: it
    is a maximum. What lies free already goes back: taken by a task, it would not show, and nothing be learned.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        trim()


def is_on_main_arena() -> bool:
    """
    Return whether the current thread allocates from the main arena, which lies below the program's break; False where
    nobody can tell, and without memory.
    """
    try:
        malloc, free, sbrk = _glibc("malloc"), _glibc("free"), _glibc("sbrk")
        if malloc is None or free is None or sbrk is None:
            return False
        for each in (malloc, sbrk):
            each.restype = ctypes.c_void_p  # type: ignore[attr-defined]
        block = malloc(_PROBE)
        free(ctypes.c_void_p(block))
        return block is not None and block < (sbrk(ctypes.c_ssize_t(0)) or 0)
    except MemoryError:
        return False


def pin(limit: int) -> int | None:
    """
    Have glibc return large blocks as soon as they are freed; holds for the process. *limit*: of memory, in bytes.

    By itself glibc raises the size from which blocks come from the kernel, up to 32 MiB, with the blocks that are
    freed; smaller ones then stay at the top of the arena of the thread that had them, where malloc_trim does not reach
    (it trims the top of the main arena only). Thirty threads can keep a gigabyte so. The price is page faults.

    Returns:
        From how many bytes on a block is large: what many threads keep is some hundredths of the limit then. None with
        another C library.
    """
    mallopt = _glibc("mallopt")
    large = min(_MOST, max(_LEAST, limit // _PART))
    if mallopt is None or not (mallopt(_M_MMAP_THRESHOLD, large) and mallopt(_M_TRIM_THRESHOLD, large)):
        return None
    return large


def free_bytes() -> int | None:
    """Return what lies free in all arenas, resident or not, in bytes; None where nobody tells."""
    mallinfo2: ctypes._FuncPointer | None = _glibc("mallinfo2", short=True)  # type: ignore[assignment]
    if mallinfo2 is None:
        return None
    mallinfo2.restype = _Mallinfo2
    return int(mallinfo2().fordblks)


if hasattr(os, "register_at_fork"):  # a child process begins with what its parent left
    os.register_at_fork(after_in_child=share_arena.cache_clear)
