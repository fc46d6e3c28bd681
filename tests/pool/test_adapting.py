"""A pool whose size follows the load: who decides, how it is tied to the clock, what it says."""

import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import wait
from contextlib import suppress
from time import monotonic, process_time
from types import SimpleNamespace

import pytest

import cgexec
from cgexec._adaptive import bounds
from cgexec._memory.gauge import Reading
from cgexec._pool import ticker
from cgexec._pool.adapting import _pulse
from cgexec._pool.watch import watch
from support.pools import SOON, eventually, holding
from support.values import make_limits, make_usage

POD = {
    "limits": make_limits(cpus=2.0, cpu_quota=2.0, memory_bytes=4 << 30, memory_limit=4 << 30),
    "usage": make_usage(),
}


def names():
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("told", "adaptive", "limit", "least", "ceiling"),
    [
        pytest.param({}, True, 8, 1, 1000, id="nothing said"),
        pytest.param({"adaptive": True}, True, 8, 1, 1000, id="said"),
        pytest.param({"adaptive": False}, False, 8, None, None, id="fixed at the recommendation"),
        pytest.param({"max_workers": 5}, False, 5, None, None, id="an explicit number"),
        pytest.param({"max_workers": 5, "adaptive": False}, False, 5, None, None, id="an explicit number, said twice"),
        pytest.param({"max_workers": 50, "min_workers": 20, "adaptive": True}, True, 20, 20, 50, id="a range"),
        pytest.param({"max_workers": 3, "adaptive": True}, True, 3, 1, 3, id="less than recommended"),
        pytest.param({"min_workers": 12}, True, 12, 12, 1000, id="a least above the recommendation"),
        pytest.param({"io_ratio": 0.5}, True, 4, 1, 1000, id="a ratio moves the start, not the ceiling"),
    ],
)
def test_who_decides(told, adaptive, limit, least, ceiling):
    with cgexec.ThreadPoolExecutor(**told, **POD) as pool:
        seen = pool.stats()
    assert (seen.adaptive, seen.limit, seen.min_workers, seen.ceiling) == (adaptive, limit, least, ceiling)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"adaptive": "yes"}, "adaptive='yes': expected True, False, or None"),
        (
            {"adaptive": True, "max_workers": 4, "min_workers": 5},
            "min_workers=5 is more than the 4 workers of the pool",
        ),
        ({"adaptive": False, "min_workers": 9}, "min_workers=9 is more than the 8 workers of the pool"),
    ],
)
def test_nonsense_is_refused(told, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        cgexec.ThreadPoolExecutor(**told, **POD)


def test_waiting_tasks_get_workers_side_by_side():
    """Tasks that sleep, more than the pool begins with, none of which ends: growth is the only way they all start."""
    with cgexec.ThreadPoolExecutor(**POD) as pool, holding(pool) as hold:
        hold.queue(30)
        hold.started(30)
        seen = pool.stats()
        assert seen.limit >= 30
        assert seen.last_change.new > seen.last_change.old >= 8
        assert "tasks wait, and CPU is left" in seen.last_change.why


@pytest.fixture
def no_ticker(monkeypatch):
    """Keep the ticker away, as a thousand threads that want the interpreter lock would, for seconds but not for good."""
    monkeypatch.setattr(ticker, "call_at", lambda what, when: None)


def test_workers_look_where_nobody_else_comes_to_it(no_ticker):
    done = threading.Event()
    with cgexec.ThreadPoolExecutor(**POD) as pool:

        def task():
            if not done.wait(0.001):
                pool.submit(task)

        try:
            for _ in range(100):
                pool.submit(task)
            eventually(lambda: pool.stats().limit > 8)
        finally:
            done.set()


def test_the_first_look_decides(no_ticker):
    with cgexec.ThreadPoolExecutor(**POD) as pool, holding(pool) as hold:
        hold.queue(30)
        hold.started(8)
        adapter = pool._cgexec_pool.adapter
        adapter._woke = monotonic() - 0.1, process_time()
        adapter.tick(1e9)
        (decision,) = adapter.controller.ring.all()
        assert decision.size > 8
        hold.started(1)


def test_before_the_first_task_the_threads_of_a_pool_have_used_nothing(no_ticker, monkeypatch):
    """That is known, and the first look need not take all that the process used for theirs."""
    with cgexec.ThreadPoolExecutor(**POD) as pool, holding(pool) as hold:
        adapter, begun = pool._cgexec_pool.adapter, []
        monkeypatch.setattr(adapter.controller, "begin", begun.append)
        hold.queue(1)
        hold.started(1)
        adapter.tick(1e9)
        assert begun[0].own_seconds == 0.0


def test_a_look_that_fails_ends_no_worker(no_ticker, monkeypatch, caplog):
    failed, done = threading.Event(), threading.Event()
    with cgexec.ThreadPoolExecutor(**POD) as pool:

        def fail(sample):
            failed.set()
            raise MemoryError

        monkeypatch.setattr(pool._cgexec_pool.adapter.controller, "step", fail)

        def task():
            if not done.is_set():
                pool.submit(task)

        pool.submit(task)
        try:
            assert failed.wait(SOON)
        finally:
            done.set()
        assert pool.submit(int).result(SOON) == 0
    assert {record.message.partition("]")[0] for record in caplog.records} == {"[ticker-failed"}


def test_the_ticker_that_comes_after_a_worker_does_not_look_again(no_ticker, monkeypatch):
    with cgexec.ThreadPoolExecutor(**POD) as pool, holding(pool) as hold:
        hold.queue(1)
        hold.started(1)
        adapter, looks = pool._cgexec_pool.adapter, []
        look = adapter._look
        monkeypatch.setattr(adapter, "_look", lambda now: looks.append(now) or look(now))
        due = adapter.tick(1e9)
        assert adapter.tick(due - 0.01) == due
        assert len(looks) == 1


def test_a_worker_that_looks_has_the_ticker_come_again(monkeypatch):
    asked = []
    monkeypatch.setattr(ticker, "call_at", lambda what, when: asked.append((what, when)))
    with cgexec.ThreadPoolExecutor(memory_guard=False, **POD) as pool, holding(pool) as hold:
        hold.queue(1)
        hold.started(1)
        adapter = pool._cgexec_pool.adapter
        asked.clear()
        adapter.stand_in()
        assert asked == [(adapter, adapter._due)]
        assert adapter._due < adapter.late


def test_a_range_is_kept():
    with cgexec.ThreadPoolExecutor(12, min_workers=2, adaptive=True, **POD) as pool, holding(pool) as hold:
        hold.queue(20)
        hold.started(12)
        eventually(lambda: pool.stats().size_reason == "at the ceiling")
        assert pool.stats().limit == 12
        assert hold.nothing_started()


@pytest.mark.parametrize("when_full", ["block", "raise", "discard", "caller_runs"])
def test_without_a_queue_it_grows_by_those_who_are_turned_away(when_full):
    done = threading.Event()

    def submit():
        while not done.is_set():
            with suppress(cgexec.QueueFull):
                pool.submit(done.wait, 0.01)
            done.wait(0.001)

    with cgexec.ThreadPoolExecutor(40, adaptive=True, queue_size=0, when_full=when_full, **POD) as pool:
        submitters = [threading.Thread(target=submit) for _ in range(20)]
        for submitter in submitters:
            submitter.start()
        try:
            eventually(lambda: pool.stats().limit > 8)
        finally:
            done.set()
            for submitter in submitters:
                submitter.join()


def test_what_is_cancelled_before_it_ran_has_not_ended():
    with cgexec.ThreadPoolExecutor(**POD) as pool, holding(pool, 8) as hold:
        futures = hold.queue(300)
        hold.started(8)
        before = _pulse(pool._cgexec_pool.state).ended
        assert any(future.cancel() for future in futures)
        assert _pulse(pool._cgexec_pool.state).ended == before


def test_without_a_descriptor_the_bounds_stay(monkeypatch, caplog):
    """What cannot be read would seem to be no limit."""

    def refuse():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(bounds, "need_descriptor", refuse)
    with cgexec.ThreadPoolExecutor(**POD) as pool:
        adapter = pool._cgexec_pool.adapter
        before = adapter.bounds
        adapter._derive(8)
        assert adapter.bounds is before
    assert "[size-limits-unknown]" in caplog.text


@pytest.mark.parametrize("told", [{"max_workers": 8}, {"adaptive": False}], ids=["a number", "adaptive=False"])
def test_a_fixed_pool_is_never_looked_at_by_time(told):
    with cgexec.ThreadPoolExecutor(**told, memory_guard=False, **POD) as pool, holding(pool, 8) as hold:
        hold.queue(20)
        assert not [what for what in ticker._ticker.dues if type(what).__name__ == "Adapter"]
        assert pool.stats().limit == 8


def test_without_work_there_is_no_thread_and_work_wakes_it_again():
    pool = cgexec.ThreadPoolExecutor(memory_guard=False, **POD)
    assert "cgexec-ticker" not in names()
    for _ in range(2):
        with holding(pool) as hold:
            hold.queue(1)
            hold.started(1)
            eventually(lambda: "cgexec-ticker" in names())
        eventually(lambda: "cgexec-ticker" not in names())
    pool.shutdown()


def test_a_task_given_to_a_parked_worker_wakes_it_too():
    with cgexec.ThreadPoolExecutor(memory_guard=False, **POD) as pool:
        pool.submit(int).result(SOON)
        eventually(lambda: pool.stats().idle == 1 and "cgexec-ticker" not in names())
        with holding(pool) as hold:
            hold.queue(30)  # of which the first is handed over, and none ends
            hold.started(30)


def test_resize_fixes_the_size():
    with cgexec.ThreadPoolExecutor(**POD) as pool:
        pool.resize(3)
        with holding(pool, 3) as hold:
            hold.queue(5)
            seen = pool.stats()
            assert (seen.limit, seen.adaptive) == (3, False)


def test_resize_moves_the_end_of_a_range():
    with cgexec.ThreadPoolExecutor(50, adaptive=True, **POD) as pool:
        pool.resize(6)
        assert (pool.stats().limit, pool.stats().ceiling) == (6, 6)
        pool.resize(40)
        with holding(pool) as hold:
            hold.queue(60)
            hold.started(40)
            assert pool.stats().limit == 40


def test_explain_says_why_it_did_not_grow():
    with cgexec.ThreadPoolExecutor(4, adaptive=True, **POD) as pool, holding(pool) as hold:
        assert "nothing was decided yet" in pool.explain()
        hold.queue(9)
        hold.started(4)
        eventually(lambda: "stays at 4, at the ceiling" in pool.explain())
        assert "the size follows the load, from 1 to 4 workers" in pool.explain()
        assert "waiting" in pool.explain()


@pytest.mark.parametrize(("cpus", "said"), [(2.0, True), (0.5, False)])
def test_explain_says_what_only_processes_can_use_while_there_is_work(cpus, said):
    """What the lock is found by has tests of its own (adaptive/test_lock.py)."""
    with cgexec.ThreadPoolExecutor(
        4, adaptive=True, **POD | {"limits": make_limits(cpus=cpus, cpu_quota=cpus)}
    ) as pool:
        controller = pool._cgexec_pool.adapter.controller
        with holding(pool) as hold:
            hold.queue(9)
            hold.started(4)
            eventually(lambda: "stays at 4" in pool.explain())
            assert "only processes" not in pool.explain()
            controller.plateau = True
            assert ("only processes can use (cgexec.wrap)" in pool.explain()) == said
        eventually(lambda: "only processes" not in pool.explain())


@pytest.mark.parametrize(("taken", "crowded"), [(0.4, False), (0.6, True)])
def test_what_is_known_of_the_lock_reaches_controller_and_profile(monkeypatch, taken, crowded):
    """Four tasks that wait, on two CPUs: they use no CPU, so they are crowded only if they wait for the lock."""
    samples, crowds = [], []
    asks = SimpleNamespace(taken=lambda now, since: taken, was_taken=lambda: False, woke=lambda now, slept: None)
    monkeypatch.setattr(ticker, "asks", asks)
    with cgexec.ThreadPoolExecutor(4, adaptive=True, **POD) as pool:
        adapter = pool._cgexec_pool.adapter
        adapter._gil = True  # also in a build without
        step, feed = adapter.controller.step, adapter.profiler.feed
        monkeypatch.setattr(adapter.controller, "step", lambda sample: samples.append(sample) or step(sample))

        def fed(*at, crowded, **told):
            crowds.append(crowded)
            feed(*at, crowded=crowded, **told)

        monkeypatch.setattr(adapter.profiler, "feed", fed)
        with holding(pool) as hold:
            hold.queue(9)
            hold.started(4)
            eventually(lambda: len(crowds) >= 4)
    assert {sample.locked for sample in samples} == {taken}
    assert crowds[-1] == crowded


def in_process(code, **environ):
    env = {**{name: value for name, value in os.environ.items() if not name.startswith("CGEXEC_")}, **environ}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOADED = """
import json, threading, cgexec
started, release = threading.Semaphore(0), threading.Event()
def task():
    started.release()
    release.wait(30)
pool = cgexec.ThreadPoolExecutor({told})
futures = [pool.submit(task) for _ in range(100)]
for _ in range({wait}):
    assert started.acquire(timeout=20)
import time
end = time.monotonic() + 20
while not ({until}) and time.monotonic() < end:
    time.sleep(0.01)
seen = pool.stats()
release.set()
pool.shutdown()
print(json.dumps([seen.limit, seen.adaptive, dict(seen.would)]))
"""


def test_a_forced_number_is_fixed():
    code = LOADED.format(told="adaptive=True", wait=3, until="True")
    assert in_process(code, CGEXEC_FORCE_MAX_WORKERS="3")[:2] == [3, False]


def test_observing_changes_nothing_and_says_what_it_would_do():
    code = LOADED.format(told="", wait=1, until='pool.stats().would["limit"] > 12')
    limit, adaptive, would = in_process(code, CGEXEC_MODE="observe", CGEXEC_CPUS="3")
    assert limit == min(32, (os.process_cpu_count() if sys.version_info >= (3, 13) else os.cpu_count()) + 4)
    assert adaptive
    assert would["limit"] > 12


def test_switched_off_there_is_nothing_to_follow():
    _, adaptive, _ = in_process(LOADED.format(told="", wait=1, until="True"), CGEXEC_MODE="off")
    assert not adaptive


def burn(seconds):
    """Use so much CPU time, however long that takes."""
    import time

    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_the_profile_of_work_that_computes():
    with cgexec.ThreadPoolExecutor(1, adaptive=True, **POD) as pool:
        pool.submit(burn, 2.0).result(60)
        seen = pool.profile()
    assert seen.samples >= 3
    assert seen.functions["burn"].io_ratio == seen.io_ratio
    assert cgexec.recommend(**seen.as_kwargs(), **POD).max_workers < 8


def test_the_profile_leaves_out_the_time_without_work():
    with cgexec.ThreadPoolExecutor(1, adaptive=True, memory_guard=False, **POD) as pool:
        adapter = pool._cgexec_pool.adapter
        pool.submit(burn, 0.3).result(SOON)
        eventually(lambda: adapter._rest is not None and adapter._rest.ended == 1)
        rest = adapter._rest
        assert adapter.profiler._last == {}
        begun = []
        begin = adapter.controller.begin
        adapter.controller.begin = lambda sample: begun.append(sample) or begin(sample)
        pool.submit(burn, 0.3).result(SOON)
        eventually(lambda: adapter._rest is not None and adapter._rest.ended == 2)
    (sample,) = begun
    assert sample.ended == rest.ended == 1
    assert sample.time > rest.time
    assert sample.cpu_seconds > 0


def test_the_profile_of_work_that_waits_closes_the_circle():
    release = threading.Event()

    def hold_on():
        release.wait(SOON)

    with cgexec.ThreadPoolExecutor(**POD) as pool:
        for _ in range(12):
            pool.submit(hold_on)
        # On a busy machine a look may find CPUs or the interpreter lock taken, by others.
        eventually(lambda: pool.profile().io_ratio is not None and not pool.profile().crowded)
        release.set()
    seen = pool.profile()
    assert seen.io_ratio > 0.9
    assert cgexec.recommend(**seen.as_kwargs(), **POD).max_workers > 20
    assert [name for name in seen.functions if name.endswith("hold_on")]


@pytest.mark.parametrize("seen", [True, False], ids=["by a look at what runs", "by what has just ended"])
def test_a_profile_is_of_the_functions_of_its_own_pool(seen, monkeypatch):
    def work(event):
        return event.wait(SOON)

    def other(event):
        return event.wait(SOON)

    reading = Reading(1 << 20, 1 << 30, "memory.max", None, 1, 0)
    monkeypatch.setattr(watch().planner, "reading", reading)  # so that it is forgotten afterwards
    monkeypatch.setattr(watch().gauge, "read", lambda *_, **__: reading)
    event = threading.Event()
    if not seen:
        event.set()
    with cgexec.ThreadPoolExecutor(1, **POD) as one, cgexec.ThreadPoolExecutor(1, **POD) as two:
        futures = [one.submit(work, event), two.submit(other, event)]
        if seen:
            eventually(lambda: one.stats().running == two.stats().running == 1)
            watch().look()
            event.set()
        wait(futures, SOON)
        eventually(lambda: one.stats().idle == two.stats().idle == 1)
        watch().look()
        names = [[name.rpartition(".")[2] for name in pool.profile().functions] for pool in (one, two)]
    assert names == [["work"], ["other"]]


def test_a_fixed_pool_has_the_profile_of_its_totals():
    with cgexec.ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(burn, 0.15) for _ in range(6)]:
            future.result(60)
        eventually(lambda: pool.stats().idle == 2)
        seen = pool.profile()
    assert seen.crowded
    assert seen.io_ratio is not None


def test_an_empty_profile_says_nothing():
    with cgexec.ThreadPoolExecutor(2, memory_guard=False) as pool:
        assert pool.profile().as_kwargs() == {}
    assert cgexec.Profile().cpu_per_task is None


def test_the_bounds_do_not_move_with_the_pools_own_use():
    from cgexec._adaptive.bounds import without_own

    before = make_usage(process_bytes=50 << 20, pids=10, pids_headroom=90, headroom_bytes=1 << 30)
    grown = make_usage(process_bytes=450 << 20, pids=40, pids_headroom=60, headroom_bytes=(1 << 30) - (400 << 20))
    seen = without_own(grown, before, 30)
    assert (seen.process_bytes, seen.pids, seen.pids_headroom) == (50 << 20, 10, 90)
    assert seen.headroom_bytes == 1 << 30
