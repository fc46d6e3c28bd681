"""The lifespan of a service: threads sized at the start, pools drained at the end; and what a full pool answers."""

import asyncio
import contextlib
import signal
import threading

import pytest

import cgexec
from support.pools import SOON, Hold

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")

from starlette.applications import Starlette  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402

from cgexec.starlette import Lifespan, add_queue_full_handler  # noqa: E402


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


async def until(condition):
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.001)


def run_in(lifespan, main):
    async def inside():
        async with lifespan(Starlette()):
            return await main()

    return asyncio.run(inside())


def held_for_a_moment(pool, futures):
    """Return what has a task in the pool that ends when the loop has gone on to its end."""

    async def main():
        hold = Hold(pool)
        hold.occupy(1)
        futures.extend(hold.futures)
        asyncio.get_running_loop().call_later(0.01, hold.release)

    return main


def test_it_sizes_the_threads_and_puts_everything_back():
    import anyio.to_thread

    async def main():
        tokens = anyio.to_thread.current_default_thread_limiter
        async with Lifespan(io_ratio=0.9)(Starlette()):
            assert tokens().total_tokens == cgexec.recommend(io_ratio=0.9).max_workers
            assert (await asyncio.to_thread(threading.current_thread)).name.startswith("default")
        assert tokens().total_tokens == 40
        assert not (await asyncio.to_thread(threading.current_thread)).name.startswith("default")

    asyncio.run(main())


def test_it_leaves_alone_what_it_is_told_to():
    import anyio.to_thread

    async def main():
        assert anyio.to_thread.current_default_thread_limiter().total_tokens == 40
        assert not (await asyncio.to_thread(threading.current_thread)).name.startswith("default")

    run_in(Lifespan(default_executor=False, limiter=False), main)


def test_the_end_waits_for_what_runs():
    left, futures = [], []
    pool = cgexec.ThreadPoolExecutor(1)
    run_in(Lifespan(pool, on_end=left.append), held_for_a_moment(pool, futures))
    assert futures[0].result(0) == "held"
    assert [bool(each) for each in left] == [False]


def test_what_is_left_is_cancelled_and_told_of():
    def endless():
        started.set()
        while not pause.wait(0.001):
            cgexec.checkpoint()

    async def on_end(left):
        found.append(([each.future for each in left.unstarted], [each.future for each in left.running]))

    async def main():
        futures.append(pool.submit(endless))
        assert await asyncio.to_thread(started.wait, SOON)
        futures.append(pool.submit(int))

    started, pause, found, futures = threading.Event(), threading.Event(), [], []
    pool = cgexec.ThreadPoolExecutor(1)
    run_in(Lifespan(pool, grace=0.01, margin=0, on_end=on_end), main)
    running, waiting = futures
    assert found == [([waiting], [running])]
    assert waiting.cancelled()
    with pytest.raises(cgexec.TaskCancelled):
        running.result(SOON)
    pool.shutdown()


def test_a_pool_that_cannot_be_drained_does_not_cut_the_others_short(caplog):
    class Broken(cgexec.ThreadPoolExecutor):
        async def adrain(self, timeout=None):
            raise OSError("no such pool")

    left, futures = [], []
    with Broken(1, name="broken") as broken:
        pool = cgexec.ThreadPoolExecutor(1)
        run_in(Lifespan(broken, pool, on_end=left.append), held_for_a_moment(pool, futures))
    assert futures[0].result(0) == "held"
    assert [bool(each) for each in left] == [False]
    assert "[drain-failed] pool 'broken' could not be drained" in caplog.messages


def test_sigterm_drains_first_and_then_tells_the_server():
    """What uvicorn does: it sets its handler before the lifespan begins, and ends when that was called."""

    def server(number, frame):
        events.append((number, pool.stats().running, lifespan.closing))
        told.set()

    async def main():
        hold = Hold(pool)
        hold.occupy(1)
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: lifespan.closing and pool.stats().closed)
        assert events == [], "the server goes on meanwhile"
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(int)
        hold.release()
        async with asyncio.timeout(SOON):
            await told.wait()

    async def around():
        nonlocal told
        told = asyncio.Event()
        async with lifespan(Starlette()):
            await main()

    events, told = [], None
    pool = cgexec.ThreadPoolExecutor(1)
    lifespan = Lifespan(pool)
    former = signal.signal(signal.SIGTERM, server)
    try:
        asyncio.run(around())
        assert signal.getsignal(signal.SIGTERM) is server
    finally:
        signal.signal(signal.SIGTERM, former)
    assert events == [(signal.SIGTERM, 0, True)]


@contextlib.contextmanager
def heard():
    """A server's handlers: the signals that they were called with."""
    events = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    former = [signal.signal(number, lambda number, _: events.append(number)) for number in numbers]
    try:
        yield events
    finally:
        for number, handler in zip(numbers, former, strict=True):
            signal.signal(number, handler)


async def loop_has_run():
    """Return when what signals have left word of has been heeded."""
    heeded = asyncio.Event()
    asyncio.get_running_loop().call_soon_threadsafe(heeded.set)
    await heeded.wait()


def test_further_sigterms_do_not_end_the_drain():
    async def main():
        hold = Hold(pool)
        hold.occupy(1)
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
            await loop_has_run()
        assert lifespan.closing
        assert events == []
        hold.release()
        await until(lambda: events)
        assert hold.futures[0].result(0) == "held"
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: len(events) == 2)

    pool = cgexec.ThreadPoolExecutor(1)
    lifespan = Lifespan(pool)
    with heard() as events:
        run_in(lifespan, main)
    assert events == [signal.SIGTERM] * 2, "at the end of the drain, and after it"


def test_ctrl_c_drains_and_the_second_one_ends_that():
    async def main():
        started, pause = threading.Event(), threading.Event()

        def endless():
            started.set()
            while not pause.wait(0.001):
                cgexec.checkpoint()

        running = pool.submit(endless)
        assert await asyncio.to_thread(started.wait, SOON)
        waiting = pool.submit(int)
        signal.raise_signal(signal.SIGINT)
        await until(lambda: lifespan.closing)
        assert (running.running(), events) == (True, [])
        signal.raise_signal(signal.SIGINT)
        await until(lambda: events)
        assert waiting.cancelled()
        with pytest.raises(cgexec.TaskCancelled):
            running.result(SOON)

    pool = cgexec.ThreadPoolExecutor(1)
    lifespan = Lifespan(pool, grace=3600, on_end=lambda left: found.append((len(left.unstarted), len(left.running))))
    found = []
    with heard() as events:
        run_in(lifespan, main)
    assert events == [signal.SIGINT]
    assert found == [(1, 1)]
    pool.shutdown()


def test_the_third_ctrl_c_ends_what_on_end_waits_for():
    async def on_end(_):
        waits.append("in vain")
        await asyncio.Event().wait()

    async def main():
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            await until(lambda: waits)
            await loop_has_run()
            assert events == []
        signal.raise_signal(signal.SIGINT)
        await until(lambda: events)

    waits = []
    with heard() as events:
        run_in(Lifespan(grace=3600, on_end=on_end), main)
    assert events == [signal.SIGINT]


def test_two_signals_at_once_are_told_to_the_server_once():
    async def main():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: events)
        await loop_has_run()

    with heard() as events:
        run_in(Lifespan(cgexec.ThreadPoolExecutor(1)), main)
    assert events == [signal.SIGTERM]


def test_ctrl_c_ends_a_drain_that_the_server_began():
    async def main():
        hold.occupy(1)
        asyncio.get_running_loop().call_soon(asyncio.ensure_future, interrupt())

    async def interrupt():
        await until(lambda: lifespan.closing)
        signal.raise_signal(signal.SIGINT)

    pool = cgexec.ThreadPoolExecutor(1)
    hold = Hold(pool)
    lifespan = Lifespan(pool, grace=3600, on_end=lambda _: hold.release())
    with heard() as events:
        run_in(lifespan, main)
    assert events == []
    pool.shutdown()


def test_a_signal_that_is_ignored_stays_so():
    async def main():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN

    with heard():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        run_in(Lifespan(), main)


def test_in_a_thread_of_its_own_it_leaves_signals_alone():
    async def main():
        return signal.getsignal(signal.SIGTERM)

    async def inside():
        return await asyncio.to_thread(run_in, Lifespan(pool), main)

    pool = cgexec.ThreadPoolExecutor(1)
    before = signal.getsignal(signal.SIGTERM)
    assert asyncio.run(inside()) is before
    assert pool.stats().closed is not None


def test_the_applications_own_lifespan_is_inside():
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def inner(app):
        events.append("begin")
        yield {"database": 1}
        events.append(("end", pool.stats().closed is not None))

    async def main():
        async with Lifespan(pool, inner=inner)(Starlette()) as state:
            assert state == {"database": 1}

    events = []
    pool = cgexec.ThreadPoolExecutor(1)
    asyncio.run(main())
    assert events == ["begin", ("end", True)]


@pytest.mark.parametrize("name", ["grace", "margin"])
def test_a_grace_without_end_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}=inf: expected seconds"):
        Lifespan(**{name: float("inf")})


def busy_app(retry_after):
    def refuse():
        raise cgexec.QueueFull("queue is full: all of it", reason="memory", retry_after=retry_after)

    async def page(request):
        refuse()

    async def socket(websocket):
        await websocket.accept()
        refuse()

    async def at_once(websocket):
        refuse()

    async def closed(websocket):
        await websocket.accept()
        await websocket.close()
        refuse()

    sockets = {"/ws": socket, "/not-yet-accepted": at_once, "/closed": closed}
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/ok", PlainTextResponse("ok")),
            *(WebSocketRoute(path, each) for path, each in sockets.items()),
        ]
    )
    add_queue_full_handler(app)
    return app


@pytest.mark.parametrize(("retry_after", "header"), [(0.2, "1"), (12.1, "13"), (None, "5")])
def test_a_full_pool_is_503_with_retry_after(retry_after, header):
    async def main():
        async with client(busy_app(retry_after)) as web:
            return await web.get("/")

    answer = asyncio.run(main())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, header)
    assert answer.json() == {
        "error": "busy", "reason": "memory", "detail": "queue is full: all of it", "retry_after": int(header)
    }  # fmt: skip


async def on_socket(path, send):
    """Connect to a WebSocket of a full pool, which answers through *send*."""

    async def receive():
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": path, "headers": [], "query_string": b"", "subprotocols": []}
    await busy_app(3)(scope, receive, send)


@pytest.mark.parametrize("path", ["/ws", "/not-yet-accepted"])
def test_a_websocket_is_told_to_come_back(path):
    async def send(message):
        sent.append(message)

    sent = []
    asyncio.run(on_socket(path, send))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert sent[-1] == {"type": "websocket.close", "code": 1013, "reason": "busy, try again in 3 s"}


@pytest.mark.parametrize("gone_at", ["websocket.accept", "websocket.close"])
def test_one_whose_client_has_gone_is_no_error(gone_at):
    async def send(message):
        sent.append(message["type"])
        if message["type"] == gone_at:
            raise OSError("the client has gone")

    sent = []
    asyncio.run(on_socket("/not-yet-accepted", send))
    assert sent[-1] == gone_at


def test_nor_is_one_that_was_closed_before():
    async def send(message):
        sent.append(message["type"])

    sent = []
    asyncio.run(on_socket("/closed", send))
    assert sent == ["websocket.accept", "websocket.close"]
