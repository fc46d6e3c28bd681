"""`stream` with a source that is asynchronous: results are given while it is waited for. On every loop."""

import asyncio
import math
from contextlib import aclosing

import pytest

import cgexec
from support.pools import SOON


class Plain:
    """asyncio without AnyIO."""

    event = asyncio.Event

    @staticmethod
    def run(main):
        return asyncio.run(main())

    @staticmethod
    async def wait(awaitable):
        return await asyncio.wait_for(awaitable, SOON)

    @staticmethod
    def stream(pool, *told, **options):
        return pool.stream(*told, **options)


class Any:
    """A loop that AnyIO runs on."""

    def __init__(self, backend):
        self.anyio = pytest.importorskip("anyio")
        pytest.importorskip(backend)
        import cgexec.anyio

        self.backend, self.stream, self.event = backend, cgexec.anyio.stream, self.anyio.Event

    def run(self, main):
        return self.anyio.run(main, backend=self.backend)

    async def wait(self, awaitable):
        with self.anyio.fail_after(SOON):
            return await awaitable


@pytest.fixture(params=["plain", "asyncio", "trio"])
def loop(request):
    return Plain() if request.param == "plain" else Any(request.param)


@pytest.fixture
def pool():
    with cgexec.ThreadPoolExecutor(4) as pool:
        yield pool


def task_of(loop):
    """Return the task that asks, and the one that runs this."""
    if isinstance(loop, Any):
        return loop.anyio.get_current_task().id
    return id(asyncio.current_task())


@pytest.mark.parametrize("ordered", [True, False])
def test_results_come_while_the_source_is_waited_for(loop, pool, ordered):
    async def main():
        seen, came = [], [loop.event() for _ in range(4)]

        async def source():
            for number in range(4):
                yield number
                await came[number].wait()  # for the result of what it has just given

        async with aclosing(loop.stream(pool, abs, source(), ordered=ordered)) as results:
            for number in range(4):
                seen.append(await loop.wait(anext(results)))
                came[number].set()
            with pytest.raises(StopAsyncIteration):
                await loop.wait(anext(results))
        return seen

    assert loop.run(main) == [0, 1, 2, 3]


def test_no_more_are_asked_for_than_may_be_ahead(loop, pool):
    async def main():
        asked = taken = 0

        async def source():
            nonlocal asked
            while True:
                asked += 1
                yield asked

        async with aclosing(source()) as calls, aclosing(loop.stream(pool, abs, calls, buffersize=3)) as results:
            while taken < 50:
                await loop.wait(anext(results))
                taken += 1
                assert asked - taken < 3
        assert asked - taken < 3

    loop.run(main)


def test_a_stream_left_early_ends_what_the_source_waits_for_in_the_task_that_began_it(loop, pool):
    async def main():
        tasks = []

        async def source():
            tasks.append(task_of(loop))
            try:
                yield 1
                await loop.event().wait()
            finally:
                tasks.append(task_of(loop))

        async with aclosing(loop.stream(pool, abs, source())) as results:
            assert await loop.wait(anext(results)) == 1
        return tasks

    begun, ended = loop.run(main)
    assert begun == ended


def test_an_error_of_the_source_is_the_consumers(loop, pool):
    async def main():
        async def source():
            yield 1
            raise ValueError("the source is dry")

        with pytest.raises(ValueError, match="dry"):
            async for _ in loop.stream(pool, abs, source(), buffersize=1):
                pass

    loop.run(main)


def test_a_wait_that_is_cancelled_ends_the_source(loop, pool):
    async def main():
        ended = loop.event()

        async def source():
            try:
                await loop.event().wait()
                yield 1
            finally:
                ended.set()

        results = loop.stream(pool, abs, source())
        if isinstance(loop, Any):
            with loop.anyio.move_on_after(0.01):
                await anext(results)
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(results), 0.01)
        await loop.wait(ended.wait())
        await results.aclose()

    loop.run(main)


def test_a_source_that_never_waits_is_as_good(loop, pool):
    async def main():
        async def source():
            for number in range(1000):
                yield number

        return [each async for each in loop.stream(pool, math.sqrt, source())]

    assert loop.run(main) == [math.sqrt(number) for number in range(1000)]


def test_an_empty_source(loop, pool):
    async def main():
        async def source():
            for number in ():
                yield number

        return [each async for each in loop.stream(pool, abs, source())]

    assert loop.run(main) == []
