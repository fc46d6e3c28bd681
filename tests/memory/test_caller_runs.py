"""A full pool whose submitters run their tasks themselves (when_full="caller_runs"), while memory is short."""

import asyncio
import threading

import pytest

import cgexec
from cgexec._memory.gauge import Own, Reading
from cgexec._pool import door, lines
from cgexec._pool.admission import Admission
from cgexec._pool.holding import need
from cgexec._pool.records import Verdict
from cgexec._pool.scene import wanted as wanted_by
from cgexec._pool.shares import Claim
from cgexec._settings import Care
from cgexec.testing import Container, clock, inside
from support.pools import SOON, Prices, eventually, hired, holding, task


class Submitters:
    """Threads that hand in one task each, which stands still, and what came of it."""

    def __init__(self, pool, hold):
        self.pool, self.hold = pool, hold
        self.threads, self.futures = [], []

    def begin(self, count):
        for _ in range(count):
            thread = threading.Thread(target=lambda: self.futures.append(self.pool.submit(self.hold.task)))
            thread.start()
            self.threads.append(thread)

    def end(self):
        for thread in self.threads:
            thread.join(SOON)
            assert not thread.is_alive()
        return [future.result(SOON) for future in self.futures]


@pytest.fixture
def box(tmp_path):
    """Return a container, and have pools go by a clock that stands."""
    made = Container(tmp_path, memory="1Gi", used="50Mi")
    with clock() as now, inside(made):
        made.now = now
        yield made


def pool_of(workers, **arguments):
    return cgexec.ThreadPoolExecutor(workers, when_full="caller_runs", **arguments)


def test_behind_a_closed_gate_submitters_wait(box):
    with pool_of(2) as pool, holding(pool, 1) as hold:
        box.change(used="1000Mi")
        box.now.advance(2)
        submitters = Submitters(pool, hold)
        submitters.begin(8)
        eventually(lambda: pool.stats().blocked == 6)
        seen = pool.stats()
        assert (seen.running, seen.waiting, seen.ran_in_caller) == (1, 2, 0)
        box.change(used="50Mi")
        hold.release()
        box.now.advance(2)
        assert submitters.end() == ["held"] * 8
        assert pool.stats().ran_in_caller == 0


def test_where_memory_holds_what_waits_submitters_wait_behind_it(box):
    with pool_of(2, queue_size=0, memory_per_task="500Mi") as pool, holding(pool, 1) as hold:
        submitters = Submitters(pool, hold)
        submitters.begin(3)
        eventually(lambda: pool.stats().blocked == 2)
        seen = pool.stats()
        assert (seen.running, seen.waiting) == (1, 1), "a worker is free, and the task does not fit"
        hold.release()
        assert submitters.end() == ["held"] * 3


def test_as_far_as_memory_suffices_submitters_run_their_tasks(box):
    idle = cgexec.ThreadPoolExecutor(8)  # whose tasks would not all fit as well, so that each start counts
    with idle, pool_of(1, queue_size=0, memory_per_task="300Mi") as pool, holding(pool, 1) as hold:
        submitters = Submitters(pool, hold)
        submitters.begin(1)
        hold.started(1)
        submitters.begin(1)
        eventually(lambda: pool.stats().blocked == 1)
        assert pool.stats().running == 2
        hold.release()
        assert submitters.end() == ["held"] * 2
        assert pool.stats().ran_in_caller == 1


@pytest.mark.parametrize("inline", [False, True])
def test_a_task_never_waits_for_its_own_pool_and_what_it_waits_for_goes_ahead(box, inline):
    """Whether a worker runs it, or its submitter."""
    ready, futures = threading.Event(), []

    def parent():
        box.change(used="950Mi")
        box.now.advance(2)
        futures.extend(pool.submit(int) for _ in range(4))
        ready.set()
        return [future.result(SOON) for future in futures]

    with pool_of(1, queue_size=0) as pool, holding(pool, int(inline)) as hold:
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(pool.submit(parent).result(SOON)))
        thread.start()
        assert ready.wait(SOON)
        assert pool.stats().over_bound > 0
        hold.release()
        if not inline:
            pool.resize(2)
        eventually(lambda: (box.now.advance(1), not thread.is_alive())[1])
        assert outcome == [[0] * 4]
        assert pool.stats().ran_in_caller == int(inline)


def test_on_an_event_loop_it_is_refused(box):
    async def main():
        pool.submit(int)
        pool.submit(int)
        with pytest.raises(cgexec.QueueFull, match="memory is short") as caught:
            pool.submit(int)
        assert caught.value.reason == "memory"

    with pool_of(2) as pool, holding(pool, 1):
        box.change(used="1000Mi")
        box.now.advance(2)
        asyncio.run(main())
        box.change(used="50Mi")
        box.now.advance(2)


def test_a_submitter_that_runs_a_task_is_let_in_by_another_pool_in_the_end(monkeypatch):
    """It may be what that other pool waits for, as a worker may."""
    monkeypatch.setattr(door, "PATIENCE", 0.05)
    one, other = pool_of(1, queue_size=0), cgexec.ThreadPoolExecutor(1, queue_size=0)
    with one, other, holding(one, 1), holding(other, 1) as hold:
        future = one.submit(lambda: other.submit(int))
        assert (one.stats().ran_in_caller, other.stats().over_bound) == (1, 1)
        hold.release()
        assert future.result(SOON).result(SOON) == 0


def test_threads_that_may_run_tasks_are_counted_among_those_that_could_be_running():
    needs = [pool_needs(limit=4), pool_needs(limit=8)]
    reading = Reading(0, 1 << 30, "", Own(0, 0, 0, 0, 0, threads=30), 1, 0)

    def wanted(*cares):
        return wanted_by([Claim(None, *each) for each in zip(cares, needs, strict=True)], reading)

    assert wanted(Care(), Care()) == 12
    assert wanted(Care(), Care(callers=True)) == 42


def pool_needs(limit):
    return need(Admission(limit, 0), None)


def test_beside_a_number_that_may_run_a_submitter_counts_as_one():
    state = Admission(4, 0)
    state.price = Prices(lambda _: 10.0)
    hired(state)
    state.bounded, state.budget, state.most = True, 100.0, 2
    assert lines.begin_inline(state, task(state), 0.0) is None
    assert (state.budget, state.most) == (90.0, 1)
    assert lines.begin_inline(state, task(state), 0.0) is Verdict.FULL
    state.most, state.spare, state.budget = 9, True, 0.0
    assert lines.begin_inline(state, task(state), 0.0) is Verdict.FULL, "that is for what waits"
    assert state.spare
