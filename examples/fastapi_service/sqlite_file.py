"""The SQLite file of a store: its tables, how it is opened, and how it is written to."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["opened", "writing"]

# A result may be large: it stands last, since SQLite goes through it to whatever stands behind.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
    progress REAL NOT NULL, error TEXT, started REAL, ended REAL, result TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, owner);
CREATE INDEX IF NOT EXISTS jobs_by_created ON jobs (created);
CREATE INDEX IF NOT EXISTS jobs_by_ended ON jobs (ended);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, at REAL NOT NULL, state TEXT NOT NULL,
    attempt INTEGER NOT NULL, progress REAL NOT NULL, error TEXT, result TEXT
);
CREATE INDEX IF NOT EXISTS events_by_job ON events (job, seq);
"""
# A writer waits so long for those of other processes, in seconds; they hold the file for less than a millisecond.
_BUSY_S = 30.0
# Where SQLite does not wait itself it is asked so often, in seconds.
_AGAIN_S = 0.01
# An error's kind is in the lowest byte of its number.
_KIND = 0xFF


def opened(path: Path) -> sqlite3.Connection:
    """
    Return a connection to the file, which is made if it is not there; for all threads, one at a time.

    Raises:
        sqlite3.OperationalError: it cannot be opened, or others have kept it locked for long.
    """
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        # Readers of other processes never wait. A crash of the machine may cost the last transactions, one of the
        # process does not.
        _use_wal(database)
        database.execute("PRAGMA synchronous=NORMAL")
        with writing(database):
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def writing(database: sqlite3.Connection) -> Iterator[None]:
    """Make one transaction of the block."""
    # IMMEDIATE: a reader that becomes a writer is refused at once if another wrote meanwhile, and never waits.
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # where the disk is full SQLite has gone back by itself
            database.execute("ROLLBACK")
        raise


def _use_wal(database: sqlite3.Connection) -> None:
    """Wait for this, too: SQLite refuses it at once while another process writes into a file that has no WAL yet."""
    end = time.monotonic() + _BUSY_S
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _KIND != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(_AGAIN_S)
        else:
            return
