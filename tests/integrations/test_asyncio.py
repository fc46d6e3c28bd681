"""The loop's default executor: bounded, sized, and name look-ups get through whatever else is going on."""

import asyncio
import concurrent.futures
import itertools
import socket
import threading

import pytest

import cgexec
import cgexec.asyncio
from support.pools import SOON, Hold


def full(pool):
    """Occupy the pool's workers; a pool with ``queue_size=0`` then has no place."""
    hold = Hold(pool)
    hold.occupy(pool.stats().limit)
    return hold


def test_to_thread_runs_in_a_pool_of_the_containers_size():
    async def main():
        pool = cgexec.asyncio.install(name="shared", io_ratio=0.9)
        assert isinstance(pool, cgexec.ThreadPoolExecutor)
        assert (await asyncio.to_thread(threading.current_thread)).name.startswith("shared")
        assert pool.stats().limit == cgexec.recommend(io_ratio=0.9).max_workers
        return pool

    assert asyncio.run(main()).stats().closed, "the loop's end shuts it down"


def test_a_full_one_refuses_instead_of_queueing_without_end():
    async def main():
        pool = cgexec.asyncio.install(max_workers=1, queue_size=0)
        hold = full(pool)
        with pytest.raises(cgexec.QueueFull, match="in pool 'default'"):
            await asyncio.to_thread(int)
        hold.release()

    asyncio.run(main())


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_names_are_looked_up_beside_a_full_one(debug):
    async def main():
        hold = full(cgexec.asyncio.install(max_workers=1, queue_size=0))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SOON):
                found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
                assert found[0][4] == ("127.0.0.1", 80)
                name = await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
                assert name == ("127.0.0.1", "80")
        finally:
            hold.release()

    asyncio.run(main(), debug=debug)


def test_a_hundred_look_ups_at_once_all_get_through():
    async def main():
        hold = full(cgexec.asyncio.install(max_workers=1, queue_size=0))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SOON):
                found = await asyncio.gather(*(loop.getaddrinfo("127.0.0.1", port) for port in range(1, 101)))
            assert [each[0][4][1] for each in found] == list(range(1, 101))
        finally:
            hold.release()

    asyncio.run(main())


def test_uninstall_gives_the_former_one_back():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(former)
        pool = cgexec.asyncio.install(max_workers=1)
        hold = full(pool)
        last = pool.submit(pow, 2, 3)
        pool.uninstall()
        pool.uninstall()
        assert (await asyncio.to_thread(threading.current_thread)).name.startswith("former")
        hold.release()
        assert await asyncio.wrap_future(last) == 8, "what was handed in is finished"

    with concurrent.futures.ThreadPoolExecutor(1, "former") as former:
        asyncio.run(main())


def test_uninstall_where_there_was_none_leaves_asyncios_own():
    async def main():
        cgexec.asyncio.install().uninstall()
        return (await asyncio.to_thread(threading.current_thread)).name

    assert asyncio.run(main()).startswith("asyncio")


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
def test_several_may_be_taken_out_in_any_order(order):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(former)
        there = {name: cgexec.asyncio.install(max_workers=1, name=name) for name in "abc"}
        for name in order:
            there.pop(name).uninstall()
            latest = max(there, default="former")
            assert (await asyncio.to_thread(threading.current_thread)).name.startswith(latest)

    with concurrent.futures.ThreadPoolExecutor(1, "former") as former:
        asyncio.run(main())


def test_somebody_elses_that_was_set_since_stays():
    async def main():
        pool = cgexec.asyncio.install(max_workers=1)
        asyncio.get_running_loop().set_default_executor(others)
        pool.uninstall()
        assert (await asyncio.to_thread(threading.current_thread)).name.startswith("others")

    with concurrent.futures.ThreadPoolExecutor(1, "others") as others:
        asyncio.run(main())


def test_it_can_be_installed_before_the_loop_runs():
    with asyncio.Runner() as runner:
        pool = cgexec.asyncio.install(runner.get_loop(), max_workers=1, name="early")
        assert runner.run(asyncio.to_thread(threading.current_thread)).name.startswith("early")
    assert pool.stats().closed


def test_without_a_loop_it_says_so():
    with pytest.raises(RuntimeError, match="call install\\(\\) in a coroutine, or pass loop="):
        cgexec.asyncio.install()


def test_uvloop_takes_it_too():
    uvloop = pytest.importorskip("uvloop")

    async def main():
        pool = cgexec.asyncio.install(max_workers=1, name="shared")
        assert (await asyncio.to_thread(threading.current_thread)).name.startswith("shared")
        pool.uninstall()
        assert not (await asyncio.to_thread(threading.current_thread)).name.startswith("shared")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
