"""Where jobs are kept: the protocol, and its form for one process."""

import threading
import time
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from itertools import count
from typing import Any, Protocol

from fastapi_service.states import FINAL, Event, Job, State, left, moved, reported

__all__ = ["JobStore", "MemoryStore"]


class JobStore(Protocol):
    """
    Jobs and what happened to them. Thread-safe; each call may block for milliseconds, so a loop makes it in a thread.

    `move` and `report` return what they added to the events, None where the job is not there, or not in a state that
    allows it: of two who end a job the first one wins.
    """

    def create(self, job_id: str) -> tuple[Job, bool]:
        """Add a job of this process, or return the one that has this id; and whether it is new."""

    def get(self, job_id: str) -> Job | None:
        """Return a job."""

    def move(self, job_id: str, to: State, *, result: Any = None, error: str | None = None) -> Event | None:
        """Bring a job into another state. *result* is anything that JSON can say."""

    def report(self, job_id: str, progress: float) -> Event | None:
        """Note how far a running job is, in percent."""

    def events(self, after: int, *, job_id: str | None = None, limit: int = 500) -> list[Event]:
        """Return what happened after that number, to one job or to all, in order."""

    def last_seq(self) -> int:
        """Return the number of the latest event."""

    def latest(self, limit: int) -> list[Job]:
        """
        Return the jobs that are being worked on, then the others; of each the one made last first.

        Without their results, which may be large: `get` returns the one that is wanted.
        """

    def counts(self) -> dict[State, int]:
        """Return how many jobs there are in each state."""

    def unfinished(self) -> list[Job]:
        """Return the jobs of this process that have not ended."""

    def interrupt(self, job_ids: Collection[str]) -> int:
        """
        Mark those of them that this process has not finished as interrupted, or as cancelled where that was asked for;
        return how many those were.
        """

    def recover(self) -> int:
        """Do the same with what processes that are gone had not finished, and forget these processes."""

    def sweep(self, keep_seconds: float, keep_jobs: int) -> int:
        """Forget jobs that ended longer ago, and all but so many ended ones; return how many."""

    def close(self) -> None:
        """Write everything to where it stays. What comes later changes nothing."""


class MemoryStore:
    """A `JobStore` for one process, gone with it. One lock, over everything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._events: dict[int, Event] = {}
        self._of_job: dict[str, list[int]] = defaultdict(list)
        self._numbers = count(1)
        self._last = 0

    def create(self, job_id: str) -> tuple[Job, bool]:
        with self._lock:
            if job_id in self._jobs:
                return self._jobs[job_id], False
            job = Job(job_id, "this process", time.time())
            self._note(job)
            return job, True

    def get(self, job_id: str) -> Job | None:
        with self._lock:
            return self._jobs.get(job_id)

    def move(self, job_id: str, to: State, *, result: Any = None, error: str | None = None) -> Event | None:
        with self._lock:
            job = self._jobs.get(job_id)
            return self._note(None if job is None else moved(job, to, time.time(), result=result, error=error))

    def report(self, job_id: str, progress: float) -> Event | None:
        with self._lock:
            job = self._jobs.get(job_id)
            return self._note(None if job is None else reported(job, progress))

    def events(self, after: int, *, job_id: str | None = None, limit: int = 500) -> list[Event]:
        with self._lock:
            if job_id is None:
                seqs = [seq for seq in range(after + 1, self._last + 1) if seq in self._events]
            else:
                seqs = [seq for seq in self._of_job.get(job_id, ()) if seq > after]
            return [self._events[seq] for seq in seqs[:limit]]

    def last_seq(self) -> int:
        with self._lock:
            return self._last

    def latest(self, limit: int) -> list[Job]:
        with self._lock:
            jobs = reversed(self._jobs.values())
            found = sorted(jobs, key=lambda job: not job.in_work)[:limit]
        return [replace(job, result=None) for job in found]

    def counts(self) -> dict[State, int]:
        with self._lock:
            counts = dict.fromkeys(State, 0)
            for job in self._jobs.values():
                counts[job.state] += 1
            return counts

    def unfinished(self) -> list[Job]:
        with self._lock:
            return [job for job in self._jobs.values() if job.state not in FINAL]

    def interrupt(self, job_ids: Collection[str]) -> int:
        with self._lock:
            jobs = [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]
            return sum(self._note(left(job, time.time(), "its process ended")) is not None for job in jobs)

    def recover(self) -> int:
        return 0  # what was in memory went with the process

    def sweep(self, keep_seconds: float, keep_jobs: int) -> int:
        since = time.time() - keep_seconds
        with self._lock:
            ended = sorted(
                (job for job in self._jobs.values() if job.ended is not None), key=lambda job: job.ended or 0
            )
            surplus = len(ended) - keep_jobs
            old = [job.id for n, job in enumerate(ended) if n < surplus or (job.ended or 0) < since]
            for job_id in old:
                self._forget(job_id)
            return len(old)

    def close(self) -> None:
        """There is nowhere to write it to."""

    def _note(self, job: Job | None) -> Event | None:
        if job is None:
            return None
        self._jobs[job.id] = job
        self._last = seq = next(self._numbers)
        event = Event(seq, job.id, time.time(), job.state, job.attempt, job.progress, job.result, job.error)
        self._events[seq] = event
        self._of_job[job.id].append(seq)
        return event

    def _forget(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)
        for seq in self._of_job.pop(job_id, ()):
            del self._events[seq]
