"""The service over WebSockets: what happens is pushed, and who comes back misses nothing."""

import asyncio
import json
import sys

import pytest
from fastapi import WebSocket
from fastapi_service.admission import Ending
from fastapi_service.app import _refuse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support.service import FINAL, LONG, QUICK, SOON, check_whole, read_all, serving


@pytest.fixture(scope="module")
def quick():
    with serving(**QUICK) as server:
        yield server


def within(coroutine):
    async def main():
        async with asyncio.timeout(SOON):
            return await coroutine

    return asyncio.run(main())


def states(events):
    return [event["state"] for event in events]


def test_a_socket_starts_a_job_and_brings_its_result(quick):
    async def main():
        async with connect(f"{quick.ws}/ws") as socket:
            return await read_all(socket), socket.close_code

    events, code = within(main())
    check_whole(events)
    assert events[-1]["result"]["bytes"] == 1 << 20
    assert code == 1000
    assert quick.get(f"/jobs/{events[0]['id']}").json()["state"] == "completed"


def test_who_comes_back_gets_what_was_missed(quick):
    async def main():
        async with connect(f"{quick.ws}/ws") as socket:
            first = await read_all(socket, until_event=3)
        job_id, seq = first[0]["id"], first[-1]["seq"]
        async with connect(f"{quick.ws}/ws/{job_id}?after={seq}") as socket:
            rest = await read_all(socket)
        async with connect(f"{quick.ws}/ws/{job_id}") as socket:
            return first + rest, await read_all(socket)

    pieces, whole = within(main())
    assert pieces == whole
    assert states(whole)[-1] == "completed"


@pytest.mark.parametrize("beyond", [0, 1000, 10**30])
def test_who_comes_back_after_the_last_event_is_told_the_end_again(quick, beyond):
    async def main():
        async with connect(f"{quick.ws}/ws") as socket:
            whole = await read_all(socket)
        last = whole[-1]
        async with connect(f"{quick.ws}/ws/{last['id']}?after={last['seq'] + beyond}") as socket:
            return last, await read_all(socket), socket.close_code

    last, again, code = within(main())
    assert again == [{**last, "at": again[0]["at"]}]
    assert code == 1000


def test_a_number_that_was_never_given_means_now():
    async def main():
        async with connect(f"{server.ws}/ws") as socket:
            job_id = json.loads(await socket.recv())["id"]
            async with connect(f"{server.ws}/ws/{job_id}?after=1000000000") as other:
                return await read_all(other, until_event=1)

    with serving(**LONG) as server:
        assert states(within(main())) == ["running"]


def test_what_a_client_says_is_read_and_passed_over():
    async def main():
        async with connect(f"{server.ws}/ws") as socket:
            await socket.send(b"\x00binary")
            await socket.send("text")
            return await read_all(socket)

    with serving(**QUICK) as server:
        check_whole(within(main()))
        assert "Traceback" not in server.said()


def test_a_client_whose_line_is_cut_again_and_again_gets_everything():
    async def main():
        seen, after, lines = [], 0, 0
        while not seen or seen[-1]["state"] not in FINAL:
            async with connect(f"{server.ws}/ws/cut?after={after}") as socket:
                seen += await read_all(socket)
            after, lines = seen[-1]["seq"], lines + 1
        return seen, lines

    with serving(**QUICK, drop_rate=0.5, seed=1) as server:
        server.get("/process/cut")
        seen, lines = within(main())
    check_whole(seen)
    assert lines > 1


def test_a_silent_line_gets_heartbeats():
    async def main():
        async with connect(f"{server.ws}/ws") as socket:
            job_id = json.loads(await socket.recv())["id"]
            while True:
                message = json.loads(await socket.recv())
                if message["type"] == "heartbeat":
                    return job_id, message

    with serving(**{**LONG, "job_steps": 1}, heartbeat=0.05, max_workers=1) as server:
        job_id, message = within(main())
        assert message == {"type": "heartbeat", "id": job_id}
        server.delete(f"/jobs/{job_id}")


def test_all_who_listen_hear_of_a_cancellation():
    async def main():
        async with connect(f"{server.ws}/ws") as one:
            job_id = json.loads(await one.recv())["id"]
            async with connect(f"{server.ws}/ws/{job_id}") as other:
                await read_all(other, until_event=4)
                await asyncio.to_thread(server.delete, f"/jobs/{job_id}")
                return await asyncio.gather(read_all(one), read_all(other))

    with serving(**LONG) as server:
        for events in within(main()):
            assert states(events)[-2:] in (["cancelling", "cancelled"], ["running", "cancelled"])


def test_a_job_goes_on_without_its_client(quick):
    async def main():
        async with connect(f"{quick.ws}/ws") as socket:
            job_id = json.loads(await socket.recv())["id"]
            socket.transport.abort()
        return job_id

    assert quick.wait(within(main()), "completed")


def test_a_full_pool_says_come_back_later():
    async def main():
        async with connect(f"{server.ws}/ws") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            return closed.value.rcvd

    with serving(**LONG, max_workers=1, queue_size=0) as server:
        job_id = server.start()
        found = within(main())
        assert (found.code, found.reason.partition(",")[0]) == (1013, "busy")
        server.delete(f"/jobs/{job_id}")


def test_a_job_that_is_not_there_closes_the_socket(quick):
    async def main():
        async with connect(f"{quick.ws}/ws/nobody") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            return closed.value.rcvd.code

    assert within(main()) == 4404


FAILING = """
import runpy, sys
sys.argv[0] = "fastapi_service"
import fastapi_service.runner as runner
import fastapi_service.service as service
import fastapi_service.sockets as sockets
fails = sys.argv.pop(1)
if fails == "push":
    sockets.message = sockets._pool = lambda _: 1 / 0
elif fails == "start":
    runner.Runner.start = lambda _: 1 / 0
else:
    service.give_way = lambda: 1 / 0  # breaks the pool
runpy.run_module("fastapi_service", run_name="__main__")
"""


@pytest.mark.parametrize(("path", "fails"), [("ws", "push"), ("live", "push"), ("ws", "start")])
def test_an_error_of_the_server_is_not_told_as_the_end_of_a_job(path, fails):
    async def main():
        async with connect(f"{server.ws}/{path}") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await read_all(socket)
            return closed.value.rcvd

    with serving(after=[sys.executable, "-c", FAILING, fails], **LONG) as server:
        assert within(main()).code == 1011
        assert "ZeroDivisionError" in server.said()


def test_a_broken_pool_is_an_error_of_the_server():
    async def main():
        async with connect(f"{server.ws}/ws") as socket:
            assert states(await read_all(socket))[-1] == "failed"
        async with connect(f"{server.ws}/ws") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            return closed.value.rcvd

    with serving(after=[sys.executable, "-c", FAILING, "pool"], **LONG) as server:
        found = within(main())
        assert (found.code, found.reason.partition(",")[0]) == (1011, "broken")


def test_the_page_and_what_feeds_it(quick):
    async def main():
        async with connect(f"{quick.ws}/live") as socket:
            return json.loads(await socket.recv()), json.loads(await socket.recv())

    quick.wait(quick.start(), "completed")
    _, live = within(main())
    assert {"limit", "running", "waiting", "memory_used", "jobs", "why"} <= set(live)
    assert live["jobs"][0]["state"] in {*FINAL, "running", "queued"}
    assert not any("result" in job for job in live["jobs"])
    page = quick.get("/")
    assert page.headers["content-type"].startswith("text/html")


def test_a_client_that_goes_as_it_is_refused_is_no_error():
    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])
        if message["type"] == "websocket.close":
            raise OSError("the client has gone")

    async def main():
        websocket = WebSocket({"type": "websocket"}, receive, send)
        await websocket.accept()
        await _refuse(websocket, Ending("soon"))

    sent = []
    within(main())
    assert sent == ["websocket.accept", "websocket.close"]
