"""
One pool's run, in a process of its own: ``python -m cgexec._demo.child JOB``. Prints a line of JSON ten times a second
and a last one with what came of it. It may be killed at any moment; that is what it is for.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, NoReturn

from cgexec._demo.work import WORKERS, Counter, Plan, specs

__all__ = ["Job", "main"]

_EVERY_S = 0.1
# What becomes of memory that is refused: to a thread's stack the second, to careless C code the third.
_REFUSED = (MemoryError, RuntimeError, SystemError)


class Job(NamedTuple):
    """
    What to run. *join*: the ``cgroup.procs`` of the cgroup to run in. None: RLIMIT_DATA has to serve as the limit.
    *inside*: it was joined already.
    """

    pool: str  # "stock" or "cgexec"
    memory: int
    seconds: float
    join: str | None
    inside: bool = False


def main(argument: str) -> None:
    """Run the job."""
    job = Job(**json.loads(argument))
    lift: Callable[[], object] = _nothing
    if job.join is not None and not job.inside:
        _enter(job, job.join)
    plan = Plan(job.memory, job.seconds)
    if job.join is None:
        from cgexec._demo.rlimit import limit_data, tell_pool

        lift = limit_data(job.memory, threads=WORKERS + 2)
        tell_pool(job.memory)
    counter = Counter()
    batch = specs(plan)
    ended = threading.Event()
    reporter = threading.Thread(target=_report, args=(counter, ended), daemon=True)
    reporter.start()
    begin = time.monotonic()
    with _pool(job) as pool:
        try:
            futures = [pool.submit(counter.run, spec) for spec in batch]
            right = [future.result() == spec.size for future, spec in zip(futures, batch, strict=True)]
        except _REFUSED as error:
            lift()
            if job.join is not None and not isinstance(error, MemoryError):
                raise
            # In a container this would have been the kill, which leaves nobody to finish the rest.
            _end_here(counter, begin, ended, reporter)
        seconds = time.monotonic() - begin
        stats = getattr(pool, "stats", lambda: None)()  # of ours
    ended.set()
    reporter.join()
    retries = 0 if stats is None else stats.memory_retries
    _say(done=counter.done, running=0, wrong=right.count(False), seconds=seconds, most=counter.most, retries=retries)


def _enter(job: Job, procs: str) -> None:
    """Start anew inside the cgroup, so that all of the memory is charged to it."""
    Path(procs).write_text("0", encoding="ascii")
    again = json.dumps(job._replace(inside=True)._asdict())
    os.execv(sys.executable, [sys.executable, "-m", "cgexec._demo.child", again])  # noqa: S606  # ourselves


def _pool(job: Job) -> ThreadPoolExecutor:
    if job.pool == "stock":
        return ThreadPoolExecutor(WORKERS)
    from cgexec._executor import ThreadPoolExecutor as Ours

    return Ours(WORKERS, memory_fuse=True, on_memory_error="retry")


def _report(counter: Counter, ended: threading.Event) -> None:
    while not ended.wait(_EVERY_S):
        try:
            _say(done=counter.done, running=counter.running)
        except MemoryError:
            continue
        except OSError:  # nobody reads any more: whoever started this is gone
            os._exit(1)


def _end_here(counter: Counter, begin: float, ended: threading.Event, reporter: threading.Thread) -> NoReturn:
    """Say that memory ran out, and end at once with all that still runs, as a kill would."""
    ended.set()
    reporter.join()  # what is said last is what counts
    _say(done=counter.done, running=counter.running, seconds=time.monotonic() - begin, most=counter.most, starved=True)
    os._exit(1)


def _nothing() -> None:
    """There is no limit of ours to take away."""


def _say(**facts: object) -> None:
    # One write a line, whatever thread it comes from.
    os.write(1, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
