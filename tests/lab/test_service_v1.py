"""The example service under real limits of cgroup v1: three hundred clients at once, a third of which drop."""

import asyncio
import json
import random
from contextlib import closing

import pytest

from support.lab import program

pytest.importorskip("fastapi", reason="needs the extra: pip install 'cgexec[service]'")
httpx = pytest.importorskip("httpx")
pytest.importorskip("websockets")
pytest.importorskip("tenacity")

from websockets.asyncio.client import connect  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402

from support.service import read_all, serving  # noqa: E402

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(400)]

CLIENTS = 300
JOBS = {
    "job_seconds": 1,
    "job_steps": 5,
    "job_memory": "20Mi",
    "fail_rate": 0.1,
    "backoff": 0.1,
    "queue_size": 150,
    "grace": 60,
}
END = 200


class Clients:
    """What three hundred clients were told. A third of each kind goes away as soon as its job was accepted."""

    def __init__(self, server):
        self.server = server
        self.accepted, self.refused, self.ended, self.alive = set(), 0, {}, 0
        self.over = asyncio.Event()

    async def all(self):
        async with asyncio.timeout(END), httpx.AsyncClient(base_url=self.server.http, timeout=END) as client:
            watch = asyncio.create_task(self.watch(client))
            drops = [number % 3 == 0 for number in range(CLIENTS)]
            random.Random(1).shuffle(drops)
            kinds = (self.by_http, self.by_socket)
            await asyncio.gather(*(kinds[n % 2](client, drop) for n, drop in enumerate(drops)))
            while any(job["state"] not in ("completed", "failed") for job in await self.jobs(client)):
                await asyncio.sleep(0.1)
            self.over.set()
            await watch
            return await self.jobs(client)

    async def jobs(self, client):
        return (await client.get("/jobs?limit=1000")).json()

    async def watch(self, client):
        while not self.over.is_set():
            answer = await client.get("/livez")
            assert answer.status_code == 200
            self.alive += 1
            await asyncio.sleep(0.02)

    async def by_http(self, client, drop):
        answer = await client.post("/jobs")
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
            self.refused += 1
            return
        assert answer.status_code == 202
        job_id = answer.json()["id"]
        self.accepted.add(job_id)
        while not drop:
            job = (await client.get(f"/jobs/{job_id}")).json()
            if job["ended"]:
                self.ended[job_id] = job["state"]
                return
            await asyncio.sleep(0.2)

    async def by_socket(self, _, drop):
        async with connect(f"{self.server.ws}/ws", open_timeout=END) as socket:
            try:
                job_id = json.loads(await socket.recv())["id"]
            except ConnectionClosed:
                assert socket.close_code == 1013, "try again later"
                self.refused += 1
                return
            self.accepted.add(job_id)
            if drop:
                socket.transport.abort()
                return
            self.ended[job_id] = (await read_all(socket))[-1]["state"]


@pytest.mark.parametrize(("workers", "memory"), [(1, "512M"), (4, "1G")])
def test_nothing_is_killed_and_every_accepted_job_is_accounted_for(workers, memory, tmp_path):
    from fastapi_service.sqlite_store import SqliteStore

    async def main():
        clients = Clients(server)
        return clients, await clients.all()

    before = [program("v1"), "--memory", memory, "--cpus", "2", "--"]
    path = tmp_path / "jobs.db"
    with serving("--workers", str(workers), before=before, database=path, **JOBS) as server:
        clients, jobs = asyncio.run(main())
        seen = server.get("/metrics").text
        server.terminate()
        assert server.status() == 0, server.said()
    assert len(clients.accepted) + clients.refused == CLIENTS
    assert {job["id"] for job in jobs} == clients.accepted
    assert {job["id"]: job["state"] for job in jobs if job["id"] in clients.ended} == clients.ended
    assert len(clients.ended) >= len(clients.accepted) // 2, "two thirds stayed"
    assert clients.alive > 10
    assert "cgexec_memory_oom_kills_total 0.0" in seen
    with closing(SqliteStore(path)) as store:
        assert sum(store.counts().values()) == len(clients.accepted)
