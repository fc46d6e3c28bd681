"""
The look at the CPUs that is taken again and again: what this process used, whether its quota ran out or it
waited for a CPU.

With a quota its own counters tell (``cpu.stat``). Without one none of them moves; then the pressure of the own cgroup
does (``cpu.pressure``, Documentation/accounting/psi.rst), or failing that how long some of our threads were ready and
had no CPU (``/proc/self/task/*/schedstat``, Documentation/scheduler/sched-stats.rst). A few descriptors stay open, so a
look costs some ten microseconds; where the files are is looked up anew once a second.
"""

import time
from collections.abc import Iterable
from typing import NamedTuple

from cgexec._kernel import levels
from cgexec._kernel.kept import KeptFiles
from cgexec._kernel.locate import Chain
from cgexec._snapshot import locate_own

__all__ = ["CpuGauge", "CpuReading", "thread_cpu"]

_REFRESH_S = 1.0
# So many threads stand for all.
_THREADS = 8


class CpuReading(NamedTuple):
    """
    Counters in seconds, and of quota periods; None is unknown, or there is no quota.

    *queued*: in which something of ours was ready and had no CPU; where a quota tells more it is not looked at.
    """

    cpu_seconds: float
    periods: int | None
    throttled: int | None
    throttled_seconds: float | None
    queued: float | None


class CpuGauge:
    """Reads CPU counters. Used by one thread at a time; never raises for anything a kernel file holds or refuses."""

    def __init__(self) -> None:
        self._files = KeptFiles()
        self._due = 0.0
        self._quota_at: str | None = None  # the directory of the level whose quota is the tightest
        self._unified: Chain | None = None
        self._waits: dict[int, float] = {}
        self._waited = 0.0

    def read(self, now: float, threads: Iterable[int]) -> CpuReading:
        """Return the counters as they are now; *threads* are kernel ids of threads that run tasks."""
        if now >= self._due:
            self._refresh()
            self._due = now + _REFRESH_S
        cpu = time.process_time()
        quota = None if self._quota_at is None else levels.read_cpu_time(self._files, self._quota_at)
        if quota is not None:
            return CpuReading(cpu, quota.nr_periods, quota.nr_throttled, quota.throttled_seconds, None)
        return CpuReading(cpu, None, None, None, self._queued(list(threads)[:_THREADS]))

    def close(self) -> None:
        """Let the descriptors go until the next look."""
        self._files.close()
        self._due = 0.0
        self._waits.clear()

    def _refresh(self) -> None:
        files = self._files
        files.notes.clear()
        chains = locate_own(files).chains
        cpu, unified = chains.get("cpu"), chains.get("unified")
        self._quota_at = None
        self._unified = unified if unified is not None and unified.own else None
        if cpu is None or not cpu.own:
            return
        tightest = min(levels.read_cpu_quotas(files, cpu), key=lambda found: found.value, default=None)
        if tightest is not None:
            self._quota_at = tightest.file.rpartition("/")[0]

    def _queued(self, threads: list[int]) -> float | None:
        if self._unified is not None:
            stalls = levels.read_pressure(self._files, self._unified, "cpu.pressure")
            if stalls is not None and "some" in stalls.value:
                return stalls.value["some"]
        seen = {thread: wait for thread in threads if (wait := self._run_queue_wait(thread)) is not None}
        if not seen and not self._waits:
            return None
        self._waited += sum(
            max(0.0, wait - self._waits[thread]) for thread, wait in seen.items() if thread in self._waits
        )
        self._waits = seen
        return self._waited

    def _run_queue_wait(self, thread: int) -> float | None:
        """Return the second field of a thread's ``schedstat``, which is in nanoseconds."""
        text = self._files.text(f"/proc/self/task/{thread}/schedstat")
        fields = [] if text is None else text.split()
        return int(fields[1]) / 1e9 if len(fields) >= 2 and fields[1].isascii() and fields[1].isdigit() else None


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
