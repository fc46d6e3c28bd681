"""The way in for coroutines: they wait for a place without holding their loop, under asyncio and under trio."""

import asyncio
import contextvars
import threading
from contextlib import aclosing

import pytest

import cgexec
from support.pools import SOON, Hold, holding

USER = contextvars.ContextVar("USER", default="nobody")


def pool_of(workers=1, **arguments):
    return cgexec.ThreadPoolExecutor(workers, queue_size=arguments.pop("queue_size", 0), name="jobs", **arguments)


async def until(condition):
    """Let others run until the condition holds."""
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.001)


def test_run_passes_on_arguments_results_and_errors():
    async def main():
        assert await pool.run(pow, 2, 3) == 8
        assert await pool.run(int, "ff", base=16) == 255
        with pytest.raises(ValueError, match="invalid literal"):
            await pool.run(int, "x")

    with pool_of() as pool:
        asyncio.run(main())


def test_run_waits_for_its_place_in_order():
    async def main():
        with holding(pool) as hold:
            await asyncio.to_thread(hold.occupy, 1)
            calls = []
            for number in range(5):
                calls.append(asyncio.create_task(pool.run(order.append, number)))
                await until(lambda number=number: pool.stats().blocked == number + 1)
            hold.release()
            await asyncio.gather(*calls)

    order = []
    with pool_of(when_full="raise") as pool:
        asyncio.run(main())
    assert order == [0, 1, 2, 3, 4]


def test_the_loop_runs_on_while_run_waits():
    async def main():
        with holding(pool) as hold:
            await asyncio.to_thread(hold.occupy, 1)
            call = asyncio.create_task(pool.run(threading.get_ident))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not call.done()
            hold.release()
            assert await call != threading.get_ident()

    with pool_of() as pool:
        asyncio.run(main())


def test_a_cancelled_wait_takes_its_ticket_along():
    async def main():
        with holding(pool) as hold:
            await asyncio.to_thread(hold.occupy, 1)
            first = asyncio.create_task(pool.run(ran.append, "first"))
            await until(lambda: pool.stats().blocked == 1)
            second = asyncio.create_task(pool.run(ran.append, "second"))
            await until(lambda: pool.stats().blocked == 2)
            first.cancel()
            await until(first.done)
            assert pool.stats().blocked == 1
            hold.release()
            await second

    ran = []
    with pool_of() as pool:
        asyncio.run(main())
        assert ran == ["second"]
        assert pool.stats().running == 0


def test_a_cancelled_task_that_runs_keeps_its_worker_until_it_ends():
    async def main():
        hold = Hold(pool)
        call = asyncio.create_task(pool.run(hold.task))
        await asyncio.to_thread(hold.started, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert pool.stats().running == 1
        hold.release()
        await until(lambda: pool.stats().running == 0)

    with pool_of() as pool:
        asyncio.run(main())
        assert pool.stats().completed == 1


def test_many_waits_are_cancelled_in_no_time():
    async def main():
        with holding(pool) as hold:
            await asyncio.to_thread(hold.occupy, 1)
            calls = [asyncio.create_task(pool.run(int)) for _ in range(2000)]
            await until(lambda: pool.stats().blocked == 2000)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert pool.stats().blocked == 0

    with pool_of() as pool:
        asyncio.run(main())


def test_run_gives_up_after_submit_timeout():
    async def main():
        with holding(pool) as hold:
            await asyncio.to_thread(hold.occupy, 1)
            with pytest.raises(cgexec.QueueFull, match="still full after submit_timeout=0.01 s"):
                await pool.run(int)
            assert pool.stats().blocked == 0
            # With a place it waits for its result as long as that takes.
        assert await pool.run(int) == 0

    with pool_of(submit_timeout=0.01) as pool:
        asyncio.run(main())


def test_run_is_told_of_shutdown():
    async def main():
        with holding(pool) as hold:
            await asyncio.to_thread(hold.occupy, 1)
            waiting = asyncio.create_task(pool.run(int))
            await until(lambda: pool.stats().blocked == 1)
            pool.shutdown(wait=False)
            with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
                await waiting

    with pool_of() as pool:
        asyncio.run(main())


def test_run_copies_the_context_and_submit_does_not():
    async def main():
        USER.set("somebody")
        return await pool.run(USER.get), pool.submit(USER.get).result(SOON)

    with pool_of(2, queue_size=10) as pool:
        assert pool.submit(USER.get).result(SOON) == "nobody"
        with_context, without = asyncio.run(main())
        assert with_context == "somebody"
        # What the standard pool does differs by version and build: ask it.
        assert without == "nobody"


def test_submit_copies_the_context_if_told_to():
    with pool_of(queue_size=10, copy_context=True) as pool:
        token = USER.set("somebody")
        try:
            future, mapped = pool.submit(USER.get), pool.map(lambda _: USER.get(), range(2))
        finally:
            USER.reset(token)
        assert future.result(SOON) == "somebody"
        assert list(mapped) == ["somebody", "somebody"]


@pytest.mark.parametrize("ordered", [True, False])
def test_stream_gives_all_results(ordered):
    async def main():
        return [result async for result in pool.stream(pow, range(50), [2] * 50, ordered=ordered)]

    with pool_of(3) as pool:
        results = asyncio.run(main())
    assert (results if ordered else sorted(results)) == [n * n for n in range(50)]


def test_unordered_gives_them_as_they_come():
    async def main():
        hold = Hold(pool)
        results = pool.stream(lambda fn: fn(), [hold.task, lambda: "quick"], ordered=False)
        async with aclosing(results):
            assert await anext(results) == "quick"
            hold.release()
            assert await anext(results) == "held"

    with pool_of(2) as pool:
        asyncio.run(main())


def test_stream_runs_ahead_by_so_many_and_no_more():
    async def main():
        count = 0
        async with aclosing(pool.stream(abs, source(), buffersize=4)) as results:
            async for _ in results:
                count += 1
                assert len(fetched) - count < 4
                if count == 30:
                    break

    def source():
        number = 0
        while True:
            fetched.append(number)
            yield number
            number += 1

    fetched = []
    with pool_of(2) as pool:
        asyncio.run(main())
    assert len(fetched) <= 34


def test_stream_takes_an_asynchronous_source():
    async def source():
        for number in range(10):
            await asyncio.sleep(0)
            yield number

    async def main():
        return [result async for result in pool.stream(abs, source())]

    with pool_of(2) as pool:
        assert asyncio.run(main()) == list(range(10))


def test_a_source_that_waits_for_a_result_gives_the_next_call_where_one_is_handed_in_at_a_time():
    async def main():
        answers = asyncio.Queue()

        async def source():
            call = 1
            while call < 4:
                yield call
                call = await asyncio.wait_for(answers.get(), SOON) + 1

        with pool_of(2) as pool:
            seen = []
            async for answer in pool.stream(abs, source(), buffersize=1):
                seen.append(answer)
                answers.put_nowait(answer)
            return seen

    assert asyncio.run(main()) == [1, 2, 3]


def test_a_stream_left_early_cancels_what_has_not_started():
    async def main():
        hold = Hold(pool)
        async with aclosing(pool.stream(lambda fn: fn(), [int, *[hold.task] * 9], buffersize=10)) as results:
            assert await anext(results) == 0
            await asyncio.to_thread(hold.started, 1)
        await until(lambda: pool.stats().blocked + pool.stats().waiting == 0)
        assert pool.stats().running == 1
        hold.release()

    with pool_of() as pool:
        asyncio.run(main())


def test_an_error_ends_the_stream():
    async def main():
        stream = pool.stream(lambda n: 1 // n, [1, 0, 1])
        assert await anext(stream) == 1
        with pytest.raises(ZeroDivisionError):
            await anext(stream)
        assert [result async for result in stream] == []

    with pool_of() as pool:
        asyncio.run(main())


def test_a_view_runs_and_streams_with_its_own_settings():
    async def main():
        name = USER.set("somebody")
        try:
            assert await view.run(USER.get) == "somebody"
        finally:
            USER.reset(name)
        assert [each async for each in view.stream(pow, [2, 3], [3, 2])] == [8, 9]
        with pytest.raises(ValueError, match="buffersize"):
            view.stream(int, [1], buffersize=0)
        async with asyncio.TaskGroup() as group:
            group.create_task(pool.run(hold.task))
            await asyncio.to_thread(hold.started, 1)
            with pytest.raises(TimeoutError, match="queue_timeout=0.01"):
                await pool.options(queue_timeout=0.01).run(int)
            hold.release()

    with pool_of(queue_size=5) as pool:
        hold = Hold(pool)
        view = pool.options(queue_timeout=3600)
        asyncio.run(main())


def test_a_stream_that_runs_far_ahead_lets_others_have_the_loop():
    async def main():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        results = pool.stream(abs, range(1000), buffersize=1000)
        assert await anext(results) == 0
        beside.cancel()
        await results.aclose()
        return turns

    with pool_of(queue_size=1000) as pool:
        assert asyncio.run(main()) >= 5


def test_a_loop_that_has_gone_harms_nobody():
    async def main():
        call = asyncio.create_task(pool.run(hold.task))
        await asyncio.to_thread(hold.started, 1)
        call.cancel()

    with pool_of() as pool:
        hold = Hold(pool)
        asyncio.run(main())
        hold.release()
        assert pool.submit(int).result(SOON) == 0


def test_asyncio_takes_it_for_its_default():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(pool)
        name = await asyncio.to_thread(lambda: threading.current_thread().name)
        assert await loop.run_in_executor(None, pow, 2, 3) == 8
        return name

    pool = pool_of(queue_size=10)
    assert asyncio.run(main()).startswith("jobs_")
    assert pool.stats().closed  # the loop shuts its default down


def test_adrain_waits_without_holding_the_loop_and_returns_what_is_left():
    async def main():
        hold = Hold(pool)
        await asyncio.to_thread(hold.occupy, 1)
        waiting = pool.submit(pow, 2, 3)
        left = await pool.adrain(0.01)
        assert waiting.cancelled()
        assert [(each.fn, each.args) for each in left.unstarted] == [(pow, (2, 3))]
        assert [each.future for each in left.running] == hold.futures
        hold.release()
        assert not await pool.adrain(SOON)

    with pool_of(queue_size=5) as pool:
        asyncio.run(main())


async def on_any_loop(pool):
    import anyio

    import cgexec.anyio as on

    assert await on.run(pool, pow, 2, 3) == 8
    with pytest.raises(ValueError, match="invalid literal"):
        await on.run(pool, int, "x")
    assert [each async for each in on.stream(pool, abs, range(20))] == list(range(20))
    assert [each async for each in on.stream(pool, abs, range(300), buffersize=300)] == list(range(300))
    assert sorted([each async for each in on.stream(pool, abs, range(20), ordered=False)]) == list(range(20))
    hold = Hold(pool)
    async with anyio.create_task_group() as group:
        group.start_soon(on.run, pool, hold.task)
        with anyio.fail_after(SOON):  # no thread to wait in: trio keeps its own for ten seconds
            while hold.nothing_started():
                await anyio.sleep(0.001)
        with anyio.move_on_after(0.01):
            await on.run(pool, hold.task)
        assert pool.stats().blocked == 0, "the ticket went along"
        with pytest.raises(cgexec.QueueFull, match=r"await pool\.run"):
            pool.submit(int)
        hold.release()
    assert not await on.drain(pool, SOON)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_brings_the_same_to_its_loops(backend):
    anyio = pytest.importorskip("anyio")
    pytest.importorskip(backend)
    with pool_of() as pool:
        anyio.run(on_any_loop, pool, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_with_mode_off_anyio_brings_the_standard_pool(backend, monkeypatch):
    anyio = pytest.importorskip("anyio")
    pytest.importorskip(backend)
    import cgexec.anyio as on

    async def main():
        assert await on.run(pool, pow, 2, 3) == 8
        assert [each async for each in on.stream(pool, abs, range(-9, 0))] == list(range(9, 0, -1))
        assert not await on.drain(pool, SOON)

    monkeypatch.setenv("CGEXEC_MODE", "off")
    with cgexec.ThreadPoolExecutor(2) as pool:
        anyio.run(main, backend=backend)


def test_under_trio_submit_timeout_holds_too():
    trio = pytest.importorskip("trio")
    pytest.importorskip("anyio")
    import cgexec.anyio as on

    async def main():
        with holding(pool) as hold:
            pool.submit(hold.task)
            with pytest.raises(cgexec.QueueFull):
                await on.run(pool, int)

    with pool_of(submit_timeout=0.01) as pool:
        trio.run(main)
