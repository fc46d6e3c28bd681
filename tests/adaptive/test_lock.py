"""The interpreter lock: how it is known that it is taken, and what the controller makes of it."""

import os
import sys
import threading
from concurrent.futures import wait
from time import monotonic
from types import SimpleNamespace

import pytest
from modelled import Phase, Pod

import cgexec
from cgexec._adaptive import asking
from cgexec._adaptive.asking import Asks, sleeps
from cgexec._adaptive.projection import Projection
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
    assert asks.taken(13.9) == 1.0
    assert asks.taken(14.1) is None


def test_asks_before_the_work_began_do_not_count():
    asks = Asks()
    for number in range(8):
        asks.woke(10.0 + number / 10, 2)
    assert asks.taken(10.7, since=10.35) == 1.0
    assert asks.taken(10.7, since=10.45) is None


def test_the_last_ask_is_told():
    asks = Asks()
    assert not asks.was_taken()
    asks.woke(10.0, 2)
    assert asks.was_taken()
    asks.woke(10.1, 1)
    assert not asks.was_taken()


def grown(tasks, *, size=200, looks=20, **changes):
    """Return the size, and why it grew no further, of a pool of which so many tasks end in a tenth of a second."""
    bench = Bench(size, gil=True, cpus=1.0, ceiling=5000, **changes)
    for _ in range(looks):
        ended = tasks * bench.controller.size // size
        decision = bench.step(cpu=ended * 0.5e-3, ended=ended)
    return decision.size, decision.reason


def test_no_more_grow_than_may_ask_for_the_lock_at_once_when_a_quota_begins_again():
    size, reason = grown(400)
    assert size == 385
    assert "on the interpreter lock" in reason


def test_those_that_wait_for_long_are_not_ready_at_once():
    size, _ = grown(20)
    assert size > 1000
    size, _ = grown(100)
    assert 385 < size <= 770


def test_without_a_quota_nothing_runs_out():
    size, _ = grown(400, periods=None, throttled=None, queued=0.0)
    assert size > 385


def test_nothing_is_known_where_sleeps_are_not_counted():
    asks = Asks()
    for _ in range(8):
        asks.woke(10.0, 0)
    assert asks.taken(10.0) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the sleeps of a thread")
def test_a_thread_that_waits_has_slept():
    before = sleeps()
    threading.Event().wait(0.1)
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
    for _ in range(30):
        bench.step(cpu=1.0, ended=20, queued=0.2)
        sizes.append(bench.controller.size)
    assert max(sizes) == 8
    assert sizes[-1] == 1
    assert bench.controller.plateau


@pytest.mark.parametrize(("locked", "size"), [pytest.param(1.0, 1, id="taken"), pytest.param(0.2, 4, id="free")])
def test_fewer_are_tried_under_a_quota_of_one_cpu_where_the_lock_is_taken(locked, size):
    """Threads that hand it to one another between the machine's CPUs use no more than the quota, which never runs out."""
    bench = Bench(4, gil=True, locked=locked, cpus=1.0)
    for _ in range(30):
        bench.step(cpu=1.0, ended=20, queued=0.2)
    assert bench.controller.size == size


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


@pytest.mark.parametrize("size", [1, 8])
def test_at_the_least_allowed_it_is_known_that_more_would_bring_nothing(size):
    bench = Bench(size, gil=True, locked=1.0, floor=size)
    for _ in range(20):
        bench.step(cpu=1.0, ended=20, queued=0.1)
    assert (bench.controller.size, bench.controller.plateau) == (size, True)


def test_it_grows_where_the_lock_is_free_now_and_then():
    """Four in five: with one worker that waits a fifth of its time a second has room."""
    bench = Bench(1, gil=True, locked=0.8)
    sizes = []
    for _ in range(20):
        bench.step(cpu=0.9, ended=20)
        sizes.append(bench.controller.size)
    assert max(sizes) > 1


def test_what_others_compute_does_not_keep_a_pool_from_growing_until_the_lock_is_known():
    bench = Bench(gil=True, own_seconds=0.0)
    for _ in range(3):
        bench.step(cpu=1.0, ended=2 * bench.controller.size, own_seconds=bench.last.own_seconds + 0.005)
    assert bench.controller.size > 8


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


def on_trial(bench, **step):
    """Have a bench step so until a smaller size is on trial; return it."""
    before = bench.controller.size
    for _ in range(100):
        bench.step(**step)
        if bench.controller.size < before:
            return bench
    raise AssertionError("nothing was tried")


def test_few_that_leave_the_lock_unused_are_given_up_before_any_task_has_ended():
    bench = on_trial(Bench(gil=True, locked=0.9), cpu=1.0, ended=20, queued=0.2)
    reasons = [bench.step(cpu=0.25).reason for _ in range(4)]
    assert "2 workers used 0.25 CPUs, 8 used 1.00" in reasons
    assert bench.controller.size == 8


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
    for asks in (False, True):
        points = Pod(phases, **machine, asks=asks).run().points
        assert points[-1].size <= 3
        least[asks] = max(point.size for point in points)
    assert least[True] == 8
    assert least[False] > 8


def test_nothing_grows_before_it_is_known_whether_it_is_the_lock():
    """Where nobody ever knows, a second later as before."""
    bench = Bench(gil=True)
    first = [bench.step(cpu=1.0, ended=20).reason for _ in range(9)]
    assert set(first) == {"too early to tell how often the interpreter lock is taken"}
    assert bench.controller.size == 8
    for _ in range(2):
        bench.step(cpu=1.0, ended=20)
    assert bench.controller.size > 8


@pytest.mark.parametrize("cpu", [1.0, 1.25, 1.4])
def test_few_that_end_more_are_kept_though_they_use_less(cpu):
    """A thousand threads use more CPU time than there is of the lock, by handing it to one another."""
    bench = on_trial(Bench(50, gil=True, ceiling=50, locked=1.0, cpus=4.0), cpu=1.9, ended=20, queued=7.0)
    for _ in range(8):
        bench.step(cpu=cpu, ended=40)
    assert bench.controller.size <= 25


def test_few_whose_cpus_others_take_are_not_given_up_at_once():
    """They use less as they wait for a CPU, which says nothing about their number."""
    bench = on_trial(Bench(gil=True, locked=0.9), cpu=1.0, ended=20, queued=0.2)
    for _ in range(5):
        bench.step(cpu=0.6, queued=0.6)
    assert bench.controller.size == 2


def test_an_observed_pool_is_not_said_to_grow_where_the_lock_is_used_up():
    controller = Projection(8, 8, gil=True)
    bench = Bench(gil=True, locked=1.0)
    bench.controller = controller
    for _ in range(10):
        bench.step(cpu=1.0, ended=20, queued=0.2)
    assert (controller.size, controller.ring.all()[-1].reason) == (8, "the interpreter lock is used up")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_knows_nothing_of_its_parents_lock(monkeypatch):
    monkeypatch.setattr(ticker, "asks", Asks())
    for _ in range(8):
        ticker.asks.woke(monotonic(), 2)
    child = os.fork()
    if not child:
        os._exit(0 if ticker.asks.taken(monotonic()) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ticker.asks.taken(monotonic()) == 1.0


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_count_that_is_refused_is_none(monkeypatch, error):
    def refuse(_):
        raise error

    monkeypatch.setattr(asking, "_THREAD", 1)
    monkeypatch.setattr(asking, "resource", SimpleNamespace(getrusage=refuse))
    assert sleeps() == 0


@pytest.mark.parametrize(("locked", "cpu", "size"), [(1.0, 1.0, 2), (None, 1.0, 8), (1.0, 0.9, 8)])
def test_few_that_use_the_lock_up_are_kept_though_the_cpus_have_become_slower(locked, cpu, size):
    """Eight ended 200 a second, two end 160: a neighbour, or a CPU's clock."""
    bench = on_trial(Bench(gil=True, locked=locked), cpu=1.0, ended=20, queued=0.2)
    while bench.controller.ring.all()[-1].size == 2 and " did " not in bench.controller.ring.all()[-1].reason:
        bench.step(cpu=cpu, ended=16)
    assert bench.controller.size == size
    assert "did 0.80 times what 8 did" in bench.controller.ring.all()[-1].reason
