"""The job itself: a stand-in that waits, computes, holds memory, reports and fails as a real one does."""

import hashlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import cgexec
from fastapi_service.settings import Settings

__all__ = ["Flaky", "give_way", "simulate"]

_BLOCK = bytes(1 << 18)
_PIECE = 1 << 20
# A cancelled job ends this soon, in seconds.
_NAP = 0.2
# The least that a thread may claim of a CPU that another wants.
_LAST = 19


def give_way() -> None:
    """
    Let the loop have a CPU before the jobs: run in each thread of the pool. What waits for the loop is short, and on
    CPUs that the jobs use up it would wait for its turn among them. On Linux niceness belongs to a thread.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # seccomp may forbid it; raised here it would break the pool
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST)


class Flaky(Exception):  # it is what a dependency is
    """An attempt failed for a reason that may be gone the next time; worth another attempt."""


def simulate(settings: Settings, job_id: str, attempt: int, report: Callable[[float], object]) -> dict[str, object]:
    """
    Work for ``job_seconds``, in a thread. Plain blocking code; where it calls `cgexec.checkpoint` it can be cancelled.

    Raises:
        Flaky: as often as ``fail_rate`` says, the same jobs and attempts with the same ``seed``.
    """
    chance = random.Random(f"{settings.seed}/{job_id}/{attempt}")  # noqa: S311  # a simulation
    fails_at = chance.randrange(settings.job_steps) if chance.random() < settings.fail_rate else None
    held = _hold(int(cgexec.parse_quantity(settings.job_memory)))
    each = settings.job_seconds / settings.job_steps
    digest = hashlib.sha256()
    for step in range(settings.job_steps):
        _compute(each * settings.cpu_per_task, digest)
        _wait(each * (1 - settings.cpu_per_task))
        if step == fails_at:
            raise Flaky(f"attempt {attempt} lost its connection in step {step + 1} of {settings.job_steps}")
        report(100 * (step + 1) / settings.job_steps)
    return {"digest": digest.hexdigest(), "attempts": attempt, "bytes": sum(map(len, held))}


def _hold(size: int) -> list[bytes]:
    """Return so many bytes of memory, really in use; in pieces, since each is made under the interpreter lock."""
    return [b"\1" * min(_PIECE, size - start) for start in range(0, size, _PIECE)]


def _compute(seconds: float, digest: "hashlib._Hash") -> None:
    """Use so much CPU time, most of it outside the interpreter lock."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        cgexec.checkpoint()
        digest.update(_BLOCK)


def _wait(seconds: float) -> None:
    """Stand for a slow service."""
    end = time.monotonic() + seconds
    while True:
        cgexec.checkpoint()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _NAP))
