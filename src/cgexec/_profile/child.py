"""
A fresh process that calls a function from so many threads for a while. Run by `measure`, which watches it from outside.

    python -m cgexec._profile.child '{"target": "app:report", "args": [], "kwargs": {}, "workers": 4, "seconds": 2}'

It prints a line of JSON when it is ready, starts when it gets a line, and prints a line with what it measured. What the
function itself prints goes to standard error, and its standard input is empty.
"""

import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from cgexec._adaptive.asking import sleeps

__all__ = ["main"]

# Calls whose times are kept one by one; of a function that takes microseconds there are millions.
_MOST_KEPT = 500
# A first call that takes no more than this share of the time is only for warming up: imports, caches, connections.
_WARM_UP = 0.25
_PROBE_S = 0.002
# A thread that holds the interpreter lock gives it up after 5 ms (sys.getswitchinterval); who waits for less than this
# has met none, or one that was about to release it.
_HELD_S = 0.001


class WrongTarget(ValueError):
    """There is nothing by that name that could be called."""


class Tally(NamedTuple):
    """
    What one worker has measured; times in seconds. *queued*: it could have run, and waited for a CPU. *kept* has the
    beginning and end of some calls.
    """

    calls: int
    wall: float
    cpu: float
    queued: float
    begin: float
    end: float
    kept: list[tuple[float, float]]


class GilProbe(threading.Thread):
    """
    Asks again and again for the interpreter lock, and counts how often it had to wait.

    After a sleep a thread goes on at once if nobody holds the lock; the share of sleeps after which it does not is the
    share of time in which it is held. Who has to wait sleeps once more, so that is known by the count of sleeps; where
    the kernel does not tell, by the time, without that in which it waited for a CPU.
    """

    def __init__(self) -> None:
        super().__init__(name="cgexec-gil", daemon=True)
        self.asked = self.waited = 0
        self.stop = threading.Event()
        self._counted = self._sleeps() > 0
        late = [] if self._counted else sorted(self._late() for _ in range(50))
        self._usual = late[45] if late else 0.0  # without load: the kernel's own lateness

    def run(self) -> None:
        """Ask until told to stop."""
        while not self.stop.is_set():
            taken = self._sleeps() > 1 if self._counted else self._late() > max(_HELD_S, 2 * self._usual)
            self.waited += taken
            self.asked += 1

    @staticmethod
    def _sleeps() -> int:
        before = sleeps()
        time.sleep(_PROBE_S)
        return sleeps() - before

    @staticmethod
    def _late() -> float:
        queued, begin = _queued(), time.perf_counter()
        time.sleep(_PROBE_S)
        late = time.perf_counter() - begin - _PROBE_S
        return late - (_queued() - queued)

    @property
    def share(self) -> float | None:
        """The share of time in which the lock was held, None if hardly asked."""
        return self.waited / self.asked if self.asked >= 20 else None


def _load(target: str) -> Callable[..., object]:
    module, _, path = target.partition(":")
    if not module or not path:
        raise WrongTarget(f"{target!r}: expected module:function, such as app.reports:monthly")
    try:
        found: Any = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise WrongTarget(f"{target!r}: {error}") from None
    if not callable(found):
        raise WrongTarget(f"{target!r} is no function")
    if inspect.iscoroutinefunction(found):
        raise WrongTarget(
            f"{target!r} is a coroutine function, which an event loop runs; a pool's threads run plain ones"
        )
    call: Callable[..., object] = found
    return call


def _queued() -> float:
    """Return for how many seconds this thread was ready to run and had no CPU; 0 where the kernel does not tell."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:  # noqa: PTH123  # no file of ours
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _work(call: Callable[[], object], until: float) -> Tally:
    """Call until the time is over, at least once."""
    calls, kept = 0, []
    queued = _queued()
    begin = last = time.monotonic()
    cpu = time.thread_time()
    while not calls or last < until:
        call()
        now = time.monotonic()
        if calls < _MOST_KEPT:
            kept.append((last, now))
        calls, last = calls + 1, now
    return Tally(calls, last - begin, time.thread_time() - cpu, _queued() - queued, begin, last, kept)


def _together(call: Callable[[], object], workers: int, seconds: float) -> list[Tally]:
    """Call from so many threads at the same time."""
    tallies: list[Tally] = []
    errors: list[BaseException] = []
    barrier = threading.Barrier(workers)

    def run() -> None:
        try:
            barrier.wait(60)
            tallies.append(_work(call, time.monotonic() + seconds))
        except BaseException as error:  # noqa: BLE001  # raised by whoever waits
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return tallies


def main() -> None:
    """Do what the argument says."""
    told = json.loads(sys.argv[1])
    out, start = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(0))
    os.dup2(2, 1)  # the function's own prints
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # no file of ours
        os.dup2(nothing.fileno(), 0)  # a function that reads standard input finds its end, and not the line to start
    try:
        function = _load(told["target"])

        def call() -> object:
            return function(*told["args"], **told["kwargs"])

        warm = _work(call, 0.0)
        long = warm.wall > _WARM_UP * told["seconds"]
        print(json.dumps({"ready": True, "long": long}), file=out, flush=True)
        start.readline()
        probe = GilProbe() if told["workers"] == 1 else None
        if probe is not None:
            probe.start()
        tallies = _together(call, told["workers"], told["seconds"])
        if probe is not None:
            probe.stop.set()
            probe.join()
        answer: dict[str, object] = {"tallies": tallies, "gil": None if probe is None else probe.share}
    except WrongTarget as error:
        answer = {"error": str(error), "ours": True}
    except Exception as error:  # noqa: BLE001  # the function's own: told, not raised
        answer = {"error": f"{type(error).__name__}: {error}".removesuffix(": "), "ours": False}
    print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
