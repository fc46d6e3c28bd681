"""
The look at the CPUs that is taken again and again: what this process used, whether its quota ran out or it waited for a
CPU, and whether somebody changed the limits.

With a quota its own counters tell (``cpu.stat``). Without one none of them moves; then the pressure of the own cgroup
does (``cpu.pressure``, Documentation/accounting/psi.rst), or failing that how long some of our threads were ready and
had no CPU (``/proc/self/task/*/schedstat``, Documentation/scheduler/sched-stats.rst).

Each file that is read lets go of the interpreter lock, and beside threads that compute it takes a switch interval
(5 ms) or several to come by it again. So few are read at a time, with descriptors that stay open.
"""

import math
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cgexec._kernel import levels
from cgexec._kernel.kept import KeptFiles
from cgexec._kernel.locate import Chain
from cgexec._snapshot import locate_own

__all__ = ["CpuGauge", "CpuReading"]

# Where the files are is looked up anew so seldom, in seconds: a process is hardly ever moved to another cgroup.
_REFRESH_S = 60.0
# So many threads of a pool stand for all, and are remembered for so many seconds: longer than between two looks.
_THREADS = 4
_REMEMBERED_S = 2.0
# The quota is looked at each time, and every other limit within so many seconds, however seldom looks come and however
# many levels there are.
_ROUND_S = 2.0
_LIMIT_FILES: dict[str, dict[str, tuple[str, ...]]] = {
    "cpu": {"v1": ("cpu.cfs_quota_us", "cpu.cfs_period_us"), "v2": ("cpu.max",)},
    "memory": {"v1": ("memory.limit_in_bytes",), "v2": ("memory.max", "memory.high")},
    "pids": {"v1": ("pids.max",), "v2": ("pids.max",)},
}


class CpuReading(NamedTuple):
    """
    Counters in seconds, and of quota periods; None is unknown, or there is no quota.

    *queued*: for which threads of ours were ready and had no CPU, summed over threads; not looked at while the quota
    runs out. *some*: by PSI, so in which any was, which is less.
    *changes*: how often a limit was seen to have changed. *quota*: the tightest one, in CPUs.
    """

    cpu_seconds: float
    periods: int | None
    throttled: int | None
    throttled_seconds: float | None
    queued: float | None
    changes: int
    quota: float | None
    some: bool = False


class _Waited(NamedTuple):
    """What a thread had waited for a CPU at a *time*, in seconds; None: what came before does not count."""

    seconds: float | None
    time: float


class CpuGauge:
    """
    Reads CPU counters and limits. Thread-safe; never raises for anything a kernel file holds or refuses.

    A signal's handler or a finalizer may come in on a thread that is reading (it makes a pool), and gets what was read
    last.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards everything; files are read under it, and nothing else is done
        self._reading = False
        self._last = CpuReading(time.process_time(), None, None, None, None, 0, None)
        self._files = KeptFiles()
        self._due = 0.0
        self._cpu: Chain | None = None
        self._quota: float | None = None  # the tightest one, and the directory of its level
        self._quota_at: str | None = None
        self._unified: Chain | None = None
        self._stalled: float | None = None  # the cgroup's stall time when it was read last
        self._some = False
        self._waits: dict[int, _Waited] = {}  # of some threads of each pool, likewise
        self._waited: float | None = None
        self._quota_file: str | None = None  # where the tightest quota is, or one would be
        self._others: list[str] = []
        self._texts: dict[str, str | None] = {}
        self._turn = 0
        self._looked = 0.0
        self._changes = 0
        self._throttled = 0

    def read(self, now: float, threads: Iterable[int] = (), running: int = 0) -> CpuReading:
        """
        Return the counters as they are now; *threads* are kernel ids of some of the threads that run tasks, *running*
        is how many there are.
        """
        with self._lock:
            if not self._reading:
                self._reading = True
                try:
                    self._last = self._read(now, list(threads)[:_THREADS], running)
                finally:
                    self._reading = False
            return self._last

    @property
    def busy(self) -> bool:
        """Whether somebody is reading: a hint."""
        return self._reading

    def close(self) -> None:
        """Let the descriptors go. Takes no lock, which a thread that is not there after a fork may hold."""
        self._files.close()

    def _read(self, now: float, threads: list[int], running: int) -> CpuReading:
        if now >= self._due:
            self._refresh()
            self._due, self._looked = now + _REFRESH_S, now
        self._look_at_limits(now)
        quota = None if self._quota_at is None else levels.read_cpu_time(self._files, self._quota_at)
        cpu = time.process_time()
        # While the quota runs out its own counters tell all there is to know.
        throttled = 0 if quota is None else quota.nr_throttled
        throttled_now, self._throttled = quota is not None and throttled > self._throttled, throttled
        if throttled_now:
            self._stalled = None
            self._waits = {thread: waited._replace(seconds=None) for thread, waited in self._waits.items()}
        else:
            self._count_waits(threads, running, now)
        return CpuReading(
            cpu_seconds=cpu,
            periods=None if quota is None else quota.nr_periods,
            throttled=None if quota is None else throttled,
            throttled_seconds=None if quota is None else quota.throttled_seconds,
            queued=self._waited,
            changes=self._changes,
            quota=self._quota,
            some=self._some,
        )

    def _refresh(self) -> None:
        files = self._files
        files.notes.clear()
        chains = locate_own(files).chains
        cpu, unified = chains.get("cpu"), chains.get("unified")
        self._cpu = cpu if cpu is not None and cpu.own else None
        self._unified = None
        # The hierarchy's real root has no such file, and its pressure is that of the whole machine.
        if unified is not None and unified.own and files.text(f"{unified.places[0].directory}/cgroup.type") is not None:
            self._unified = unified._replace(places=unified.places[:1])
        texts = {file: files.text(file) for name in _LIMIT_FILES for file in _limit_files(name, chains.get(name))}
        before = self._texts
        self._texts = {file: text for file, text in texts.items() if text is not None}
        self._changes += before not in ({}, self._texts)
        self._find_quota()

    def _find_quota(self) -> None:
        """Find the tightest quota, and divide the files into that one and the others."""
        quotas = () if self._cpu is None else levels.read_cpu_quotas(self._files, self._cpu)
        tightest = min(quotas, key=lambda found: found.value, default=None)
        self._quota = None if tightest is None else tightest.value
        self._quota_at = None if tightest is None else tightest.file.rpartition("/")[0]
        own = next(_limit_files("cpu", self._cpu), None)
        file = own if tightest is None else tightest.file
        self._quota_file = file if file in self._texts else None
        self._others = [each for each in self._texts if each != self._quota_file]

    def _look_at_limits(self, now: float) -> None:
        """Look at the quota and at the next few of the other limits, in turn."""
        since, self._looked = now - self._looked, now
        count = min(len(self._others), max(1, math.ceil(len(self._others) * since / _ROUND_S)))
        due = [self._others[(self._turn + each) % len(self._others)] for each in range(count)]
        self._turn += count
        if self._quota_file is not None:
            due.insert(0, self._quota_file)
        changed = False
        for file in due:
            text = self._files.text(file)
            if text != self._texts[file]:
                self._texts[file], changed = text, True
        if changed:
            self._changes += 1
            if None in self._texts.values():  # the cgroup is gone: we are in another
                self._refresh()
            else:
                self._find_quota()

    def _count_waits(self, threads: list[int], running: int, now: float) -> None:
        """Add what was waited since the last look at these threads, which stand for *running*."""
        if self._unified is not None:
            stalls = levels.read_pressure(self._files, self._unified, "cpu.pressure")
            self._some = stalls is not None and "some" in stalls.value
            if stalls is not None and self._some:
                before, self._stalled = self._stalled, stalls.value["some"]
                self._waited = (self._waited or 0.0) + (0.0 if before is None else max(0.0, self._stalled - before))
                return
        seen = {thread: wait for thread in threads if (wait := self._run_queue_wait(thread)) is not None}
        then = {thread: self._waits[thread].seconds for thread in seen if thread in self._waits}
        pairs = [(seen[thread], wait) for thread, wait in then.items() if wait is not None]
        if seen:
            waited = sum(max(0.0, wait - earlier) for wait, earlier in pairs)
            self._waited = (self._waited or 0.0) + waited * max(1.0, running / max(1, len(pairs)))
        self._waits |= {thread: _Waited(wait, now) for thread, wait in seen.items()}
        for thread, known in list(self._waits.items()):
            if now - known.time > _REMEMBERED_S:
                del self._waits[thread]
                self._files.forget(_schedstat(thread))

    def _run_queue_wait(self, thread: int) -> float | None:
        """Return the second field of a thread's ``schedstat``, which is in nanoseconds."""
        text = self._files.text(_schedstat(thread))
        fields = [] if text is None else text.split()
        return int(fields[1]) / 1e9 if len(fields) >= 2 and fields[1].isascii() and fields[1].isdigit() else None


def _schedstat(thread: int) -> str:
    return f"/proc/self/task/{thread}/schedstat"


def _limit_files(name: str, chain: Chain | None) -> Iterator[str]:
    """Yield the files that state a controller's limits, the own cgroup's first."""
    for place in () if chain is None else chain.places:
        for file in _LIMIT_FILES[name]["v2" if chain is not None and chain.version == "v2" else "v1"]:
            yield f"{place.directory}/{file}"
