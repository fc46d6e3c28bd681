"""What the flight recorder writes, and what is said of the process before. Loaded only where it is asked for."""

import contextlib
import heapq
import os
import time
import zlib
from pathlib import Path

from cgexec._flight.layout import MOST_FUNCTIONS, Doing, Record
from cgexec._flight.recorder import Recorder, take_leftovers
from cgexec._flight.words import last_words
from cgexec._kernel.files import Files
from cgexec._memory.gauge import Reading
from cgexec._pool.holding import Need
from cgexec._pool.log import Log
from cgexec._pool.overdue import function_name
from cgexec._snapshot import locate_own

__all__ = ["Recording", "start"]

_LOGGER = Log("cgexec")
# No more often than this, in seconds, unless nothing runs any more.
_EVERY_S = 0.05


class Recording:
    """One process's record. Used by one thread at a time."""

    def __init__(self, recorder: Recorder, started: int, cgroup: int = 0) -> None:
        self.recorder = recorder
        self._started, self._cgroup = started, cgroup
        self._host = os.uname().nodename
        self._due = 0.0

    def record(self, reading: Reading | None, needs: list[Need], now: float) -> None:
        """Write what runs, if it is time to."""
        running = sum(len(need.busy) for need in needs)
        if now >= self._due or not running:
            self._due = now + _EVERY_S
            with contextlib.suppress(ValueError):  # closed meanwhile, by the main thread on its way out
                self.recorder.write(self._seen(reading, needs, running, now))

    def _seen(self, reading: Reading | None, needs: list[Need], running: int, now: float) -> Record:
        runs = (one for need in needs for one in need.busy)
        oldest = heapq.nsmallest(MOST_FUNCTIONS, runs, key=lambda one: one[1])
        doing = [(task, Doing(function_name(task), now - since)) for task, since in oldest]
        return Record(
            when=time.time(),
            pid=os.getpid(),
            started=self._started,
            limit=None if reading is None else reading.limit,
            used=None if reading is None else reading.used,
            oom_kills=None if reading is None else reading.oom_kills,
            size=sum(need.allowed for need in needs),
            running=running,
            waiting=sum(need.waiting for need in needs),
            functions=tuple(each for task, each in doing if task.fn is not None),  # else it has ended meanwhile
            source="" if reading is None else reading.source,
            host=self._host,
            cgroup=self._cgroup,
        )


def start(folder: str, variable: str, reading: Reading | None) -> Recording | None:
    """Say how processes that left their files in *folder* ended, and return a recording of this one, if it can be."""
    pid, started, path, cgroup = os.getpid(), _start_time(), Path(folder), _cgroup()
    try:
        left = take_leftovers(path) if path.exists() else []
        # One that replaced itself (exec) has our number and start, and has not ended.
        left = [each for each in left if (each.pid, each.started) != (pid, started) or not started]
        if left:  # said before our own file is made, which may fail: theirs are gone
            kills = None if reading is None else reading.oom_kills
            _LOGGER.warning("[last-ended-badly] %s", last_words(left, kills, cgroup))
        return Recording(Recorder(path, pid, started), started, cgroup)
    except OSError as error:
        reason = error.strerror or error
        _LOGGER.warning("[flight-recorder-off] %s=%s cannot be used: %s", variable, folder, reason)
        return None


def _cgroup() -> int:
    """Return a number for the cgroup whose kills are counted, which no other of this start of the machine has."""
    files = Files("/")
    chain = locate_own(files).chains.get("memory")
    if chain is None or not chain.own:
        return 0
    try:
        seen = Path(chain.places[0].directory).stat()
    except OSError:
        return 0
    boot = files.text("/proc/sys/kernel/random/boot_id") or ""
    return zlib.crc32(f"{boot.strip()} {seen.st_dev} {seen.st_ino}".encode()) or 1


def _start_time() -> int:
    """Return when this process was started, in clock ticks since the machine was (proc(5), field 22), else 0."""
    text = Files("/").text("/proc/self/stat") or ""
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return int(fields[19]) if len(fields) > 19 and fields[19].isdigit() else 0
