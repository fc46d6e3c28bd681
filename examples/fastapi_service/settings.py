"""What the service is told, by environment variables of the fields' names in capitals."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Times are in seconds.

    Attributes:
        job_seconds: how long a job takes.
        job_steps: in how many steps; each is a progress report and a place to be cancelled.
        job_memory: what a job holds while it runs.
        cpu_per_task: the share of its time in which it computes; what the pool is sized by.
        memory_per_task: what the pool is told that a job needs; empty: it finds out.
        max_workers: fixed number of workers; 0: by the container.
        queue_size: accepted jobs that may wait; one more is answered with 503.
        max_jobs: jobs of a process that have not ended, those between two attempts included; one more is answered with
            503. 0: four times as many as workers and places.
        retry_after: what ``Retry-After`` says while no attempt has ended yet, so that nobody knows how long one takes.
        attempts: how often a job is tried.
        backoff: the first wait before it is tried again, doubled each time, up to *backoff_most*.
        progress_every: how often the progress of a job is written at most; the latest wins.
        overdue_after: a job that runs longer is shown as overdue.
        fail_rate: the share of attempts that fail.
        drop_rate: the share of pushed messages after which the connection is cut.
        seed: of both.
        database: a SQLite file for all processes of this container; empty: memory, for one process.
        keep_seconds: how long ended jobs are kept: their results, and that their ids do not run again.
        keep_jobs: how many.
        heartbeat: a silent WebSocket gets a message so often, since proxies cut lines that are silent for a minute.
        poll: how often events of other processes are looked for.
        grace: ``terminationGracePeriodSeconds``.
    """

    job_seconds: float = 300.0
    job_steps: int = 100
    job_memory: str = "20Mi"
    cpu_per_task: float = 0.1
    memory_per_task: str = ""
    max_workers: int = 0
    queue_size: int = 100
    max_jobs: int = 0
    retry_after: float = 10.0
    attempts: int = 5
    backoff: float = 2.0
    backoff_most: float = 60.0
    progress_every: float = 0.25
    overdue_after: float = 600.0
    fail_rate: float = 0.0
    drop_rate: float = 0.0
    seed: int = 0
    database: str = ""
    keep_seconds: float = 3600.0
    keep_jobs: int = 1000
    heartbeat: float = 20.0
    poll: float = 0.25
    grace: float = 330.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """
        Return the settings that *environ* states; an empty variable is one that is not set.

        Raises:
            ValueError: a variable is no such number.
        """
        told: dict[str, Any] = {}  # Any: of the fields' types
        for field in fields(cls):
            text = environ.get(field.name.upper(), "")
            if not text:
                continue
            kind: Any = type(field.default)  # float, int or str
            try:
                told[field.name] = kind(text) if kind is not float else _finite(text)
            except ValueError:
                what = "a whole number" if kind is int else "a number"
                raise ValueError(f"{field.name.upper()}={text!r}: expected {what}, such as {field.default}") from None
        return cls(**told)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):  # no answer to a client could say it, and nothing can be worked out with it
        raise ValueError(text)
    return number
