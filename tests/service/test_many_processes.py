"""Four uvicorn processes over one file: any of them answers for any job."""

import asyncio
import json
import os
import signal
import time
from contextlib import closing

import httpx
import pytest
from fastapi_service.sqlite_store import SqliteStore
from prometheus_client.parser import text_string_to_metric_families
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


def numbers(server):
    """
    Return the numbers of one scrape, from whichever process it reaches. prometheus_client fails where another process
    has made its file that moment, and not yet written its length: then once more.
    """
    end = time.monotonic() + SOON
    while (answer := server.get("/metrics")).status_code == 500:
        assert time.monotonic() < end, answer.text
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def test_each_has_its_part_of_the_container(tmp_path):
    """Each process sizes its pool for a quarter. With work the size follows that."""
    import cgexec

    limit = cgexec.recommend(cpu_per_task=0.1, processes=WORKERS).max_workers
    with serving("--workers", f"{WORKERS}", **LONG, database=tmp_path / "jobs.db") as server:
        end = time.monotonic() + SOON
        while (found := numbers(server).get(("cgexec_pool_limit", ("pool", "jobs")))) != WORKERS * limit:
            assert time.monotonic() < end, found


def test_a_scrape_tells_of_all_and_counters_never_go_down(tmp_path):
    def scrape():
        before, now = seen[-1], numbers(server)
        lower = {name: (before[name], now.get(name)) for name in before if name[0].endswith("_total")}
        lower = {name: (was, one) for name, (was, one) in lower.items() if one is None or one < was}
        assert not lower
        seen.append(now)
        return now

    def until(name, value):
        end = time.monotonic() + SOON
        while scrape()[name, ("pool", "jobs")] != value:
            assert time.monotonic() < end, seen[-1]

    with serving("--workers", "3", **LONG, database=tmp_path / "jobs.db", max_workers=1, queue_size=20) as server:
        seen = [numbers(server)]
        jobs = []
        for _ in range(12):
            jobs.append(server.post("/jobs").json())
            scrape()
        # Each writes every few seconds.
        until("cgexec_pool_submitted_total", 12)
        running = len({job["owner"] for job in jobs})
        until("cgexec_pool_running", running)
        victim = jobs[0]
        os.kill(int(victim["owner"].partition("-")[0]), signal.SIGKILL)
        server.wait(victim["id"], "interrupted")
        until("cgexec_pool_running", running - 1)
        assert seen[-1]["cgexec_pool_submitted_total", ("pool", "jobs")] == 12


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
