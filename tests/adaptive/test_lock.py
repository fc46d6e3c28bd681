"""The interpreter lock: how it is known that it is taken, and what the controller makes of it."""

import sys
import threading
from concurrent.futures import wait
from time import monotonic

import pytest
from modelled import Phase, Pod

import cgexec
from cgexec._adaptive.asking import Asks, sleeps
from cgexec._pool import ticker
from support.steps import Bench


def test_the_share_of_the_last_asks_is_told():
    asks = Asks()
    for number, slept in enumerate([1, 2, 3, 1]):
        assert asks.taken(10.0) is None
        asks.woke(10.0 + 0.1 * number, slept)
    assert asks.taken(10.3) == 0.5
    for _ in range(8):
        asks.woke(10.4, 7)
    assert asks.taken(10.4) == 1.0


def test_asks_are_forgotten_in_time():
    asks = Asks()
    for _ in range(8):
        asks.woke(10.0, 2)
    assert asks.taken(11.9) == 1.0
    assert asks.taken(12.1) is None


def test_nothing_is_known_where_sleeps_are_not_counted():
    asks = Asks()
    for _ in range(8):
        asks.woke(10.0, 0)
    assert asks.taken(10.0) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the sleeps of a thread")
def test_a_thread_that_waits_has_slept():
    before = sleeps()
    threading.Event().wait(0.001)
    assert sleeps() > before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the sleeps of a thread")
@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no lock")
def test_threads_that_compute_in_python_are_seen_to_have_the_lock():
    found, end = threading.Event(), monotonic() + 60

    def compute():
        while not found.is_set() and monotonic() < end:
            if (ticker.asks.taken(monotonic()) or 0.0) >= 0.7:
                found.set()

    with cgexec.ThreadPoolExecutor(adaptive=True, max_workers=4, min_workers=4) as pool:
        wait([pool.submit(compute) for _ in range(5)], timeout=90)
    assert found.is_set()


@pytest.mark.parametrize("locked", [0.7, 1.0])
def test_few_are_tried_at_once_where_the_lock_is_seen_to_be_used_up(locked):
    bench = Bench(gil=True, locked=locked)
    sizes = []
    while bench.controller.size != 1:
        bench.step(cpu=1.0, ended=20, queued=0.2)
        sizes.append(bench.controller.size)
    assert max(sizes) == 8
    assert len(sizes) < 30
    assert bench.controller.plateau


def test_nothing_grows_while_all_ask_for_the_lock():
    bench = Bench(1, gil=True, locked=1.0)
    reasons = {bench.step(cpu=1.0, ended=20, queued=0.2).reason for _ in range(100)}
    assert bench.controller.size == 1
    assert "the interpreter lock is used up" in reasons


def test_a_lock_that_is_free_is_not_what_tasks_wait_for():
    bench = Bench(gil=True, locked=0.2)
    reasons = {bench.step(cpu=1.0, ended=20, queued=0.2).reason for _ in range(200)}
    assert not [reason for reason in reasons if "lock" in reason]
    assert not bench.controller.plateau


def test_a_lock_that_others_have_does_not_make_a_pool_smaller():
    """An event loop that computes, beside tasks that wait."""
    bench = Bench(gil=True, locked=1.0, own_seconds=0.0)
    sizes = []
    for _ in range(50):
        own = bench.last.own_seconds + 0.01
        bench.step(cpu=1.0, ended=2 * bench.controller.size, own_seconds=own)
        sizes.append(bench.controller.size)
    assert min(sizes) == 8
    assert sizes[-1] == 100


def test_few_that_leave_the_lock_unused_are_given_up_before_any_task_has_ended():
    bench = Bench(gil=True, locked=0.9)
    while bench.controller.size == 8:
        bench.step(cpu=1.0, ended=20, queued=0.2)
    reasons = []
    while bench.controller.size != 8:
        reasons.append(bench.step(cpu=0.25).reason)
    assert reasons[-1] == "2 workers used 0.25 CPUs, 8 used 1.00"
    assert len(reasons) <= 5


@pytest.mark.parametrize("quota", [2.0, 4.0])
@pytest.mark.parametrize("wait_s", [0.0, 0.5, 2.0])
def test_tasks_that_wait_and_compute_in_python_do_as_much_as_with_the_best_fixed_size(quota, wait_s):
    """Of what looks like the lock some is waiting: with fewer the lock is left unused, and no time is lost on them."""
    phases, machine = [Phase(30, wait_s, 0.05, locked=1.0)], {"quota": quota, "machine": 16}
    best = max(Pod(phases, **machine, start=size, fixed=True).run().ended for size in (1, 2, 4, 8, 16, 32, 64))
    assert Pod(phases, **machine, start=8).run().ended >= 0.85 * best


def test_python_is_found_out_sooner_where_the_lock_is_asked():
    phases, machine = [Phase(5, 0.0, 0.02, locked=1.0)], {"quota": 2.0, "machine": 4}
    least = {}
    for asks in (None, 6):
        points = Pod(phases, **machine, asks=asks).run().points
        assert points[-1].size <= 2
        least[asks] = max(point.size for point in points)
    assert least == {None: least[None], 6: 8}
    assert least[None] > 8


def test_nothing_grows_before_it_is_known_whether_it_is_the_lock():
    """Where nobody ever knows, a second later as before."""
    bench = Bench(gil=True)
    first = [bench.step(cpu=1.0, ended=20).reason for _ in range(9)]
    assert set(first) == {"too early to tell how often the interpreter lock is taken"}
    assert bench.controller.size == 8
    for _ in range(2):
        bench.step(cpu=1.0, ended=20)
    assert bench.controller.size > 8


def test_few_that_have_the_lock_all_the_time_are_judged_by_what_ends():
    """A thousand threads use more CPU time than there is of the lock, by handing it to one another."""
    bench = Bench(50, gil=True, ceiling=50, locked=1.0)
    while bench.controller.size == 50:
        bench.step(cpu=1.5, ended=20, queued=7.0)
    reasons = [bench.step(cpu=1.0, ended=40).reason for _ in range(8)]
    assert bench.controller.size <= 25
    assert not [reason for reason in reasons if " used " in reason and "lock" not in reason]
