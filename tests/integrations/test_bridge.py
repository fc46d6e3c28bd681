"""From threads to a coroutine: bounded, and harmless when the reader or its loop has gone."""

import asyncio
import threading

import pytest

import cgexec
from cgexec import testing
from cgexec.asyncio import Bridge
from support.pools import SOON, eventually, holding


async def in_thread(fn, *args):
    async with asyncio.timeout(SOON):
        return await asyncio.to_thread(fn, *args)


async def read_all(bridge):
    async with asyncio.timeout(SOON):
        return [item async for item in bridge]


@pytest.mark.parametrize("maxsize", [1, 3])
def test_the_latest_win(maxsize):
    async def main():
        bridge = Bridge(maxsize)
        for number in range(10):
            assert bridge.send(number)
        bridge.close()
        assert not bridge.send(10)
        assert await read_all(bridge) == list(range(10))[-maxsize:]
        assert bridge.dropped == 10 - maxsize

    asyncio.run(main())


def test_blocking_loses_nothing_from_many_threads():
    def report(sender):
        for number in range(200):
            assert bridge.send((sender, number))

    async def main():
        nonlocal bridge
        bridge = Bridge(4, when_full="block")
        with cgexec.ThreadPoolExecutor(5) as pool:
            futures = [pool.submit(report, sender) for sender in range(5)]
            pool.submit(lambda: ([future.result(SOON) for future in futures], bridge.close()))
            seen = await read_all(bridge)
        assert sorted(seen) == [(sender, number) for sender in range(5) for number in range(200)]
        for sender in range(5):
            assert [number for each, number in seen if each == sender] == list(range(200)), "in order"
        assert bridge.dropped == 0

    bridge = None
    asyncio.run(main())


def test_a_blocked_sender_waits_for_its_reader_and_no_longer_than_told():
    async def main():
        bridge = Bridge(1, when_full="block")
        assert await in_thread(bridge.send, "first")
        assert await in_thread(bridge.send, "late", 0.01) is False
        second = asyncio.create_task(in_thread(bridge.send, "second"))
        assert await anext(bridge) == "first"
        assert await second
        assert await anext(bridge) == "second"

    asyncio.run(main())


def test_the_callback_of_an_expired_task_does_not_block():
    async def main():
        bridge = Bridge(1, when_full="block")
        bridge.send("unread")
        with testing.clock() as clock, cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1):
            late = pool.options(queue_timeout=60).submit(int)
            late.add_done_callback(lambda _: bridge.send("expired"))
            clock.advance(60)
        bridge.close()
        assert await read_all(bridge) == ["unread", "expired"]
        assert bridge.dropped == 0

    asyncio.run(main())


def blocked(bridge, answers):
    """Have a thread block in `send`."""
    thread = threading.Thread(target=lambda: answers.append(bridge.send("more")))
    thread.start()
    eventually(lambda: bridge._room._waiters)
    return thread


def test_a_reader_that_leaves_lets_blocked_senders_go():
    async def main():
        async with Bridge(1, when_full="block") as bridge:
            bridge.send("unread")
            thread = blocked(bridge, answers)
        await in_thread(thread.join, SOON)
        assert answers == [False]
        assert bridge.closed
        assert await read_all(bridge) == []

    answers = []
    asyncio.run(main())


def test_a_closed_loop_lets_blocked_senders_go_and_takes_nothing_more():
    async def main():
        bridge = Bridge(1, when_full="block")
        bridge.send("unread")
        return bridge, blocked(bridge, answers)

    answers = []
    bridge, thread = asyncio.run(main())
    thread.join(SOON)
    assert answers == [False]
    assert bridge.send("later") is False


def test_with_the_latest_too():
    async def main():
        return Bridge()

    bridge = asyncio.run(main())
    assert bridge.send("nobody") is False
    assert bridge.closed


def test_a_loop_closed_before_it_could_look_is_gone_too():
    with asyncio.Runner() as runner:
        bridge = Bridge(loop=runner.get_loop())
        assert bridge.send("on its way")
    assert bridge.send("later") is False


def test_close_wakes_a_waiting_reader():
    async def main():
        bridge = Bridge()
        reader = asyncio.create_task(read_all(bridge))
        await asyncio.sleep(0)
        await in_thread(bridge.close)
        assert await reader == []

    asyncio.run(main())


def test_on_a_loops_thread_it_refuses_to_block():
    async def main():
        bridge = Bridge(1, when_full="block")
        bridge.send("first")
        with pytest.raises(cgexec.QueueFull, match="1 of 1 items unread"):
            bridge.send("second")

    asyncio.run(main())


def test_a_cancelled_task_does_not_block():
    async def main():
        bridge = Bridge(1, when_full="block")
        bridge.send("unread")
        with cgexec.ThreadPoolExecutor(1) as pool:
            future = pool.submit(bridge.send, "more")
            eventually(lambda: bridge._room._waiters)
            assert cgexec.cancel(future)
            with pytest.raises(cgexec.TaskCancelled):
                await in_thread(future.result)

    asyncio.run(main())


def test_a_cancelled_read_loses_nothing():
    async def main():
        bridge = Bridge(2)
        reader = asyncio.create_task(anext(bridge))
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait([reader])
        bridge.send("kept")
        assert await anext(bridge) == "kept"

    asyncio.run(main())


def test_many_sends_cost_the_loop_one_call():
    calls = []

    async def main():
        loop = asyncio.get_running_loop()
        soon = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args: (calls.append(args), soon(*args))[1]
        bridge = Bridge()
        for number in range(10_000):
            bridge.send(number)
        del loop.call_soon_threadsafe
        assert await anext(bridge) == 9999

    asyncio.run(main())
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("arguments", "message"), [({"maxsize": 0}, "from 1, got 0"), ({"when_full": "raise"}, '"latest" or "block"')]
)
def test_nonsense_is_refused(arguments, message):
    async def main():
        with pytest.raises(ValueError, match=message):
            Bridge(**arguments)

    asyncio.run(main())
