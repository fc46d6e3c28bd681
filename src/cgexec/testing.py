"""
Fakes for the tests of programs that use this library: a container on disk, memory that is as full as the test says, a
clock that the test moves, and a pool whose workers are busy.

The fake container is a directory with the files that the kernel would show (cgroup-v2.rst, cgroup-v1/); everything that
reads them is the real thing.
"""

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import EllipsisType, ModuleType
from typing import Literal

from cgexec._executor import ThreadPoolExecutor
from cgexec._kernel.files import Files
from cgexec._kernel.kept import KeptFiles
from cgexec._memory.gauge import Gauge, Reading
from cgexec._memory.reusable import Reusable
from cgexec._pool import ticker as ticking
from cgexec._pool import watch as watching
from cgexec._pool.hands import Hands
from cgexec._pool.shares import Claim
from cgexec._quantity import parse_quantity

__all__ = ["Clock", "Container", "clock", "inside", "occupied"]

_CPU = "sys/fs/cgroup/cpu"
_MEMORY = "sys/fs/cgroup/memory"
_PIDS = "sys/fs/cgroup/pids"
_PERIOD_US = 100_000
# What v1 shows where no limit is set: the largest number of pages.
_V1_NO_LIMIT = 0x7FFFFFFFFFFFF000
_MOUNTS = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:21 / /sys rw - sysfs sysfs rw\n"


# By name: this module needs nothing of them. The others that ask for the time come with the pool.
_TIMED = ("cgexec._wrap", "cgexec._bridge", "cgexec.metrics._watched", "cgexec.metrics.prometheus")
_TIMED_WITH = {"cgexec.starlette": "starlette", "cgexec.distributed": "distributed"}  # and the package that it loads


@dataclasses.dataclass(frozen=True, slots=True)
class _Facts:
    cpus: float | None
    memory: int | None
    pids: int | None
    used: int
    cache: int


class Container:
    """
    A container's ``/proc`` and ``/sys`` in a directory, for ``root=`` and for `inside`. Changed by one thread at a
    time, read by any; each file is replaced as a whole.

    Args:
        folder: where it is made; an existing directory such as pytest's ``tmp_path``.
        cpus: the quota, in CPUs; None is no quota.
        memory: the hard limit; None is no limit. Sizes are bytes, or text such as ``"4Gi"``.
        pids: the limit on tasks; None is no limit.
        used: private memory, all of it this process's.
        cache: page cache, which reclaim would give back.
        version: ``"v2"`` or ``"v1"``: which files there are.
        host_cpus: CPUs of the machine around it.
        host_memory: its memory.

    Raises:
        ValueError: a size that is none.

    Attributes:
        root: the directory, for `cgexec.limits` and `cgexec.usage`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        cpus: float | None = None,
        memory: str | float | None = None,
        pids: int | None = None,
        used: str | float = "64Mi",
        cache: str | float = 0,
        version: Literal["v1", "v2"] = "v2",
        host_cpus: int = 8,
        host_memory: str | float = "16Gi",
    ) -> None:
        self.root = os.fspath(folder)
        self._version = version
        self._facts = _Facts(cpus, None if memory is None else _bytes(memory), pids, _bytes(used), _bytes(cache))
        total = _bytes(host_memory) >> 10
        self._write(
            {
                **_places(version),
                "proc/meminfo": f"MemTotal: {total} kB\nMemFree: {total // 2} kB\nMemAvailable: {total // 4 * 3} kB\n",
                "sys/devices/system/cpu/online": f"0-{host_cpus - 1}\n",
            }
        )
        self._cpus_allowed = f"0-{host_cpus - 1}"
        self.change()

    def change(
        self,
        *,
        cpus: float | EllipsisType | None = ...,
        memory: str | float | EllipsisType | None = ...,
        pids: int | EllipsisType | None = ...,
        used: str | float | None = None,
        cache: str | float | None = None,
    ) -> None:
        """Set what is given, and leave the rest; None is no limit. What reads it sees it at its next look."""
        old = self._facts
        self._facts = facts = _Facts(
            old.cpus if isinstance(cpus, EllipsisType) else cpus,
            old.memory if isinstance(memory, EllipsisType) else None if memory is None else _bytes(memory),
            old.pids if isinstance(pids, EllipsisType) else pids,
            old.used if used is None else _bytes(used),
            old.cache if cache is None else _bytes(cache),
        )
        own = facts.used >> 10
        status = (
            f"VmSize: {own} kB\nVmRSS: {own} kB\nVmHWM: {own} kB\nRssAnon: {own} kB\nRssShmem: 0 kB\nVmData: {own} kB\n"
        )
        status += f"Threads: 1\nCpus_allowed_list: {self._cpus_allowed}\n"
        level = _v2_level(facts) if self._version == "v2" else _v1_level(facts)
        self._write({**level, "proc/self/status": status})

    def _write(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            path = Path(self.root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.new")
            new.write_text(content, encoding="ascii")
            new.replace(path)  # at once: whoever looks finds the old content or the new


@contextmanager
def inside(container: Container) -> Iterator[None]:
    """
    Have pools that are made in the block take the *container*'s memory for theirs, at every look.

    Only memory is faked: what holds tasks back and closes the gate. The size of a pool is that of this machine unless
    it is said (``max_workers=``, or ``limits=cgexec.limits(root=container.root)``). What the pools learn is forgotten
    with them, and those made outside the block notice nothing. One block at a time; shut the pools down in it.

    Raises:
        ValueError: from the constructor of a pool with ``memory_fuse=True``: the fuse would hold this real process to
            numbers that are not its own.
    """
    before, watching._watch = watching._watch, _Watch(container.root)  # noqa: SLF001  # the one place that swaps it
    try:
        yield
    finally:
        watching._watch.gauge.close()  # noqa: SLF001
        watching._watch = before  # noqa: SLF001


@contextmanager
def occupied(
    pool: ThreadPoolExecutor, running: int | None = None, *, waiting: int = 0, timeout: float = 10.0
) -> Iterator[None]:
    """
    Keep workers of *pool* busy until the block ends, without waiting for time to pass.

    Args:
        pool: a pool that is idle.
        running: tasks that have started before the block begins; None is as many as may run.
        waiting: more tasks, in the queue behind them.
        timeout: seconds until *running* must have started, and all must have ended after the block.

    Raises:
        ValueError: more is asked for than the pool takes.
        TimeoutError: they have not started, as where memory holds them back.
    """
    stats = pool.stats()
    count = stats.limit if running is None else running
    if count > stats.limit or waiting > stats.queue_size:
        raise ValueError(f"{count} running, {waiting} waiting: the pool takes {stats.limit} and {stats.queue_size}")
    started, release = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        started.release()
        release.wait()

    futures = []
    try:
        for _ in range(count):  # one by one, so that none takes a place in the queue for long
            futures.append(pool.submit(hold))
            if not started.acquire(timeout=timeout):
                raise TimeoutError(f"{len(futures) - 1} of {count} tasks have started after {timeout:g} s: {pool!r}")
        futures += [pool.submit(hold) for _ in range(waiting)]
        yield
    finally:
        release.set()
        wait(futures, timeout)


class Clock:
    """
    The time by which pools go: the real monotonic time, and what `advance` has added. Any thread may use it.
    """

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return time.monotonic() + self._ahead

    def advance(self, seconds: float, *, timeout: float = 10.0) -> None:
        """
        Let so many seconds pass at once, and return when what was due meanwhile has been done.

        Raises:
            ValueError: *seconds* is negative or no number.
            TimeoutError: it has not been done after *timeout* seconds of real time.
        """
        if not seconds >= 0:
            raise ValueError(f"seconds: expected 0 or more, as time does not go back, got {seconds!r}")
        self._ahead += seconds
        reached = _Reached()
        ticking.call_at(reached, self.monotonic())  # comes last of all that is due by now
        if not reached.event.wait(timeout):
            raise TimeoutError(f"what is due has not been done after {timeout:g} s")


class _Reached:
    def __init__(self) -> None:
        self.event = threading.Event()

    def tick(self, now: float) -> None:  # noqa: ARG002  # a moment, whichever it is
        self.event.set()


@contextmanager
def clock() -> Iterator[Clock]:
    """
    Have the pools that are made in the block go by a clock that the test moves: ``queue_timeout``, ``run_timeout``,
    how long memory has held something back, when a pool is unhealthy.

    Threads that are blocked in ``submit`` (``submit_timeout``) or ``drain(timeout)`` go by it, too, and see within a
    second of real time that it was moved. What waits otherwise is real: ``result(timeout=)``, what is awaited, and idle
    workers leave by real time. One block at a time, and pools are shut down in it; none made outside may be at work
    meanwhile.
    """
    moved = Clock()
    _load_timed()
    patched = [module for name, module in sys.modules.items() if name.startswith("cgexec.") and _is_timed(module)]
    ticker, watch = ticking._ticker, watching._watch  # noqa: SLF001  # what they remember are times, too
    ticking._ticker = ticking._Ticker()  # noqa: SLF001
    if type(watch) is watching.Watch:  # else it is that of `inside`, which forgets all
        watching._watch = watching.Watch()  # noqa: SLF001
    for module in patched:
        vars(module)["monotonic"] = moved.monotonic
    try:
        yield moved
    finally:
        for module in patched:
            vars(module)["monotonic"] = time.monotonic
        ticking._ticker.stop()  # noqa: SLF001
        ticking._ticker = ticker  # noqa: SLF001
        if watching._watch is not watch:  # noqa: SLF001
            watching._watch.gauge.close()  # noqa: SLF001
            watching._watch = watch  # noqa: SLF001


def _load_timed() -> None:
    """Load the modules that ask for the time: one that is first loaded in the block would go by the real one."""
    for name in _TIMED:
        import_module(name)
    for name, package in _TIMED_WITH.items():
        if package in sys.modules:  # else nobody has it load for a test of something else
            import_module(name)


def _is_timed(module: ModuleType) -> bool:
    return vars(module).get("monotonic") is time.monotonic


class _Reopened(KeptFiles):
    """Files that are opened at each look: those of a fake are replaced, and a kept descriptor would show the old."""

    def __init__(self, root: str) -> None:
        super().__init__()
        Files.__init__(self, root)

    def text(self, path: str) -> str | None:
        return Files.text(self, path)


class _Watch(watching.Watch):
    """The look at memory, below another root; what it would do to the real process it leaves."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.gauge = Gauge()
        self.gauge.files = _Reopened(root)
        self.reusable = Reusable(lambda: None)  # the allocator is the real one

    def add(self, crew: Hands) -> None:
        if crew.care.fuse:
            raise ValueError("cgexec.testing.inside: expected memory_fuse=False, as the fuse holds the real process")
        super().add(crew)

    share_arena = staticmethod(lambda: None)

    def _pin(self, pools: list[Claim], reading: Reading) -> None:
        """Leave it."""


def _bytes(size: str | float) -> int:
    return int(parse_quantity(size))


def _places(version: str) -> dict[str, str]:
    """Return where the cgroup is: the visible root, as in a container with a namespace of its own."""
    if version == "v2":
        mounts = "30 23 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
        return {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": _MOUNTS + mounts}
    names = ("cpu", "memory", "pids")
    mounts = "".join(
        f"{30 + n} 23 0:{30 + n} / /sys/fs/cgroup/{c} rw - cgroup cgroup rw,{c}\n" for n, c in enumerate(names)
    )
    own = "".join(f"{number}:{name}:/\n" for number, name in enumerate(names, start=2))
    return {"proc/self/cgroup": own, "proc/self/mountinfo": _MOUNTS + mounts}


def _v2_level(facts: _Facts) -> dict[str, str]:
    quota = "max" if facts.cpus is None else f"{round(facts.cpus * _PERIOD_US)}"
    return {
        "sys/fs/cgroup/cpu.max": f"{quota} {_PERIOD_US}\n",
        "sys/fs/cgroup/cpu.stat": "usage_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
        "sys/fs/cgroup/memory.stat": f"anon {facts.used}\ninactive_file {facts.cache}\nactive_file 0\nfile_dirty 0\n"
        "file_writeback 0\nslab_reclaimable 0\n",
        "sys/fs/cgroup/memory.current": f"{facts.used + facts.cache}\n",
        "sys/fs/cgroup/memory.max": "max\n" if facts.memory is None else f"{facts.memory}\n",
        "sys/fs/cgroup/memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
        "sys/fs/cgroup/pids.max": "max\n" if facts.pids is None else f"{facts.pids}\n",
        "sys/fs/cgroup/pids.current": "1\n",
    }


def _v1_level(facts: _Facts) -> dict[str, str]:
    quota = -1 if facts.cpus is None else round(facts.cpus * _PERIOD_US)
    return {
        f"{_CPU}/cpu.cfs_quota_us": f"{quota}\n",
        f"{_CPU}/cpu.cfs_period_us": f"{_PERIOD_US}\n",
        f"{_CPU}/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
        f"{_MEMORY}/memory.stat": f"total_inactive_file {facts.cache}\ntotal_active_file 0\ntotal_dirty 0\n"
        "total_writeback 0\n",
        f"{_MEMORY}/memory.usage_in_bytes": f"{facts.used + facts.cache}\n",
        f"{_MEMORY}/memory.limit_in_bytes": f"{_V1_NO_LIMIT if facts.memory is None else facts.memory}\n",
        f"{_MEMORY}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        f"{_PIDS}/pids.max": "max\n" if facts.pids is None else f"{facts.pids}\n",
        f"{_PIDS}/pids.current": "1\n",
    }
