"""What both pools are given: a batch whose tasks need more and more memory, and what each must answer. Pure but for the
tasks themselves.

At first 32 tasks side by side fit into the limit; long before the end they do not. No fixed number of workers is right
for all of it, and nobody is told the sizes.
"""

import threading
import time
from typing import NamedTuple

__all__ = ["WORKERS", "Counter", "Plan", "Spec", "specs"]

WORKERS = 32
# What a task holds, as shares of the limit: the first one and the last.
_FIRST, _LAST = 1 / 64, 1 / 10
_STEPS = 4
_TASK_SECONDS = 0.3
# Tasks in a second of `--seconds`. By the sizes above about twelve run side by side on average where none is killed.
_TASKS_A_SECOND = 30


class Spec(NamedTuple):
    """One task: it takes *size* bytes in steps, waiting between them as for I/O, and counts them."""

    number: int
    size: int


class Plan(NamedTuple):
    """What was asked for: the limit in bytes, and about how long it should take, in seconds."""

    memory: int
    seconds: float

    @property
    def tasks(self) -> int:
        """How many tasks that makes; enough for the last ones not to fit side by side, however short it is."""
        return max(2 * WORKERS, round(self.seconds * _TASKS_A_SECOND))


def specs(plan: Plan) -> list[Spec]:
    """Return the batch, in order."""
    last = plan.tasks - 1
    return [
        Spec(number, int(plan.memory * (_FIRST + (_LAST - _FIRST) * number / last)) // _STEPS * _STEPS)
        for number in range(plan.tasks)
    ]


class Counter:
    """Runs tasks and counts them. Any thread; its lock guards the three numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done = self.running = self.most = 0

    def run(self, spec: Spec) -> int:
        """Do one task and return its answer, which is its size if nothing was lost."""
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            answer = _hold(spec)
        except BaseException:
            with self._lock:
                self.running -= 1
            raise
        with self._lock:
            self.running -= 1
            self.done += 1
        return answer


def _hold(spec: Spec) -> int:
    held = []
    mark = bytes([spec.number % 255 + 1])
    for _ in range(_STEPS):
        begin = time.thread_time()
        held.append(mark * (spec.size // _STEPS))
        # On a slow machine as long as half of the others need for the same: else few are ever side by side.
        time.sleep(max(_TASK_SECONDS / _STEPS, WORKERS / 2 * (time.thread_time() - begin)))
    return sum(part.count(mark) for part in held)
