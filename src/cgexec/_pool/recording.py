"""What the flight recorder writes, and what is said of the process before. Loaded only where it is asked for."""

import contextlib
import heapq
import logging
import os
import time
from pathlib import Path

from cgexec._flight.layout import MOST_FUNCTIONS, Doing, Record
from cgexec._flight.recorder import Recorder, take_leftovers
from cgexec._flight.words import last_words
from cgexec._kernel.files import Files
from cgexec._memory.gauge import Reading
from cgexec._pool.holding import Need
from cgexec._pool.overdue import function_name

__all__ = ["Recording", "start"]

_LOGGER = logging.getLogger("cgexec")
# No more often than this, in seconds, unless nothing runs any more.
_EVERY_S = 0.05


class Recording:
    """One process's record. Used by one thread at a time."""

    def __init__(self, recorder: Recorder, started: int) -> None:
        self.recorder = recorder
        self._started = started
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
        )


def start(folder: str, variable: str, reading: Reading | None) -> Recording | None:
    """Say how processes that left their files in *folder* ended, and return a recording of this one, if it can be."""
    pid, started, path = os.getpid(), _start_time(), Path(folder)
    try:
        left = take_leftovers(path) if path.exists() else []
        recorder = Recorder(path, pid, started)
    except OSError as error:
        reason = error.strerror or error
        _LOGGER.warning("[flight-recorder-off] %s=%s cannot be used: %s", variable, folder, reason)
        return None
    # One that replaced itself (exec) has our number and start, and has not ended.
    left = [each for each in left if (each.pid, each.started) != (pid, started) or not started]
    if left:
        _LOGGER.warning("[last-ended-badly] %s", last_words(left, None if reading is None else reading.oom_kills))
    return Recording(recorder, started)


def _start_time() -> int:
    """Return when this process was started, in clock ticks since the machine was (proc(5), field 22), else 0."""
    text = Files("/").text("/proc/self/stat") or ""
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return int(fields[19]) if len(fields) > 19 and fields[19].isdigit() else 0
