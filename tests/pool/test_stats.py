"""What a pool says of itself: numbers, an explanation, a repr."""

import functools
import math
from dataclasses import FrozenInstanceError

import pytest

import cgexec
from cgexec._memory.footprints import Footprints
from cgexec._memory.gauge import Reading
from cgexec._pool.watch import watch
from support.pools import SOON, eventually, holding
from support.values import make_limits, make_usage


def test_the_accounts_are_closed():
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool:
        given = [pool.submit(int, text) for text in ("1", "x", "2", "y", "3")]
        assert [future.exception(SOON) is None for future in given] == [True, False, True, False, True]
        eventually(lambda: pool.stats().running == 0)
        with holding(pool, 2) as hold:
            waiting = hold.queue(3)
            waiting[0].cancel()
            seen = pool.stats()
            assert (seen.completed, seen.failed, seen.cancelled) == (3, 2, 1)
            assert (seen.running, seen.waiting, seen.workers, seen.idle) == (2, 2, 2, 0)
            assert seen.submitted == 10
            assert (seen.name, seen.mode, seen.limit, seen.queue_size) == ("jobs", "enforce", 2, 1024)
    assert pool.stats().submitted == 10
    assert pool.stats().closed == "cannot schedule new futures after shutdown"


def test_it_names_what_runs_longest_and_what_waits_longest():
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool) as hold:
        pool.submit(functools.partial(hold.task))
        hold.started(1)
        hold.queue(2)
        seen = pool.stats()
        assert seen.longest_running_function == "support.pools.Hold.task"
        assert seen.longest_running > seen.oldest_waiting > 0
        assert seen.estimated_wait > 0


def test_an_idle_pool_has_nothing_of_that():
    with cgexec.ThreadPoolExecutor(1) as pool:
        seen = pool.stats()
        assert (seen.longest_running, seen.longest_running_function, seen.oldest_waiting) == (None, None, None)
        assert seen.estimated_wait == 0


def test_how_long_a_task_waits_is_unknown_until_something_ran():
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1) as hold:
        hold.queue(4)
        (worker,) = pool._cgexec_pool.state.staff
        worker.since -= 100
        # Each has to wait for those before it, as long as the running one has been running.
        assert pool.stats().estimated_wait == pytest.approx(500, rel=0.1)


def burn():
    return sum(range(3_000_000))


def test_cpu_time_is_sampled_and_task_time_is_not():
    with cgexec.ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            pool.submit(burn).result(SOON)
        eventually(lambda: pool.stats().running == 0)
        seen = pool.stats()
        assert 0 < seen.cpu_seconds <= seen.task_seconds * 1.5 + 0.2


def test_stats_are_a_value():
    with cgexec.ThreadPoolExecutor(1) as pool:
        seen = pool.stats()
        with pytest.raises(FrozenInstanceError):
            seen.running = 5
        assert hash(seen) is not None


def test_a_task_may_look():
    with cgexec.ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: pool.stats().running).result(SOON) == 1


def test_the_repr_shows_the_essentials():
    with cgexec.ThreadPoolExecutor(2, queue_size=5, name="jobs") as pool, holding(pool, 2) as hold:
        hold.queue(3)
        assert repr(pool) == "<cgexec.ThreadPoolExecutor 'jobs': 2 of 2 running, 3 of 5 waiting>"
        pool.shutdown(wait=False)
        assert repr(pool).endswith("3 of 5 waiting, closed>")
    unbounded = cgexec.ThreadPoolExecutor(1, queue_size=math.inf, thread_name_prefix="net")
    assert repr(unbounded) == "<cgexec.ThreadPoolExecutor 'net': 0 of 1 running, 0 waiting>"


def test_it_explains_a_fixed_size():
    with cgexec.ThreadPoolExecutor(3, name="jobs") as pool:
        assert pool.explain().split("\n") == [
            "pool 'jobs': 3 workers, by max_workers=3",
            "  0 running, 0 idle, 0 waiting (1024 places)",
        ]
        pool.resize(5)
        assert "by resize(5)" in pool.explain()
        assert "last change: 3 -> 5, resize(5)" in pool.explain()


def test_it_explains_a_size_that_was_computed():
    limits = make_limits(cpus=2.0, cpu_quota=2.0, memory_bytes=4 << 30, memory_limit=4 << 30)
    with cgexec.ThreadPoolExecutor(cpu_per_task=0.1, limits=limits, usage=make_usage()) as pool:
        assert pool.stats().limit == 20
        text = pool.explain()
        assert "20 workers, by cgexec.recommend()" in text
        assert "<- binds" in text


def test_tools_find_the_names_they_read():
    with cgexec.ThreadPoolExecutor(2) as pool, holding(pool, 2) as hold:
        hold.queue(3)
        assert pool._max_workers == 2
        assert len(pool._threads) == 2
        assert pool._work_queue.qsize() == 3
        assert not pool._work_queue.empty()
        assert (pool._broken, pool._shutdown) == (False, False)
        pool.shutdown(wait=False)
        assert pool._shutdown


def test_functions_of_one_name_are_all_shown(monkeypatch):
    footprints = Footprints()
    for anchor, calls in ((object(), 3), (object(), 5)):
        footprints.get(anchor, "work").ended(calls)
    monkeypatch.setattr(watch().planner, "footprints", footprints)
    monkeypatch.setattr(watch().planner, "reading", Reading(1 << 20, 1 << 30, "memory.max", None, 1, 0))
    with cgexec.ThreadPoolExecutor(2) as pool:
        for each in footprints:
            pool._cgexec_pool.crew.saw(each)
        seen = pool.stats().footprints
        known = pool.profile().functions
    assert {name: each.samples for name, each in seen.items()} == {"work": 3, "work (2)": 5}
    assert {name: each.samples for name, each in known.items()} == {"work": 3, "work (2)": 5}
