"""Events on their way to whoever listens, where the store or a listener fails."""

import asyncio
import contextlib
import math

from fastapi_service.hub import Hub
from fastapi_service.states import State
from fastapi_service.store import MemoryStore

import cgexec
from support.jobs import within


@contextlib.asynccontextmanager
async def pumping(store, *listeners):
    io = cgexec.ThreadPoolExecutor(2, queue_size=math.inf, memory_guard=False)
    hub = Hub(store, io, poll=0.001)
    for listener in listeners:
        hub.listen(listener)
    pumping = asyncio.create_task(hub.pump(store.last_seq()))
    try:
        yield hub
    finally:
        pumping.cancel()
        await asyncio.wait([pumping])
        await io.adrain()


def test_a_listener_that_fails_takes_nothing_from_the_others():
    async def main():
        heard = asyncio.Queue()
        store = MemoryStore()
        async with pumping(store, lambda _: 1 / 0, heard.put_nowait):
            for job_id in "ab":
                store.create(job_id)
                assert (await heard.get()).job == job_id

    within(main())


def test_a_store_that_cannot_be_read_for_a_while_is_read_again():
    class Failing(MemoryStore):
        def events(self, after, **told):
            if failures:
                raise failures.pop()
            return super().events(after, **told)

    async def main():
        heard = asyncio.Queue()
        store = Failing()
        async with pumping(store, heard.put_nowait):
            store.create("a")
            assert (await heard.get()).job == "a"
        assert not failures

    failures = [OSError("locked"), OSError("locked")]
    within(main())


def test_what_the_hub_missed_is_found_by_looking():
    async def main():
        store = MemoryStore()
        async with pumping(store) as hub:
            hub._hand_on = lambda _: None
            store.create("a")
            with hub.follow("a", 0) as follower:
                assert [event.state for event in await follower.next(10)] == [State.QUEUED]
                store.move("a", State.RUNNING)
                assert await follower.next(0.01) == []
                assert [event.state for event in await follower.next(10)] == [State.RUNNING]

    within(main())
