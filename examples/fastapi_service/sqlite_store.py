"""Jobs in a SQLite file, for all processes of one container and the next one that gets its volume."""

import fcntl
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi_service.states import FINAL, Event, Job, State, moved, reported

__all__ = ["SqliteStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
    progress REAL NOT NULL, result TEXT, error TEXT, started REAL, ended REAL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, owner);
CREATE INDEX IF NOT EXISTS jobs_by_created ON jobs (created);
CREATE INDEX IF NOT EXISTS jobs_by_ended ON jobs (ended);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, at REAL NOT NULL, state TEXT NOT NULL,
    attempt INTEGER NOT NULL, progress REAL NOT NULL, result TEXT, error TEXT
);
CREATE INDEX IF NOT EXISTS events_by_job ON events (job, seq);
"""
_JOB = "id, owner, created, state, attempt, progress, result, error, started, ended"
_EVENT = "seq, job, at, state, attempt, progress, result, error"
_FINAL = ", ".join(f"'{state}'" for state in sorted(FINAL))
# A writer waits so long for those of other processes, in seconds; they hold the file for less than a millisecond.
_BUSY_S = 30.0


class SqliteStore:
    """
    A `JobStore` in a file. One connection, one lock: SQLite writes one after the other anyway.

    Writers are serialised over all processes, and numbers are given while they are, so whoever reads up to number n has
    seen everything before it.

    A process is alive as long as it holds the lock on its own file beside the database. The kernel lets go of it
    however the process ends, so no clock and no heartbeat has to be right.
    """

    def __init__(self, path: Path) -> None:
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._alive = Path(f"{path}.owners")
        self._alive.mkdir(parents=True, exist_ok=True)
        self._own = self._hold(self.owner, create=True)
        self._database: sqlite3.Connection | None = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        # WAL: readers of other processes never wait. A crash of the machine may cost the last transactions, one of the
        # process does not.
        for line in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=NORMAL",
            f"PRAGMA busy_timeout={_BUSY_S * 1000:.0f}",
        ):
            self._database.execute(line)
        with self._writing() as database:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)

    # -- writing ----------------------------------------------------------------------------------------------------

    def create(self, job_id: str) -> tuple[Job, bool]:
        with self._writing() as database:
            job = _job(database, job_id)
            if job is not None:
                return job, False
            job = Job(job_id, self.owner, time.time())
            database.execute(f"INSERT INTO jobs ({_JOB}) VALUES (?,?,?,?,?,?,?,?,?,?)", _row(job))
            _note(database, job)
            return job, True

    def discard(self, job_id: str) -> None:
        with self._writing() as database:
            _forget(database, [job_id])

    def move(self, job_id: str, to: State, *, result: Any = None, error: str | None = None) -> Event | None:
        if self._database is None:
            return None
        with self._writing() as database:
            job = _job(database, job_id)
            return _change(database, job and moved(job, to, time.time(), result=result, error=error))

    def report(self, job_id: str, progress: float) -> Event | None:
        if self._database is None:
            return None
        with self._writing() as database:
            job = _job(database, job_id)
            return _change(database, job and reported(job, progress))

    def interrupt(self) -> int:
        return self._interrupt(self.owner)

    def recover(self) -> int:
        with self._reading() as database:
            owners = database.execute(
                f"SELECT DISTINCT owner FROM jobs WHERE state NOT IN ({_FINAL}) AND owner != ?", (self.owner,)
            ).fetchall()
        return sum(self._interrupt(owner) for (owner,) in owners if not self._lives(owner))

    def sweep(self, keep_seconds: float, keep_jobs: int) -> int:
        with self._writing() as database:
            old = database.execute(
                "SELECT id FROM jobs WHERE ended < ? UNION SELECT id FROM (SELECT id FROM jobs WHERE ended IS NOT NULL"
                " ORDER BY ended DESC LIMIT -1 OFFSET ?)",
                (time.time() - keep_seconds, keep_jobs),
            ).fetchall()
            _forget(database, [job_id for (job_id,) in old])
            return len(old)

    def close(self) -> None:
        with self._lock:
            database, self._database = self._database, None
            if database is None:
                return
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.close()
        if self._own is not None:
            (self._alive / self.owner).unlink(missing_ok=True)
            os.close(self._own)

    def _interrupt(self, owner: str) -> int:
        with self._writing() as database:
            rows = database.execute(f"SELECT {_JOB} FROM jobs WHERE owner = ? AND state NOT IN ({_FINAL})", (owner,))
            left = [_from_row(row) for row in rows.fetchall()]
            for job in left:
                _change(database, moved(job, State.INTERRUPTED, time.time(), error="its process ended"))
            return len(left)

    # -- reading ----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        with self._reading() as database:
            return _job(database, job_id)

    def events(self, after: int, *, job_id: str | None = None, limit: int = 500) -> list[Event]:
        of_job, arguments = ("", (after, limit)) if job_id is None else ("AND job = ?", (after, job_id, limit))
        with self._reading() as database:
            rows = database.execute(
                f"SELECT {_EVENT} FROM events WHERE seq > ? {of_job} ORDER BY seq LIMIT ?", arguments
            )
            return [
                Event(seq, job, at, State(state), attempt, progress, result and json.loads(result), error)
                for seq, job, at, state, attempt, progress, result, error in rows
            ]

    def last_seq(self) -> int:
        with self._reading() as database:
            (last,) = database.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
            return int(last)

    def latest(self, limit: int) -> list[Job]:
        with self._reading() as database:
            rows = database.execute(f"SELECT {_JOB} FROM jobs ORDER BY created DESC LIMIT ?", (limit,))
            return [_from_row(row) for row in rows]

    def counts(self) -> dict[State, int]:
        with self._reading() as database:
            found = dict(database.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in State}

    def overdue(self, seconds: float) -> list[str]:
        with self._reading() as database:
            rows = database.execute(
                "SELECT id FROM jobs WHERE state = ? AND owner = ? AND started < ?",
                (State.RUNNING, self.owner, time.time() - seconds),
            )
            return [job_id for (job_id,) in rows]

    # -- the file ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._database is None:
                raise RuntimeError("the store is closed")
            yield self._database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as database:
            # IMMEDIATE: a reader that becomes a writer is refused at once if another wrote meanwhile, and never waits.
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _hold(self, owner: str, *, create: bool = False) -> int | None:
        """Return a descriptor that holds the owner's lock, None if somebody else holds it or there is no such file."""
        try:
            descriptor = os.open(self._alive / owner, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _lives(self, owner: str) -> bool:
        path = self._alive / owner
        held = self._hold(owner)
        if held is None:
            return path.exists()
        path.unlink(missing_ok=True)
        os.close(held)
        return False


def _row(job: Job) -> tuple[Any, ...]:
    result = None if job.result is None else json.dumps(job.result)
    return (
        job.id, job.owner, job.created, job.state, job.attempt, job.progress, result, job.error, job.started, job.ended
    )  # fmt: skip


def _from_row(row: tuple[Any, ...]) -> Job:
    job_id, owner, created, state, attempt, progress, result, error, started, ended = row
    found = result and json.loads(result)
    return Job(job_id, owner, created, State(state), attempt, progress, found, error, started, ended)


def _job(database: sqlite3.Connection, job_id: str) -> Job | None:
    row = database.execute(f"SELECT {_JOB} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else _from_row(row)


def _change(database: sqlite3.Connection, job: Job | None) -> Event | None:
    if job is None:
        return None
    _, _, _, *rest = _row(job)
    database.execute(
        "UPDATE jobs SET state=?, attempt=?, progress=?, result=?, error=?, started=?, ended=? WHERE id=?",
        (*rest, job.id),
    )
    return _note(database, job)


def _note(database: sqlite3.Connection, job: Job) -> Event:
    now = time.time()
    cursor = database.execute(
        "INSERT INTO events (job, at, state, attempt, progress, result, error) VALUES (?,?,?,?,?,?,?)",
        (job.id, now, *_row(job)[3:8]),
    )
    assert cursor.lastrowid is not None, "it was an INSERT"
    return Event(cursor.lastrowid, job.id, now, job.state, job.attempt, job.progress, job.result, job.error)


def _forget(database: sqlite3.Connection, job_ids: list[str]) -> None:
    for job_id in job_ids:
        database.execute("DELETE FROM events WHERE job = ?", (job_id,))
        database.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
