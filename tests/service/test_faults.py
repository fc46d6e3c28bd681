"""The service goes on, or says what it lacks, where its process does not get everything it asks for."""

import asyncio
import sqlite3
import threading

import pytest
from fastapi_service import service
from fastapi_service.app import create_app
from fastapi_service.settings import Settings
from fastapi_service.states import State

import cgexec
from support.app import asking, until
from support.jobs import Held, fail, jobs, within
from support.service import SOON


def application(**settings):
    return create_app(Settings(**settings, grace=6))


def test_a_store_that_cannot_be_looked_through_at_the_start_is_looked_through_later(monkeypatch):
    """Where one process does not start, uvicorn ends them all."""

    def recover():
        looks.append("once more")
        if len(looks) == 1:
            raise OSError("disk full")
        again.set()
        return 0

    async def main():
        app = application()
        monkeypatch.setattr(app.state.service.store, "recover", recover)
        async with asking(app) as client:
            assert await asyncio.to_thread(again.wait, SOON)
            assert (await client.get("/readyz")).status_code == 200

    looks, again = [], threading.Event()
    within(main())


@pytest.fixture
def full(monkeypatch):
    """Return an application whose store is a file on a full disk, until the test takes *said* away."""

    def create(job_id):
        if app.state.said:
            raise sqlite3.OperationalError(app.state.said)
        return real(job_id)

    app = application()
    app.state.said = "database or disk is full"
    real = app.state.service.store.create
    monkeypatch.setattr(app.state.service.store, "create", create)
    return app


def test_on_a_full_disk_a_job_is_refused_for_now(does, full, caplog):
    async def main():
        async with asking(full) as client:
            refused = await client.post("/jobs")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert refused.json() == {"error": "store", "detail": "database or disk is full"}
            full.state.said = None
            assert (await client.post("/jobs")).status_code == 202

    does(lambda *_: None)
    within(main())
    assert "the store failed: database or disk is full" in caplog.messages


def test_so_is_one_over_a_websocket(full):
    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    async def main():
        async with asking(full):
            scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b"", "subprotocols": []}
            await full(scope, receive, send)

    sent = []
    within(main())
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert (sent[-1]["code"], sent[-1]["reason"]) == (1011, "store, try again")


# -- a pool that takes nothing more ----------------------------------------------------------------------------------


def test_a_broken_pool_is_told_from_the_end_of_the_process(monkeypatch):
    async def main():
        async with asking(application()) as client:
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/process/a")).status_code == 202
            assert (await until(client, "a", "failed"))["error"].startswith("BrokenThreadPool: ")
            refused = await client.post("/jobs")
            assert (refused.status_code, refused.json()["error"]) == (503, "broken")
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.text.partition(":")[0]) == (503, "the pool takes no jobs")
            assert (await client.get("/livez")).status_code == 200

    monkeypatch.setattr(service, "give_way", lambda: 1 / 0)
    within(main())


@pytest.mark.parametrize(
    ("closing", "end", "error"),
    [
        (False, State.FAILED, "RuntimeError: cannot schedule new futures after shutdown"),
        (True, State.INTERRUPTED, "its process ended"),
    ],
)
def test_what_waits_for_its_next_attempt_is_interrupted_by_the_end_of_the_process_alone(does, closing, end, error):
    async def main():
        async with jobs(Held()) as here:
            await here.runner.start("a")
            await here.store.gate.reached()
            here.closing = closing
            here.pool.shutdown(wait=False)
            here.store.gate.open()
            assert (await here.until("a", end)).error == error

    does(fail)
    within(main())


# -- a system that gives no thread -----------------------------------------------------------------------------------


class Threads:
    """Refuses the pool's threads until it is told not to."""

    def __init__(self, monkeypatch):
        self.refuse, self.refused = True, threading.Event()
        monkeypatch.setattr(threading.Thread, "start", self.start(threading.Thread.start))

    def start(self, real):
        def start(thread):
            if self.refuse and thread.name.startswith("jobs"):
                self.refused.set()
                raise RuntimeError("can't start new thread")
            real(thread)

        return start


def test_a_job_that_no_thread_can_be_had_for_is_refused_and_was_never_there(does, monkeypatch):
    async def main():
        async with jobs() as here:
            with pytest.raises(cgexec.QueueFull, match="can't start new thread") as full:
                await here.runner.start("a")
            assert full.value.retry_after == here.settings.retry_after
            assert here.store.get("a") is None
            threads.refuse = False
            await here.runner.start("a")
            await here.until("a", State.COMPLETED)

    threads = Threads(monkeypatch)
    does(lambda *_: None)
    within(main())


def test_a_next_attempt_waits_for_a_thread(monkeypatch):
    async def main():
        async with jobs() as here:
            entering = asyncio.create_task(here.admission.line_up(pow, 2, 3))
            assert await asyncio.to_thread(threads.refused.wait, SOON)
            threads.refuse = False
            assert await asyncio.wrap_future(await entering) == 8

    threads = Threads(monkeypatch)
    within(main())
