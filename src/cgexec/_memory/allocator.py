"""
What the C library's allocator keeps, and how to make it keep less. glibc only: musl and macOS give back by themselves.

CPython frees into the C library, and glibc keeps freed blocks in its arenas, each thread's in its own. What is kept
counts against the container like anything else.
"""

import ctypes
from collections.abc import Callable

__all__ = ["free_bytes", "pin", "trim"]

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_PINNED = 256 << 10


class _Mallinfo2(ctypes.Structure):  # malloc.h, glibc 2.33
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def _glibc(name: str) -> Callable[..., int] | None:
    """Return glibc's function of that name, None with another C library. Called, it lets the interpreter lock go."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # musl and macOS; Windows
        return None
    return found


def trim() -> None:
    """Have glibc give free memory back to the kernel."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def pin() -> bool:
    """
    Have glibc return large blocks as soon as they are freed; False with another C library. Holds for the process.

    By itself glibc raises the size from which blocks come from the kernel, up to 32 MiB, with the blocks that are
    freed; smaller ones then stay at the top of the arena of the thread that had them, where malloc_trim does not reach
    (it trims the top of the main arena only). Thirty threads can keep a gigabyte so. The price is page faults.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _PINNED)) and bool(mallopt(_M_TRIM_THRESHOLD, _PINNED))


def free_bytes() -> int | None:
    """Return what lies free in all arenas, resident or not, in bytes; None where nobody tells."""
    mallinfo2: ctypes._FuncPointer | None = _glibc("mallinfo2")  # type: ignore[assignment]
    if mallinfo2 is None:
        return None
    mallinfo2.restype = _Mallinfo2
    return int(mallinfo2().fordblks)
