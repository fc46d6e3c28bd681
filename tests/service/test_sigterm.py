"""The end of the service: what runs is finished or marked, those who wait are told, and the status says which it was."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
from fastapi_service.sqlite_store import SqliteStore
from websockets.asyncio.client import connect

from support.service import LONG, QUICK, SOON, read_all, serving

# Long enough to be running when the signal comes, short enough to wait for.
SECOND = {**QUICK, "job_seconds": 1, "job_steps": 20, "grace": 30}


def one_process():
    return []


def under_tini():
    tini = shutil.which("tini")
    if tini is None:
        pytest.skip("needs tini: apt-get install tini")
    return [tini, "--"]


def as_process_one():
    """In a PID namespace of its own, where the kernel drops a signal without a handler."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*command, "true"], capture_output=True, timeout=SOON).returncode != 0:
        pytest.skip("no permission to make a PID namespace")
    return command


def terminate(server, before):
    """Send SIGTERM as a kubelet does: to the container's first process."""
    if "unshare" not in before:
        server.terminate()
        return
    children = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    with open(children) as file:
        os.kill(int(file.read()), signal.SIGTERM)


SURROUNDINGS = pytest.mark.parametrize("surroundings", [one_process, under_tini, as_process_one])


@SURROUNDINGS
def test_what_runs_is_finished_and_its_client_told(surroundings, tmp_path):
    async def main():
        async with connect(f"{server.ws}/ws") as socket:
            first = json.loads(await socket.recv())
            await asyncio.to_thread(server.wait, first["id"], "running")
            terminate(server, before)
            async with asyncio.timeout(SOON):
                return await read_all(socket)

    before = surroundings()
    with serving(**SECOND, before=before, database=tmp_path / "jobs.db") as server:
        assert asyncio.run(main())[-1]["state"] == "completed"
        assert server.status() == 0


@SURROUNDINGS
def test_what_cannot_be_finished_is_marked(surroundings, tmp_path):
    before = surroundings()
    with serving(**LONG, before=before, database=tmp_path / "jobs.db", max_workers=1) as server:
        running, waiting = server.start(), server.start()
        server.wait(running, "running")
        terminate(server, before)
        assert server.status() == 1
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        assert [store.get(job_id).state for job_id in (running, waiting)] == ["interrupted"] * 2


@contextmanager
def draining(folder):
    """Give a service that drains, and the job that it waits for."""
    with serving(**{**SECOND, "job_seconds": 3}, database=folder / "jobs.db") as server:
        job_id = server.start()
        server.wait(job_id, "running")
        server.terminate()
        while server.get("/readyz").status_code != 503:
            pass
        yield server, job_id


def test_meanwhile_it_answers_and_accepts_nothing(tmp_path):
    with draining(tmp_path) as (server, job_id):
        refused = server.post("/jobs")
        assert (refused.status_code, refused.json()["error"]) == (503, "ending")
        assert asyncio.run(close_code(server)) == 1012
        assert server.get(f"/process/{job_id}").status_code == 200, "what is there is told"
        assert server.get("/livez").status_code == 200
        assert server.get(f"/jobs/{job_id}").json()["state"] == "running"
        assert server.status() == 0
        assert "Traceback" not in server.said()


def test_a_second_sigterm_does_not_end_the_serving(tmp_path):
    with draining(tmp_path) as (server, job_id):
        server.terminate()
        # A server that ends answers nothing after a tenth of a second or two.
        while server.get(f"/jobs/{job_id}").json()["progress"] < 50:
            pass
        assert server.status() == 0


def test_a_second_ctrl_c_ends_it_now(tmp_path):
    with serving(**{**LONG, "grace": 3600}, database=tmp_path / "jobs.db") as server:
        job_id = server.start()
        server.wait(job_id, "running")
        server.process.send_signal(signal.SIGINT)
        while server.get("/readyz").status_code != 503:
            pass
        server.process.send_signal(signal.SIGINT)
        assert server.status() == 1, server.said()
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        assert store.get(job_id).state == "interrupted"


async def close_code(server):
    async with asyncio.timeout(SOON), connect(f"{server.ws}/ws") as socket:
        await socket.wait_closed()
        return socket.close_code


def test_a_job_between_two_attempts_is_interrupted(tmp_path):
    path = tmp_path / "jobs.db"
    with serving(**{**QUICK, "backoff": 3600, "backoff_most": 3600}, fail_rate=1, grace=30, database=path) as server:
        job_id = server.start()
        server.wait(job_id, "retrying")
        server.terminate()
        assert server.status() == 1
    with serving(**QUICK, database=path) as server:
        job = server.get(f"/jobs/{job_id}").json()
        assert (job["state"], job["error"]) == ("interrupted", "its process ended")


STUBBORN = """
import sys, threading
sys.argv[0] = "fastapi_service"
import fastapi_service.execution as execution
# A job that does not check whether it was cancelled.
execution.simulate = lambda *_: threading.Event().wait()
import runpy
runpy.run_module("fastapi_service", run_name="__main__")
"""


def test_a_job_that_does_not_heed_does_not_hold_the_process(tmp_path):
    after = [sys.executable, "-c", STUBBORN]
    with serving(**LONG, after=after, database=tmp_path / "jobs.db") as server:
        job_id = server.start()
        server.wait(job_id, "running")
        server.terminate()
        assert server.status() == 1
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        assert store.get(job_id).state == "interrupted"


FULL = f"""
import sqlite3
from fastapi_service.sqlite_store import SqliteStore
def full(*_):
    raise sqlite3.OperationalError("database or disk is full")
SqliteStore.latest = full
{STUBBORN}
"""


def test_nor_does_it_where_nobody_can_tell_what_became_of_the_jobs(tmp_path):
    with serving(**LONG, after=[sys.executable, "-c", FULL], database=tmp_path / "jobs.db") as server:
        server.wait(server.start(), "running")
        server.terminate()
        assert server.status() == 1
        assert "database or disk is full" in server.said()


def test_a_killed_service_shows_what_was_interrupted_when_it_is_back(tmp_path):
    path = tmp_path / "jobs.db"
    with serving(**LONG, database=path) as server:
        job_id = server.start()
        server.wait(job_id, "running")
        server.process.kill()
        assert server.status() == -9
    with serving(**QUICK, database=path) as server:
        assert server.get(f"/jobs/{job_id}").json()["state"] == "interrupted"
        again = server.get(f"/process/{job_id}")
        assert (again.status_code, again.json()["state"]) == (200, "interrupted"), "its id does not run again"


def test_what_another_process_left_is_not_in_the_status(tmp_path):
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        store.create("left")
    with serving(**QUICK, database=tmp_path / "jobs.db") as server:
        assert server.get("/jobs/left").json()["state"] == "interrupted"
        server.terminate()
        assert server.status() == 0
