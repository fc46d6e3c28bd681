"""What becomes of a job: one end, whatever happens at once, and however the store fails."""

import asyncio
import gc
import sys
import threading
import weakref

import pytest
from fastapi_service.sqlite_store import SqliteStore
from fastapi_service.states import FINAL, State
from fastapi_service.store import MemoryStore

import cgexec
from support.jobs import NEVER, Gate, Held, fail, jobs, line_up, within


def refuse(name):
    raise ValueError(name)


def ends(store, job_id):
    return [event.state for event in store.events(0, job_id=job_id) if event.state in FINAL]


# -- one end ---------------------------------------------------------------------------------------------------------


class Slow(MemoryStore):
    """Ends take as long as a test likes."""

    def __init__(self):
        super().__init__()
        self.gate = Gate()

    def interrupt(self, job_ids):
        self.gate.wait()
        return super().interrupt(job_ids)


def test_a_waiting_job_that_is_cancelled_again_while_its_end_is_written_is_cancelled(does):
    """1. DELETE cancels it; 2. its end is on its way to the store; 3. the event of the DELETE cancels it once more."""

    async def main():
        async with jobs(Slow(), queue_size=1) as here:
            await here.runner.start("running")
            await here.until("running", State.RUNNING)
            await here.runner.start("waiting")
            await here.runner.cancel("waiting")
            await here.store.gate.reached()
            here.runner.heed("waiting")
            await asyncio.sleep(0)
            here.store.gate.open()
            await here.until("waiting", State.CANCELLED)
            hold.open()
            await here.until("running", State.COMPLETED)

    hold = Gate()
    does(lambda *_: hold.wait())
    within(main())


def test_so_is_one_between_two_attempts(does):
    async def main():
        async with jobs(Slow(), backoff=NEVER, backoff_most=NEVER) as here:
            await here.runner.start("a")
            await here.until("a", State.RETRYING)
            await here.runner.cancel("a")
            await here.store.gate.reached()
            here.runner.heed("a")
            await asyncio.sleep(0)
            here.store.gate.open()
            await here.until("a", State.CANCELLED)
            assert ends(here.store, "a") == [State.CANCELLED]

    does(fail)
    within(main())


def test_and_one_in_the_line_for_its_next_attempt(does):
    async def main():
        async with jobs(Held()) as here:
            await line_up(here, "a", "b")
            await here.runner.cancel("a")
            await here.until("a", State.CANCELLED)
            hold.open()
            await here.until("b", State.COMPLETED)

    hold = Gate()
    does(lambda job_id, *_: fail() if job_id == "a" else hold.wait())
    within(main())


class Creating(MemoryStore):
    """A row is there when a test likes."""

    def __init__(self):
        super().__init__()
        self.gate = Gate()

    def create(self, job_id):
        self.gate.wait()
        return super().create(job_id)


def test_a_job_that_is_not_there_yet_is_not_cancelled(does):
    async def main():
        async with jobs(Creating()) as here:
            starting = asyncio.create_task(here.runner.start("a"))
            await here.store.gate.reached()
            assert await here.runner.cancel("a") is None
            here.store.gate.open()
            assert (await starting)[1]
            await here.when(lambda: here.store.get("a").state in FINAL)
            assert ends(here.store, "a") == [State.COMPLETED]

    does(lambda *_: None)
    within(main())


def test_the_end_of_the_process_is_the_end_of_every_job(does):
    async def main():
        async with jobs(workers=2, queue_size=1, backoff=NEVER, backoff_most=NEVER) as here:
            for job_id in ("fails", "heeds", "does not", "waits"):
                await here.runner.start(job_id)
                if job_id == "fails":
                    await here.until("fails", State.RETRYING)
            await here.until("does not", State.RUNNING)
            left = await here.pool.adrain(0)
            assert (len(left.running), len(left.unstarted)) == (2, 1)
            await here.runner.end()
            hold.open()
            await here.pool.adrain()
        assert {job.id: job.state for job in here.store.latest(9)} == dict.fromkeys(
            ("fails", "heeds", "does not", "waits"), State.INTERRUPTED
        )
        assert all(len(ends(here.store, job.id)) == 1 for job in here.store.latest(9))

    def work(job_id, *_):
        if job_id == "fails":
            fail()
        if job_id == "does not":
            hold.wait()
        while True:
            cgexec.checkpoint()
            pause.wait(0.001)

    hold, pause = Gate(), threading.Event()
    does(work)
    within(main())


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda *_: sys.exit(3), "SystemExit: 3"),
        (lambda *_: refuse("\udc80"), "ValueError: ?"),
    ],
    ids=["exit", "surrogate"],
)
def test_whatever_a_job_raises_is_its_error(does, tmp_path, work, error):
    async def main():
        async with jobs(store) as here:
            await here.runner.start("a")
            assert (await here.until("a", State.FAILED)).error == error

    store = SqliteStore(tmp_path / "jobs.db")
    does(work)
    within(main())
    store.close()


def test_a_job_that_waits_for_its_next_attempt_keeps_nothing_of_the_last(does):
    async def main():
        async with jobs(backoff=NEVER, backoff_most=NEVER) as here:
            await here.runner.start("a")
            await here.until("a", State.RETRYING)
            await here.when(lambda: (gc.collect(), held[0]() is None)[1])

    def work(*_):
        memory = {1, 2, 3}
        held.append(weakref.ref(memory))
        fail()

    held = []
    does(work)
    within(main())


# -- progress --------------------------------------------------------------------------------------------------------


def test_of_much_progress_the_last_is_written(does):
    async def main():
        async with jobs(progress_every=NEVER) as here:
            await here.runner.start("a")
            await here.until("a", State.COMPLETED)
            events = here.store.events(0, job_id="a")
            assert len(events) <= 5, "queued, running, what was heard first, what was heard last, completed"
            assert [event.progress for event in events[-2:]] == [99.0, 100.0]

    def work(_, __, report):
        for step in range(100_000):
            report(99 * (step + 1) / 100_000)

    does(work)
    within(main())


# -- a store that fails for a while ----------------------------------------------------------------------------------


class Failing(MemoryStore):
    """Refuses the first change to each of these states."""

    def __init__(self, *states):
        super().__init__()
        self.refuses = set(states)

    def move(self, job_id, to, *, result=None, error=None):
        self.refuse(to)
        return super().move(job_id, to, result=result, error=error)

    def interrupt(self, job_ids):
        self.refuse(State.INTERRUPTED)
        return super().interrupt(job_ids)

    def refuse(self, to):
        if to in self.refuses:
            self.refuses.discard(to)
            raise OSError(f"disk full, {to}")


def test_a_change_that_the_store_refused_is_tried_again(does):
    async def main():
        states = (State.RUNNING, State.RETRYING, State.QUEUED, State.COMPLETED)
        async with jobs(Failing(*states)) as here:
            await here.runner.start("a")
            assert (await here.until("a", State.COMPLETED)).result == "done"
            assert not here.store.refuses

    does(lambda _, attempt, __: fail() if attempt == 1 else "done")
    within(main())


@pytest.mark.parametrize("refused", [State.FAILED, State.INTERRUPTED])
def test_so_are_the_other_ends(does, refused):
    async def main():
        async with jobs(Failing(refused), backoff=NEVER, backoff_most=NEVER) as here:
            await here.runner.start("fails")
            await here.until("fails", State.FAILED)
            await here.runner.start("retried")
            await here.until("retried", State.RETRYING)
            await here.runner.cancel("retried")
            await here.until("retried", State.CANCELLED)
            assert not here.store.refuses

    does(lambda job_id, *_: int("x") if job_id == "fails" else fail())
    within(main())


def test_progress_that_cannot_be_written_is_no_failure(does):
    class NoReports(MemoryStore):
        def report(self, job_id, progress):
            raise OSError("disk full")

    async def main():
        async with jobs(NoReports()) as here:
            await here.runner.start("a")
            await here.until("a", State.COMPLETED)

    does(lambda _, __, report: report(50.0))
    within(main())


def test_the_keeper_ends_what_nobody_runs(does):
    async def main():
        async with jobs() as here:
            for job_id in ("lost", "cancelling"):
                here.store.create(job_id)
            here.store.move("cancelling", State.CANCELLING)
            await here.runner.start("runs")
            await here.until("runs", State.RUNNING)
            keeping = asyncio.create_task(here.runner.keep(0.001))
            await here.until("lost", State.INTERRUPTED)
            await here.until("cancelling", State.CANCELLED)
            assert here.store.get("runs").state is State.RUNNING
            hold.open()
            await here.until("runs", State.COMPLETED)
            keeping.cancel()

    hold = Gate()
    does(lambda *_: hold.wait())
    within(main())


def test_the_keeper_finds_a_cancellation_of_which_nobody_told(does):
    async def main():
        async with jobs(backoff=NEVER, backoff_most=NEVER) as here:
            await here.runner.start("a")
            await here.until("a", State.RETRYING)
            here.store.move("a", State.CANCELLING)
            keeping = asyncio.create_task(here.runner.keep(0.001))
            await here.until("a", State.CANCELLED)
            keeping.cancel()

    does(fail)
    within(main())
