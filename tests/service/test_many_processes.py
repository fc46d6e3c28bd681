"""Four uvicorn processes over one file: any of them answers for any job."""

import asyncio
import json
import os
import signal
from contextlib import closing

import httpx
import pytest
from fastapi_service.sqlite_store import SqliteStore
from websockets.asyncio.client import connect

from support.service import LONG, QUICK, SOON, check_whole, read_all, serving

WORKERS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("service") / "jobs.db"
    with serving("--workers", f"{WORKERS}", **QUICK, database=path) as server:
        yield server


def owners(server, most=400):
    """Start jobs until each process has had one; return a job of each."""
    found = {}
    for _ in range(most):
        answer = server.post("/jobs")
        if answer.status_code == 202:  # not where the process is full
            job = answer.json()
            found.setdefault(job["owner"], job["id"])
        if len(found) == WORKERS:
            return found
    pytest.skip(f"the kernel gave connections to {len(found)} of {WORKERS} processes only")


def test_each_answers_for_the_jobs_of_all(server):
    for job_id in owners(server).values():
        server.wait(job_id, "completed")  # each look is a connection of its own, to whichever process
        assert {server.get(f"/jobs/{job_id}").json()["id"] for _ in range(10)} == {job_id}


def test_events_of_one_reach_the_clients_of_another(server):
    """Eight connections follow one job; it is not likely that they all go to its own process."""

    async def main():
        async with asyncio.timeout(SOON), connect(f"{server.ws}/ws") as first:
            job_id = json.loads(await first.recv())["id"]
            others = await asyncio.gather(*(connect(f"{server.ws}/ws/{job_id}") for _ in range(8)))
            events = await asyncio.gather(*map(read_all, others))
            for other in others:
                await other.close()
            return events

    for events in asyncio.run(main()):
        check_whole(events)


def test_an_id_runs_once_over_all(server):
    async def main():
        async with httpx.AsyncClient(base_url=server.http, timeout=SOON) as client:
            answers = await asyncio.gather(*(client.get("/process/once") for _ in range(40)))
        return [answer.status_code for answer in answers]

    assert sorted(asyncio.run(main())) == [200] * 39 + [202]
    assert server.wait("once", "completed")["attempt"] == 1


def test_nobody_is_told_of_a_job_that_does_not_exist(tmp_path):
    """Where all are full, each look at an id that is refused meanwhile must not find it."""

    async def ask(job_id):
        async with httpx.AsyncClient(base_url=server.http, timeout=SOON) as client:
            return (await client.get(f"/process/{job_id}")).status_code

    async def main():
        for job_id in map("same-{}".format, range(30)):
            told = await asyncio.gather(*(ask(job_id) for _ in range(8)))
            if {200, 202} & set(told):
                assert server.get(f"/jobs/{job_id}").status_code == 200, told

    options = {"database": tmp_path / "jobs.db", "max_workers": 1, "queue_size": 0}
    with serving("--workers", f"{WORKERS}", **LONG, **options) as server:
        owners(server)
        asyncio.run(main())


def test_a_job_is_cancelled_through_any(tmp_path):
    with serving("--workers", f"{WORKERS}", **LONG, database=tmp_path / "jobs.db") as server:
        jobs = owners(server)
        for job_id in jobs.values():
            server.wait(job_id, "running")
            server.delete(f"/jobs/{job_id}")
        for job_id in jobs.values():
            server.wait(job_id, "cancelled")


def test_each_has_its_part_of_the_container(server):
    """Each process sizes its pool for a quarter."""
    import cgexec

    limit = cgexec.recommend(cpu_per_task=0.1, processes=WORKERS).max_workers
    assert f"cgexec_pool_workers_limit {limit:.1f}\n" in server.get("/metrics").text


def test_a_killed_process_interrupts_its_jobs_alone(tmp_path):
    with serving("--workers", f"{WORKERS}", **LONG, database=tmp_path / "jobs.db") as server:
        jobs = owners(server)
        for job_id in jobs.values():
            server.wait(job_id, "running")
        killed = next(iter(jobs))
        os.kill(int(killed.partition("-")[0]), signal.SIGKILL)
        server.wait(jobs.pop(killed), "interrupted")
        assert [server.get(f"/jobs/{job_id}").json()["state"] for job_id in jobs.values()] == ["running"] * len(jobs)


@pytest.mark.parametrize(("settings", "status", "state"), [({"grace": 30}, 0, "completed"), ({}, 1, "interrupted")])
def test_sigterm_ends_all(tmp_path, settings, status, state):
    seconds = {"job_seconds": 1, "job_steps": 20} if settings else {}
    with serving("--workers", f"{WORKERS}", **{**LONG, **seconds, **settings}, database=tmp_path / "jobs.db") as server:
        jobs = [server.start() for _ in range(12)]
        server.terminate()
        assert server.status() == status, server.said()
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        assert {store.get(job_id).state for job_id in jobs} == {state}
