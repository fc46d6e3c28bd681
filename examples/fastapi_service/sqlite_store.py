"""Jobs in a SQLite file, for all processes of one container and the next one that gets its volume."""

import fcntl
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi_service.sqlite_file import opened, writing
from fastapi_service.states import FINAL, Event, Job, State, left, moved, reported

__all__ = ["SqliteStore"]

_JOB = "id, owner, created, state, attempt, progress, result, error, started, ended"
_LISTED = _JOB.replace("result", "NULL")
_EVENT = "seq, job, at, state, attempt, progress, result, error"
_HELD: set[int] = set()  # descriptors with the locks of this process
_FINAL = ", ".join(f"'{state}'" for state in sorted(FINAL))


class SqliteStore:
    """
    A `JobStore` in a file. One connection, one lock: SQLite writes one after the other anyway.

    Writers are serialised over all processes, and numbers are given while they are, so whoever reads up to number n has
    seen everything before it.

    A process is alive as long as it holds the lock on its own file beside the database. The kernel lets go of it
    however the process ends, so no clock and no heartbeat has to be right. What a job forks has the lock, too, and may
    outlive this process, so it closes that file at once.
    """

    def __init__(self, path: Path) -> None:
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._alive = Path(f"{path}.owners")
        self._alive.mkdir(parents=True, exist_ok=True)
        self._database: sqlite3.Connection | None = opened(path)
        self._own = self._hold_own()

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

    def interrupt(self, job_ids: Collection[str]) -> int:
        with self._writing() as database:
            asked = set(job_ids)
            return _leave(database, [job for job in _unfinished(database, self.owner) if job.id in asked])

    def recover(self) -> int:
        with self._reading() as database:
            rows = database.execute(f"SELECT DISTINCT owner FROM jobs WHERE state NOT IN ({_FINAL})").fetchall()
        # The files, too: of a process that was killed while it had no job only that is left.
        owners = {owner for (owner,) in rows}.union(path.name for path in self._alive.iterdir()) - {self.owner}
        gone = [owner for owner in owners if not self._lives(owner)]
        if not gone:
            return 0
        with self._writing() as database:
            return sum(_leave(database, _unfinished(database, owner)) for owner in gone)

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
            try:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:  # on a full disk, too, or others would take this process for alive
                database.close()
                (self._alive / self.owner).unlink(missing_ok=True)
                _HELD.discard(self._own)
                os.close(self._own)

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
            rows = database.execute(
                f"SELECT {_LISTED} FROM jobs ORDER BY started IS NOT NULL AND ended IS NULL DESC, created DESC LIMIT ?",
                (limit,),
            )
            return [_from_row(row) for row in rows]

    def counts(self) -> dict[State, int]:
        with self._reading() as database:
            found = dict(database.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in State}

    def unfinished(self) -> list[Job]:
        with self._reading() as database:
            return _unfinished(database, self.owner)

    # -- the file ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._database is None:
                raise RuntimeError("the store is closed")
            yield self._database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as database, writing(database):
            yield database

    def _hold_own(self) -> int:
        """Return a descriptor that holds the lock on this process's file."""
        while True:
            descriptor = os.open(self._alive / self.owner, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # 1. it is made here; 2. another process finds it unlocked and takes it away; 3. it is locked here. Then a
            # file without a name is locked, and it has to be made again.
            if os.fstat(descriptor).st_nlink:
                _HELD.add(descriptor)
                return descriptor
            os.close(descriptor)

    def _lives(self, owner: str) -> bool:
        path = self._alive / owner
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def _let_go() -> None:
    """In a child: close what it has of its parent, whose lock stays."""
    while _HELD:
        os.close(_HELD.pop())


os.register_at_fork(after_in_child=_let_go)


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


def _unfinished(database: sqlite3.Connection, owner: str) -> list[Job]:
    rows = database.execute(f"SELECT {_JOB} FROM jobs WHERE owner = ? AND state NOT IN ({_FINAL})", (owner,))
    return [_from_row(row) for row in rows.fetchall()]


def _leave(database: sqlite3.Connection, jobs: list[Job]) -> int:
    changes = [_change(database, left(job, time.time(), "its process ended")) for job in jobs]
    return len(changes)


def _forget(database: sqlite3.Connection, job_ids: list[str]) -> None:
    for job_id in job_ids:
        database.execute("DELETE FROM events WHERE job = ?", (job_id,))
        database.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
