"""Which jobs are accepted: a place comes before the row, jobs are bounded, and accepted ones go first."""

import asyncio

import pytest
from fastapi_service.states import State
from fastapi_service.store import MemoryStore

import cgexec
from support.jobs import NEVER, Gate, Held, fail, jobs, line_up, within

# -- a place before the row ------------------------------------------------------------------------------------------


class Counting(MemoryStore):
    """Notes what was made, and takes its time for that."""

    def __init__(self):
        super().__init__()
        self.made, self.gate = [], Gate()

    def create(self, job_id):
        self.made.append(job_id)
        if job_id == "slow":
            self.gate.wait()
        return super().create(job_id)


def test_what_is_refused_was_never_in_the_store(does):
    async def main():
        async with jobs(Counting()) as here:
            await here.runner.start("running")
            answers = await asyncio.gather(*(here.runner.start("same") for _ in range(8)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {cgexec.QueueFull}
            job, new = await here.runner.start("running")
            assert (job.id, new) == ("running", False), "who asks for what is there needs no place"
            assert here.store.made == ["running"]
            hold.open()

    hold = Gate()
    does(lambda *_: hold.wait())
    within(main())


def test_many_who_ask_for_one_id_at_once_are_told_the_same(does):
    async def main():
        async with jobs(Counting()) as here:
            asking = [asyncio.create_task(here.runner.start("slow")) for _ in range(8)]
            await here.store.gate.reached()
            assert here.store.get("slow") is None
            with pytest.raises(cgexec.QueueFull):
                await here.runner.start("other")
            here.store.gate.open()
            assert sorted(new for _, new in await asyncio.gather(*asking)) == [False] * 7 + [True]
            await here.until("slow", State.COMPLETED)

    does(lambda *_: None)
    within(main())


def test_a_place_is_given_back_where_another_process_was_faster(does):
    class Late(MemoryStore):
        def get(self, job_id):
            return None if job_id in unseen else super().get(job_id)

    async def main():
        async with jobs(Late()) as here:
            here.store.create("a")
            job, new = await here.runner.start("a")
            assert (job.state, new) == (State.QUEUED, False)
            unseen.clear()
            await here.when(lambda: here.pool.stats().running == 0)
            await here.runner.start("b")
            await here.until("b", State.COMPLETED)
        assert began == ["b"]

    unseen, began = {"a"}, []
    does(lambda job_id, *_: began.append(job_id))
    within(main())


def test_a_place_is_given_back_where_the_store_fails(does):
    class Broken(MemoryStore):
        def create(self, job_id):
            if job_id == "a":
                raise OSError("disk full")
            return super().create(job_id)

    async def main():
        async with jobs(Broken()) as here:
            with pytest.raises(OSError, match="disk full"):
                await here.runner.start("a")
            await here.when(lambda: here.pool.stats().running == 0)
            await here.runner.start("b")
            await here.until("b", State.COMPLETED)
        assert began == ["b"]

    began = []
    does(lambda job_id, *_: began.append(job_id))
    within(main())


# -- not too many ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "most"), [({"max_jobs": 2}, 2), ({"workers": 1, "queue_size": 0}, 4)], ids=["told", "by the places"]
)
def test_jobs_between_attempts_are_bounded_too(does, settings, most):
    async def main():
        async with jobs(backoff=NEVER, backoff_most=NEVER, **settings) as here:
            for job_id in range(most):
                await here.runner.start(str(job_id))
                await here.until(str(job_id), State.RETRYING)
            with pytest.raises(cgexec.QueueFull, match=f"{most} jobs have not ended, {most} is the most"):
                await here.runner.start("more")

    does(fail)
    within(main())


def test_an_accepted_job_gets_its_next_place_before_a_new_one(does):
    async def main():
        async with jobs(Held()) as here:
            await line_up(here, "a", "b")
            with pytest.raises(cgexec.QueueFull, match="accepted jobs wait"):
                await here.runner.start("c")
            hold.open()
            assert (await here.until("a", State.COMPLETED)).attempt == 2
            assert here.pool.stats().rejected.get("queue", 0) == 0, "it did not ask before there was a place"

    hold = Gate()
    does(lambda job_id, attempt, _: hold.wait() if job_id == "b" else fail() if attempt == 1 else None)
    within(main())


def test_where_nothing_has_ended_yet_the_wait_is_the_one_that_was_told(does):
    async def main():
        async with jobs(retry_after=77) as here:
            await here.runner.start("a")
            with pytest.raises(cgexec.QueueFull) as full:
                await here.runner.start("b")
            assert full.value.retry_after == 77
            hold.open()
            await here.until("a", State.COMPLETED)

    hold = Gate()
    does(lambda *_: hold.wait())
    within(main())
