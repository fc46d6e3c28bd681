"""The CPU clocks of threads: of one, and of all that a pool has had, added up."""

import time
from collections.abc import Iterable

__all__ = ["Clocks", "thread_cpu"]


def thread_cpu(thread: int) -> float | None:
    """
    Return the CPU time of a thread of this process in seconds, by its kernel id; None where it has ended or the system
    has no such clock.

    The clock's number is the kernel's own (include/linux/posix-timers.h: CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED). Unlike
    ``pthread_getcpuclockid`` it is safe for a thread that is gone: the kernel answers EINVAL.
    """
    try:
        return time.clock_gettime(~thread << 3 | 6)
    except (AttributeError, OSError, OverflowError):
        return None


class Clocks:
    """
    Adds up the CPU time of threads that come and go. Used by one thread at a time.

    A look at a thousand threads takes a millisecond.
    """

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self._seconds = 0.0

    def read(self, threads: Iterable[int]) -> float | None:
        """
        Return the CPU seconds used so far by all threads ever handed in, by their kernel ids, as far as was looked;
        None where the system has no such clocks.
        """
        now = {thread: cpu for thread in threads if (cpu := thread_cpu(thread)) is not None}
        if not now and not self._seen:
            return None
        for thread, cpu in now.items():
            before = self._seen.get(thread, 0.0)
            self._seconds += cpu - before if cpu >= before else cpu  # else the id is another thread's by now
        self._seen = now
        return self._seconds
