"""One contract for both stores, and what only a file can: several processes, and what they leave."""

import fcntl
import multiprocessing
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from fastapi_service import sqlite_file
from fastapi_service.sqlite_store import SqliteStore
from fastapi_service.states import State
from fastapi_service.store import MemoryStore

from support.lab import IMPORT_FROM, PROJECT
from support.pools import SOON

DONE = (State.RUNNING, State.COMPLETED)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "jobs.db")
    with closing(made):
        yield made


def finish(store, job_id, result=None):
    store.create(job_id)
    store.move(job_id, State.RUNNING)
    store.move(job_id, State.COMPLETED, result=result)


def test_an_id_is_made_once(store):
    first, new = store.create("a")
    assert new
    store.move("a", State.RUNNING)
    again, new = store.create("a")
    assert not new
    assert (again.id, again.created, again.state) == ("a", first.created, State.RUNNING)


def test_of_many_that_make_the_same_id_one_does(store):
    def make():
        barrier.wait(SOON)
        made.append(store.create("a")[1])

    barrier, made = threading.Barrier(8), []
    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert sorted(made) == [False] * 7 + [True]


def test_a_job_is_what_was_last_said_of_it(store):
    finish(store, "a", {"pages": [1, 2.5, None]})
    job = store.get("a")
    assert (job.state, job.result, job.progress, job.error) == (State.COMPLETED, {"pages": [1, 2.5, None]}, 100.0, None)
    assert job.created <= job.started <= job.ended
    assert store.get("b") is None


def test_a_step_that_is_not_allowed_changes_nothing(store):
    store.create("a")
    last = store.last_seq()
    assert store.move("a", State.COMPLETED) is None
    assert store.report("a", 5.0) is None
    assert store.move("b", State.RUNNING) is None
    assert store.last_seq() == last
    assert store.get("a").state is State.QUEUED


def test_events_come_in_order_from_any_number_on(store):
    store.create("a")
    store.create("b")
    store.move("a", State.RUNNING)
    store.report("a", 50.0)
    store.move("a", State.COMPLETED, result=7)
    every = store.events(0)
    assert [(event.job, event.state) for event in every] == [
        ("a", "queued"), ("b", "queued"), ("a", "running"), ("a", "running"), ("a", "completed")
    ]  # fmt: skip
    assert [event.seq for event in every] == sorted({event.seq for event in every})
    assert store.events(every[2].seq, job_id="a") == every[3:]
    assert store.events(0, limit=2) == every[:2]
    assert store.events(store.last_seq()) == []
    assert (every[-1].result, every[-1].progress) == (7, 100.0)


def test_interrupt_ends_what_has_not_ended(store):
    finish(store, "done", 1)
    store.create("queued")
    store.create("running")
    store.move("running", State.RUNNING)
    store.create("cancelling")
    store.move("cancelling", State.CANCELLING)
    store.create("another")
    assert store.interrupt(["done", "queued", "running", "cancelling", "nobody"]) == 3
    assert store.interrupt(["queued", "running", "cancelling"]) == 0
    ended = {State.INTERRUPTED: 2, State.CANCELLED: 1, State.COMPLETED: 1, State.QUEUED: 1}
    assert store.counts() == {**dict.fromkeys(State, 0), **ended}
    assert store.move("running", State.COMPLETED) is None, "a thread that went on does not raise the dead"


def test_only_so_many_ended_jobs_are_kept_and_only_so_long(store):
    for number in range(5):
        finish(store, f"{number}", number)
    store.create("waiting")
    assert store.sweep(3600, 3) == 2
    assert [job.id for job in store.latest(10)] == ["waiting", "4", "3", "2"]
    assert store.latest(1)[0].id == "waiting"
    assert {event.job for event in store.events(0)} == {"waiting", "4", "3", "2"}
    assert store.sweep(-1, 3) == 3, "all that ended before a second from now"
    assert [job.id for job in store.latest(10)] == ["waiting"]


def test_unfinished_is_what_has_not_ended(store):
    finish(store, "done")
    store.create("waiting")
    store.create("running")
    store.move("running", State.RUNNING)
    assert store.unfinished() == [store.get("waiting"), store.get("running")]


def test_what_is_being_worked_on_comes_before_what_waits(store):
    for job_id in ("running", "retrying", "done", "waiting"):
        store.create(job_id)
    for job_id in ("running", "retrying", "done"):
        store.move(job_id, State.RUNNING)
    store.move("retrying", State.RETRYING)
    store.move("done", State.COMPLETED)
    assert [job.id for job in store.latest(10)] == ["retrying", "running", "waiting", "done"]
    assert [job.id for job in store.latest(2)] == ["retrying", "running"]


def test_a_list_has_no_results(store):
    finish(store, "a", "large")
    assert [(job.id, job.state, job.result) for job in store.latest(10)] == [("a", State.COMPLETED, None)]
    assert store.get("a").result == "large"


# -- a file ----------------------------------------------------------------------------------------------------------


def test_what_one_process_writes_another_reads(tmp_path):
    with closing(SqliteStore(tmp_path / "jobs.db")) as one, closing(SqliteStore(tmp_path / "jobs.db")) as other:
        one.create("a")
        one.move("a", State.RUNNING)
        assert other.get("a").owner == one.owner != other.owner
        assert other.move("a", State.CANCELLING).seq == one.last_seq()
        assert [event.state for event in one.events(0)] == ["queued", "running", "cancelling"]
        assert other.unfinished() == [], "that is for its own process to see"
        assert other.interrupt(["a"]) == 0


def test_nor_are_they_read_for_it(tmp_path):
    def note(_, table, column, *__):
        read.append((table, column))
        return sqlite3.SQLITE_OK

    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        read = []
        store._database.set_authorizer(note)
        store.latest(10)
        assert ("jobs", "ended") in read
        assert ("jobs", "result") not in read


def test_the_jobs_of_a_living_process_are_left_alone(tmp_path):
    with closing(SqliteStore(tmp_path / "jobs.db")) as one, closing(SqliteStore(tmp_path / "jobs.db")) as other:
        one.create("a")
        assert other.recover() == 0
        assert other.get("a").state is State.QUEUED


KILLED = """
import os, signal, sys
from pathlib import Path
from fastapi_service.sqlite_store import SqliteStore
from fastapi_service.states import State
store = SqliteStore(Path(sys.argv[1]))
store.create("a")
store.move("a", State.RUNNING)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_jobs_of_a_killed_process_are_interrupted_at_the_next_look(tmp_path):
    path = tmp_path / "jobs.db"
    with closing(SqliteStore(path)) as store:
        environment = {"PYTHONPATH": f"{IMPORT_FROM}:{PROJECT / 'examples'}"}
        killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment, timeout=SOON)
        assert killed.returncode == -9
        assert store.get("a").state is State.RUNNING
        assert store.recover() == 1
        assert store.recover() == 0
        assert (store.get("a").state, store.get("a").error) == (State.INTERRUPTED, "its process ended")
        assert [owner.name for owner in Path(f"{path}.owners").iterdir()] == [store.owner], "nothing is left of it"


FORKED = """
import os, signal, sys
from pathlib import Path
from fastapi_service.sqlite_store import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.create("a")
told, tells = os.pipe()
if os.fork() == 0:
    os.write(tells, b"forked")
    sys.stdin.read()
    os._exit(0)
os.read(told, 6)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_is_not_alive_for_what_it_has_forked(tmp_path):
    path = tmp_path / "jobs.db"
    environment = {"PYTHONPATH": f"{IMPORT_FROM}:{PROJECT / 'examples'}"}
    command = [sys.executable, "-c", FORKED, str(path)]
    with closing(SqliteStore(path)) as store:
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as killed:
            assert killed.wait(SOON) == -9
            assert store.recover() == 1, "what was forked reads until the end of the block"
        assert store.get("a").state is State.INTERRUPTED


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_lives_on_when_it_has_forked(tmp_path):
    with closing(SqliteStore(tmp_path / "jobs.db")) as one, closing(SqliteStore(tmp_path / "jobs.db")) as other:
        one.create("a")
        child = multiprocessing.get_context("fork").Process(target=int)
        child.start()
        child.join(SOON)
        assert child.exitcode == 0
        assert other.recover() == 0


def test_nothing_is_left_of_a_process_that_was_killed_without_a_job(tmp_path):
    path = tmp_path / "jobs.db"
    with closing(SqliteStore(path)) as store:
        (Path(f"{path}.owners") / "17-gone").touch()
        assert store.recover() == 0
        assert [owner.name for owner in Path(f"{path}.owners").iterdir()] == [store.owner]


def test_an_own_file_that_was_taken_for_a_dead_ones_is_made_again(tmp_path, monkeypatch):
    """1. it is made; 2. another process looks for dead ones and takes it away; 3. it is locked."""

    def late(descriptor, how):
        if looks:
            looks.pop()
            other.recover()
        flock(descriptor, how)

    path, flock, looks = tmp_path / "jobs.db", fcntl.flock, []
    with closing(SqliteStore(path)) as other:
        looks.append("once")
        monkeypatch.setattr(fcntl, "flock", late)
        with closing(SqliteStore(path)) as store:
            assert not looks
            store.create("a")
            assert other.recover() == 0
            assert store.get("a").state is State.QUEUED


def test_a_full_disk_is_no_end(tmp_path):
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        store.create("a")
        ((pages,),) = store._database.execute("PRAGMA page_count").fetchall()
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.create("x" * 1_000_000)
        store._database.execute(f"PRAGMA max_page_count = {1000 * pages}")
        assert store.create("b")[1]
        assert store.move("a", State.RUNNING)


def test_a_commit_that_fails_is_no_end(tmp_path):
    """It leaves the transaction open, in which no other could begin."""
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        store._database.execute("PRAGMA foreign_keys = ON")
        store._database.execute("CREATE TABLE owed (job TEXT REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED)")
        store._database.execute(
            "CREATE TRIGGER owe AFTER INSERT ON jobs WHEN new.id = 'a' BEGIN INSERT INTO owed VALUES ('x'); END"
        )
        with pytest.raises(sqlite3.IntegrityError):
            store.create("a")
        assert store.get("a") is None
        assert store.create("b")[1]


def test_a_store_that_was_closed_takes_nothing_more(tmp_path):
    store = SqliteStore(tmp_path / "jobs.db")
    store.create("a")
    store.close()
    store.close()
    assert store.move("a", State.RUNNING) is None, "a task that still runs must not fail for it"
    with pytest.raises(RuntimeError, match="closed"):
        store.get("a")
    with closing(SqliteStore(tmp_path / "jobs.db")) as again:
        assert again.get("a").state is State.QUEUED


@contextmanager
def being_made(path):
    """Another process has begun to make the file, and is amid a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE other (id)")
        yield other


def test_of_several_that_make_the_file_at_once_each_waits(tmp_path, monkeypatch):
    """SQLite refuses the first step at once, however long it is told to wait."""

    class Refused(sqlite3.Connection):
        def execute(self, *arguments):
            try:
                return super().execute(*arguments)
            except sqlite3.OperationalError:
                refused.set()
                raise

    refused, path = threading.Event(), tmp_path / "jobs.db"
    with being_made(path) as other, ThreadPoolExecutor(1) as thread:
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Refused))
        making = thread.submit(SqliteStore, path)
        assert refused.wait(SOON)
        other.execute("COMMIT")
        with closing(making.result(SOON)) as store:
            assert store.create("a")[1]


def test_but_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_BUSY_S", 0.0)
    with being_made(tmp_path / "jobs.db"), pytest.raises(sqlite3.OperationalError, match="locked"):
        SqliteStore(tmp_path / "jobs.db")
