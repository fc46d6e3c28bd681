"""Between two tasks nobody looks at memory for long, and the next task is looked after all the same."""

import threading

import pytest

import cgexec
from cgexec._memory import planner
from cgexec._memory.gauge import Gauge
from cgexec._pool import ticker
from cgexec._pool.watch import Watch, watch
from cgexec.testing import Container, clock, inside
from support.pools import SOON, eventually, holding


def task(may_end):
    assert may_end.wait(SOON)


@pytest.fixture
def now():
    with clock() as moved:
        yield moved


@pytest.fixture
def box(tmp_path, now):
    box = Container(tmp_path, memory="1Gi", used="100Mi")
    with inside(box):
        yield box


def fall_asleep(now, pool):
    """Have a pool learn that a task is small, and do nothing for so long that nobody looks any more."""
    free = threading.Event()
    free.set()
    for _ in range(2):
        pool.submit(task, free).result(SOON)
    eventually(lambda: (now.advance(1), not ticker.expects(watch()))[1])
    return free


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_long_call_that_an_idle_pool_is_given_is_looked_after(now, box, monkeypatch, mode):
    monkeypatch.setenv("CGEXEC_MODE", mode)
    with cgexec.ThreadPoolExecutor(1, adaptive=False) as pool:
        fall_asleep(now, pool)
        may_end = threading.Event()
        future = pool.submit(task, may_end)
        eventually(future.running)
        box.change(used="500Mi")
        now.advance(2)
        may_end.set()
        assert watch().reading.used == 500 << 20


def test_what_memory_was_before_a_long_pause_lets_nothing_start(now, box):
    with cgexec.ThreadPoolExecutor(1, memory_per_task="200Mi") as pool:
        free = fall_asleep(now, pool)
        box.change(used="1000Mi")
        future = pool.submit(task, free)
        eventually(lambda: pool.stats().held_for is not None)
        assert not future.done()
        box.change(used="100Mi")
        eventually(lambda: (now.advance(1), future.done())[1])


def test_calls_one_after_another_are_not_looked_at_one_by_one(now, box, monkeypatch):
    """Each finds the pool idle. A look that takes a second is not worth another one within the next tenths."""
    read, looks = Gauge.read, []

    def slow(*args, **kwargs):
        now._ahead += 1.0
        looks.append(now.monotonic())
        return read(*args, **kwargs)

    with cgexec.ThreadPoolExecutor(1, adaptive=False) as pool:
        free = fall_asleep(now, pool)
        monkeypatch.setattr(Gauge, "read", slow)
        for _ in range(100):
            pool.submit(task, free).result(SOON)
    assert len(looks) < 50


@pytest.mark.parametrize("running", [0, 1])
def test_a_limit_that_was_set_while_the_workers_were_idle_holds_for_what_they_are_given(now, tmp_path, running):
    box = Container(tmp_path, used="900Mi")
    with inside(box), cgexec.ThreadPoolExecutor(8, memory_per_task="200Mi", adaptive=False) as pool:
        with holding(pool, 8):
            pass
        eventually(lambda: pool.stats().idle == 8)
        with holding(pool, running) as hold:
            box.change(memory="1Gi")
            now.advance(2)
            hold.queue(7)
            eventually(lambda: pool.stats().held_for is not None)
            assert pool.stats().running <= 1


def test_without_a_limit_calls_one_after_another_have_hardly_a_look(now, tmp_path, monkeypatch):
    read, looks = Gauge.read, []
    with inside(Container(tmp_path)), cgexec.ThreadPoolExecutor(1, adaptive=False) as pool:
        monkeypatch.setattr(Gauge, "read", lambda *args, **kwargs: (looks.append(1), read(*args, **kwargs))[1])
        for _ in range(100):
            pool.submit(int).result(SOON)
            now._ahead += 0.1
        assert not ticker.expects(watch())
    assert len(looks) < 50


def test_a_look_that_fails_after_it_gave_a_pool_its_budget_still_calls_who_may_start(now, box, monkeypatch):
    box.change(memory="4Gi")
    with cgexec.ThreadPoolExecutor(2, memory_per_task="500Mi", adaptive=False) as pool:
        with holding(pool, 2):
            pass
        eventually(lambda: pool.stats().idle == 2)
        box.change(memory="1Gi")  # one fits
        now.advance(2)
        with holding(pool, 1) as hold:
            (held,) = hold.queue(1)
            eventually(lambda: (pool.stats().held_for is not None, pool.stats().idle) == (True, 1))
            look_again, failing = Watch._look_again, [True]

            def fails_once(self, pools, *args, **kwargs):
                if failing and not pools[0].crew.state.held:
                    failing.clear()
                    raise MemoryError
                look_again(self, pools, *args, **kwargs)

            monkeypatch.setattr(Watch, "_look_again", fails_once)
            box.change(memory="4Gi")
            eventually(lambda: (now.advance(1), held.running())[1])
            assert not failing
            assert hold.futures[0].running(), "or it was its worker that took the other up"


def test_nobody_looks_by_time_where_another_has_looked_meanwhile(now, box, monkeypatch):
    looks = []
    may_end = threading.Event()
    with cgexec.ThreadPoolExecutor(1, adaptive=False) as pool:
        future = pool.submit(task, may_end)
        eventually(future.running)
        watch().look()
        due = watch().due
        with monkeypatch.context() as patched:
            patched.setattr(Watch, "look", lambda *_: looks.append(1))
            assert (watch().tick(due - 0.001), looks) == (due, [])
            watch().tick(due)
        assert looks == [1]
        may_end.set()


def test_of_a_function_that_nobody_knows_few_start_though_all_would_fit_with_what_is_assumed(
    now, tmp_path, monkeypatch
):
    monkeypatch.setattr(planner, "_SHOWS_S", 6 * SOON)  # none has been running for long enough to show what it takes
    may_end = threading.Event()
    with inside(Container(tmp_path, memory="4Gi", used="100Mi")), cgexec.ThreadPoolExecutor(32) as pool:
        futures = [pool.submit(task, may_end) for _ in range(32)]
        eventually(lambda: pool.stats().running == 7)
        eventually(lambda: (now.advance(1), pool.stats().held_for is not None)[1])
        assert pool.stats().running == 7
        may_end.set()
        for future in futures:
            future.result(SOON)
