"""Starts the children, follows what they print, and tells what became of each. One thread, and nothing left behind."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, NamedTuple

from cgexec._demo.arena import Arena, Seat
from cgexec._demo.child import Job
from cgexec._demo.work import Plan
from cgexec._signals import signals_wait

__all__ = ["NAMES", "Outcome", "Run", "contest"]

NAMES = ("stock", "cgexec")
_SAMPLE_S = 0.05
_CHUNK = 1 << 16
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)
# What would have the pools see another limit, or another number of processes, than the demo's.
_NOT_PASSED = ("CGEXEC_", "WEB_CONCURRENCY")


class Sample(NamedTuple):
    """What one run was like after so many seconds."""

    seconds: float
    used: int  # bytes
    done: int
    running: int


class Outcome(NamedTuple):
    """
    How a run ended.

    *how*: ``"completed"``, every result right; ``"killed"`` by the kernel for want of memory; ``"memory error"``, an
    allocation failed at the simulated limit, be it with a crash of the interpreter; ``"interrupted"``;
    ``"timed out"``; else ``"failed"``.
    """

    how: str
    seconds: float
    done: int
    peak: int  # bytes
    most_running: int
    retries: int
    detail: str = ""


class Run:
    """One pool's run. Used by one thread."""

    def __init__(self, name: str, plan: Plan, seat: Seat) -> None:
        self.name, self.plan, self.seat = name, plan, seat
        self.samples: list[Sample] = []
        self.outcome: Outcome | None = None
        self._last: dict[str, Any] = {"done": 0, "running": 0}  # the child's last line
        self._rest = b""
        self._most = 0
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        job = Job(name, plan.memory, plan.seconds, seat.join)
        environ = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_PASSED)}
        command = [sys.executable, "-m", "cgexec._demo.child", json.dumps(job._asdict())]
        self._begin = time.monotonic()
        # A session of its own: Ctrl-C is for us, who end it.
        self._process = subprocess.Popen(  # noqa: S603  # ourselves
            command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.out: IO[bytes] = self._process.stdout

    @property
    def done(self) -> int:
        """Tasks that have ended."""
        return int(self._last["done"])

    @property
    def used(self) -> int:
        """Bytes in use when last looked."""
        return self.samples[-1].used if self.samples else 0

    @property
    def seconds(self) -> float:
        """How long it has run, its start included, or ran."""
        return self.outcome.seconds if self.outcome else time.monotonic() - self._begin

    def sample(self) -> None:
        """Look at its memory."""
        used = self.seat.used(self._process.pid)
        self.samples.append(Sample(time.monotonic() - self._begin, used, self.done, int(self._last["running"])))

    def hear(self) -> bool:
        """Take what the child has printed; False once it will print no more, and then it has an outcome."""
        chunk = os.read(self.out.fileno(), _CHUNK)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._last = json.loads(line)
            self._most = max(self._most, int(self._last["running"]), int(self._last.get("most", 0)))
        if not chunk:
            self._end()
        return bool(chunk)

    def stop(self, how: str) -> None:
        """End it; *how* is what the outcome says, unless it has one."""
        if self.outcome is None:
            self._process.kill()
            self._end(how)

    def close(self) -> None:
        """Leave nothing open or running."""
        self.stop("interrupted")
        self.out.close()
        self._stderr.close()

    def _end(self, how: str | None = None) -> None:
        seconds = time.monotonic() - self._begin
        status = self._process.wait()
        last = self._last
        self._stderr.seek(0)
        detail = self._stderr.read()[-2000:].decode(errors="replace").strip()
        how = how or _how(status, last, self.seat)
        peak = self.seat.peak() or max((sample.used for sample in self.samples), default=0)
        self.outcome = Outcome(how, seconds, self.done, peak, self._most, int(last.get("retries", 0)), detail)


def _how(status: int, last: dict[str, Any], seat: Seat) -> str:
    if status == -signal.SIGKILL and seat.kills():
        return "killed"
    # Not every interpreter outlives memory that is refused to itself.
    if last.get("starved") or (seat.join is None and -status in _CRASHES):
        return "memory error"
    return "completed" if status == 0 and last.get("wrong") == 0 else "failed"


def contest(plan: Plan, arena: Arena, *, together: bool, show: Callable[[Sequence[Run]], object]) -> tuple[Run, ...]:
    """
    Run both pools and return their runs, stock first.

    Blocks until both have ended or were given up, and calls *show* with the runs that have begun some twenty times a
    second. Whatever happens, no child is left; the arena is the caller's to close.

    Args:
        plan: the limit and the length.
        arena: where they get their places.
        together: at the same time; otherwise one after the other.
        show: told about progress.

    Raises:
        OSError: a place could not be made.
    """
    runs: list[Run] = []
    try:
        for names in [NAMES] if together else [(name,) for name in NAMES]:
            seats = [arena.seat(name, plan.memory) for name in names]
            for name, seat in zip(names, seats, strict=True):
                with signals_wait():
                    runs.append(Run(name, plan, seat))
            _follow(runs, lambda: show(runs))
    finally:
        for run in runs:
            run.close()
    return tuple(runs)


def _follow(runs: Sequence[Run], show: Callable[[], object]) -> None:
    open_ones = [run for run in runs if run.outcome is None]
    give_up = time.monotonic() + 90 + 5 * max((run.plan.seconds for run in open_ones), default=0)
    with selectors.DefaultSelector() as selector:
        for run in open_ones:
            selector.register(run.out, selectors.EVENT_READ, run)
        while selector.get_map():
            for key, _ in selector.select(_SAMPLE_S):
                if not key.data.hear():
                    selector.unregister(key.fileobj)
            for run in open_ones:
                if run.outcome is None:
                    run.sample()
            if time.monotonic() > give_up:
                for key in list(selector.get_map().values()):
                    selector.unregister(key.fileobj)
                    key.data.stop("timed out")
            show()
