"""A task that has to run alone: how long it waits for the others, and they for it, and that this has an end."""

import threading
from types import SimpleNamespace

import pytest

import cgexec
from cgexec._memory.planner import Planner
from cgexec._pool import holding
from cgexec._pool.admission import Admission
from cgexec._pool.apart import Apart
from cgexec._pool.crowd import Crowd
from cgexec._pool.holding import Funds, Need, fund
from cgexec._pool.lulls import Lulls
from cgexec._pool.records import Verdict
from cgexec._pool.reports import Reports
from cgexec._pool.shares import Claim, Shares
from cgexec._pool.task import AGAIN, ALONE, Task
from cgexec._settings import Care
from cgexec.testing import Container, clock, inside
from support.pools import SOON, Fails, eventually, hired, started, task


def need(*busy, head=None, usual=None):
    """Return what a pool has to tell."""
    return Need([(each, 0.0) for each in busy], 0, int(head is not None), head, 4, usual, None, 0.0, 0, 0)


@pytest.fixture
def failed():
    """Return a task that has run out of memory so often that it has to run alone."""
    found = task(Admission(1, 1))
    found.tries, found.apart = ALONE, True
    return found


def starts_at(needs, ended=(), until=200):
    """Return the second in which it may start, None if never; a look each second, *ended* are those with an end."""
    apart = Apart()
    for now in range(until):
        apart.see(needs, int(now in ended), float(now))
        if apart.may_start:
            assert apart.need is needs[0]
            return now
    return None


def test_with_nothing_beside_it_it_starts_at_once(failed):
    assert starts_at([need(head=failed), need()]) == 0


@pytest.mark.parametrize(("usual", "seconds"), [(None, 5), (0.1, 5), (20.0, 40), (300.0, 60)])
def test_it_waits_for_those_that_run_about_as_long_as_these_take(failed, usual, seconds):
    other = task(Admission(1, 1))
    assert starts_at([need(head=failed), need(other, usual=usual)]) == seconds


def test_it_waits_longer_as_long_as_something_ends_but_not_for_ever(failed):
    needs = [need(head=failed), need(task(Admission(1, 1)))]
    assert starts_at(needs, ended=[3, 6]) == 11
    assert starts_at(needs, ended=range(1000)) == 60


def test_what_waits_for_it_it_need_not_wait_for(failed, monkeypatch):
    monkeypatch.setattr(Task, "is_awaited", lambda _: True)
    failed.nested = True
    assert starts_at([need(head=failed), need(task(Admission(1, 1)))]) == 1


@pytest.mark.parametrize(("others", "seconds"), [(1, 10), (0, 65)])
def test_if_it_is_not_started_though_it_may_the_others_go_on(failed, others, seconds):
    apart, needs = Apart(), [need(head=failed), need(*[task(Admission(1, 1))] * others)]
    for now in range(seconds):
        apart.see(needs, 0, float(now))
        assert apart.need is needs[0]
    apart.see(needs, 0, float(seconds))
    assert apart.need is None
    assert not failed.apart, "from now on it is one among others"


@pytest.mark.parametrize(("usual", "seconds"), [(None, 60), (100.0, 200)])
def test_nothing_starts_beside_it_unless_it_runs_for_very_long(failed, usual, seconds):
    apart, needs = Apart(), [need(failed, usual=usual), need()]
    for now in range(seconds):
        apart.see(needs, 0, float(now))
        assert apart.need is needs[0]
        assert not apart.may_start
    apart.see(needs, 0, float(seconds))
    assert apart.need is None


def test_what_failed_alone_beside_other_processes_pauses(failed):
    failed.tries = ALONE + 2
    apart = Apart()
    apart.see([need(head=failed)], 0, 0.0)
    assert not apart.may_start
    apart.see([need(head=failed)], 0, 0.25)
    assert apart.may_start


# -- what it means for the pools -----------------------------------------------------------------------------------------


def ran_out(failing, *others):
    """Have a crowd see the pool of *failing* run out of memory once, beside those other pools; return the crowd."""
    crowd = Crowd()
    needs = {0: need(head=failing), **dict(enumerate(others, 1))}
    crowd.see(needs, 0, 0.0)
    crowd.see({**needs, 0: needs[0]._replace(starved=1)}, 0, 0.1)
    return crowd


def test_what_ran_out_of_memory_with_nothing_beside_it_is_run_once_more_and_no_more_often(failed):
    failed.tries, failed.apart = 1, False
    crowd = ran_out(failed, need())
    assert (failed.tries, failed.apart) == (ALONE, True)
    assert crowd.apart.may_start


def test_with_another_pool_at_work_it_was_not_alone(failed):
    failed.tries, failed.apart = 1, False
    ran_out(failed, need(task(Admission(1, 1))))
    assert (failed.tries, failed.apart) == (1, False)


def test_nothing_else_may_start_beside_it(failed):
    crowd, needs = Crowd(), [need(head=failed), need(head=task(Admission(1, 1)))]
    crowd.see(dict(enumerate(needs)), 0, 0.0)
    mine, others = crowd.narrow([(each, Funds(bounded=False, budget=5.0, spare=True)) for each in needs])
    assert mine == Funds(bounded=True, budget=5.0, spare=True, most=1, alone=True)
    assert others == Funds(bounded=True, budget=5.0, most=0)


def test_memory_that_ran_out_takes_back_what_might_have_started():
    state = Admission(2, 10)
    state.retry = state.guarded = True
    failing, worker = hired(state)
    hired(state)
    failing.fn = Fails(1)
    fund(state, Funds(bounded=True, budget=5.0, spare=True), holding.need(state, None), 0.0)
    assert failing.run() == AGAIN
    assert state.next(worker, 1.0, AGAIN) is Verdict.LOOK


@pytest.mark.parametrize(
    ("funds", "owed"),
    [
        ({"budget": 5.0, "most": 1}, True),
        ({"budget": -1.0}, True),
        ({"budget": 5.0}, False),  # it starts anyway
    ],
)
def test_what_a_running_task_waits_for_starts_however_few_may_run(monkeypatch, funds, owed):
    monkeypatch.setattr(Task, "is_awaited", lambda _: True)
    state = Admission(1, 10)
    hired(state)
    child = task(state)
    child.nested = state.nesting = True
    state.offer(child)
    shares = Shares(Planner(), Reports(), Lulls())
    given = Funds(bounded=True, **funds)

    def owe(since, now):
        seen = holding.need(state, None)._replace(held_since=since)
        return shares.owe(Claim(SimpleNamespace(state=state), Care(), seen), given, now).spare

    assert owe(10.0, 11.0) == owed
    assert not owe(10.0, 10.5), "only after a second"
    assert not owe(None, 11.0)
    child.apart = True
    assert not owe(10.0, 11.0), "it is let go by the look that lets it be alone"


@pytest.mark.parametrize(("funds", "starts"), [({}, False), ({"alone": True}, True), ({"spare": True}, True)])
def test_it_starts_only_where_the_look_says_so(funds, starts):
    state = Admission(2, 10)
    new = task(state)
    new.tries, new.apart = ALONE, True
    fund(state, Funds(bounded=True, budget=5.0, **funds), holding.need(state, None), 0.0)
    answer = state.next(started(state.offer(new)), 1.0, 0)
    assert answer is (new if starts else Verdict.LOOK)


# -- in pools, by a clock that the test moves ----------------------------------------------------------------------------


class Endless:
    """A task that runs until it is told to end."""

    def __init__(self):
        self.started, self.stop = threading.Event(), threading.Event()

    def __call__(self):
        self.started.set()
        assert self.stop.wait(6 * SOON)


@pytest.fixture(params=[None, "1Gi"])
def now(request, tmp_path):
    """Return a clock, in a container without a limit and in one with room."""
    with clock() as moved, inside(Container(tmp_path, memory=request.param)):
        yield moved


def passes(now, *futures):
    """Let time pass until the futures are done; return what they hold."""
    eventually(lambda: (now.advance(1), all(future.done() for future in futures))[1])
    return [future.result(0) for future in futures]


def retrying(workers=4):
    return cgexec.ThreadPoolExecutor(workers, on_memory_error="retry")


@pytest.mark.parametrize("times", [1, 3])
def test_a_task_that_its_parent_waits_for_goes_ahead_in_another_pool(now, times):
    child = Fails(times)
    with cgexec.ThreadPoolExecutor(4) as outer, retrying() as inner:
        parent = outer.submit(lambda: inner.submit(child).result())
        assert passes(now, parent) == [times + 1]
        assert passes(now, outer.submit(int), inner.submit(int)) == [0, 0]


@pytest.mark.parametrize("times", [1, 3])
def test_a_task_that_its_parent_waits_for_goes_ahead_in_the_same_pool(now, times):
    child = Fails(times)
    with retrying() as pool:
        assert passes(now, pool.submit(lambda: pool.submit(child).result())) == [times + 1]
        assert passes(now, pool.submit(int)) == [0]


def test_what_a_task_that_runs_alone_waits_for_goes_ahead(now):
    fails = Fails(1)

    def parent():
        fails()  # alone, so that it is run alone the next time
        return pool.submit(int).result()

    with retrying() as pool:
        assert passes(now, pool.submit(parent)) == [0]


@pytest.mark.parametrize("times", [1, 3])
def test_what_never_ends_is_not_waited_for_for_ever_and_nobody_stops_for_it(now, times):
    endless, fails = Endless(), Fails(times)
    with retrying() as pool, cgexec.ThreadPoolExecutor(4) as other:
        other.submit(endless)
        assert endless.started.wait(SOON)
        futures = pool.submit(fails), other.submit(int), pool.submit(int)
        try:
            assert passes(now, *futures) == [times + 1, 0, 0]
        finally:
            endless.stop.set()


def test_others_do_not_wait_for_ever_for_one_that_runs_alone(now):
    endless, fails = Endless(), Fails(1)
    with retrying() as pool, cgexec.ThreadPoolExecutor(4) as other:
        pool.submit(lambda: (fails(), endless()))
        eventually(lambda: (now.advance(1), endless.started.is_set())[1])
        futures = other.submit(int), pool.submit(int)
        try:
            assert passes(now, *futures) == [0, 0]
        finally:
            endless.stop.set()
