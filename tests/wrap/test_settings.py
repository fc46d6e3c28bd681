"""What wrap() is told, by arguments and by environment."""

import logging
import math
from concurrent import futures
from concurrent.futures import Executor

import pytest

import cgexec
from support import calls
from support.peers import InlineExecutor
from support.pools import SOON, holding


def threads(workers=2):
    return futures.ThreadPoolExecutor(workers)


@pytest.mark.parametrize(("workers", "in_flight"), [(1, 2), (2, 3), (4, 5), (8, 10), (40, 50)])
def test_a_quarter_more_than_its_workers_is_in_flight(workers, in_flight):
    with cgexec.wrap(threads(workers)) as pool:
        assert pool.stats().limit == in_flight
        assert f"by the {workers} workers of ThreadPoolExecutor" in pool.explain()


def test_one_that_does_not_tell_its_workers_gets_what_is_recommended():
    with cgexec.wrap(InlineExecutor()) as pool:
        assert pool.stats().limit == cgexec.recommend(kind="process").max_workers
        assert "terms (the least binds)" in pool.explain()


def test_the_number_given_beats_both_and_the_forced_one_beats_it(monkeypatch):
    with cgexec.wrap(threads(), max_in_flight=7) as pool:
        assert pool.stats().limit == 7
    monkeypatch.setenv("CGEXEC_FORCE_MAX_WORKERS", "3")
    with cgexec.wrap(threads(), max_in_flight=7) as pool:
        assert pool.stats().limit == 3
        pool.resize(5)
        assert pool.stats().limit == 3


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"max_in_flight": 0}, "max_in_flight must be greater than 0"),
        ({"max_in_flight": 1.5}, "max_in_flight=1.5: expected a whole number"),
        ({"when_full": "drop"}, "when_full='drop'"),
        ({"queue_size": -1}, "queue_size=-1"),
        ({"memory_per_task": "much"}, "memory_per_task: expected a quantity, got 'much'"),
    ],
)
def test_nonsense_is_refused(told, words):
    with threads() as inner, pytest.raises(ValueError, match=words):
        cgexec.wrap(inner, **told)


def test_a_context_is_carried_by_threads_only():
    with futures.ProcessPoolExecutor(1) as inner, pytest.raises(ValueError, match="copy_context=True"):
        cgexec.wrap(inner, copy_context=True)


@pytest.mark.parametrize("other", [None, object(), Executor])
def test_what_is_no_executor_is_refused(other):
    with pytest.raises(TypeError, match=r"needs a concurrent.futures.Executor, got"):
        cgexec.wrap(other)


def test_chunks_have_at_least_one_call():
    with cgexec.wrap(threads()) as pool, pytest.raises(ValueError, match="chunksize must be >= 1"):
        pool.map(abs, [1], chunksize=0)


def test_off_hands_everything_on_at_once(monkeypatch, caplog):
    monkeypatch.setenv("CGEXEC_MODE", "off")
    caplog.set_level(logging.INFO, "cgexec")
    with cgexec.wrap(threads(1), max_in_flight=1, queue_size=0, when_full="raise") as pool, holding(pool, 1) as hold:
        given = [pool.submit(calls.square, n) for n in range(50)]
        assert pool.executor._work_queue.qsize() == 50
        pool.resize(2)
        assert "passed over because of CGEXEC_MODE=off" in caplog.text
        hold.release()
        assert [future.result(SOON) for future in given] == [n * n for n in range(50)]
        assert (pool.stats().mode, pool.stats().queue_size) == ("off", math.inf)


def test_observe_counts_what_would_have_been_refused(monkeypatch):
    monkeypatch.setenv("CGEXEC_MODE", "observe")
    with cgexec.wrap(threads(1), max_in_flight=2, queue_size=3, when_full="raise") as pool, holding(pool, 1) as hold:
        given = [pool.submit(calls.square, n) for n in range(10)]
        assert pool.executor._work_queue.qsize() == 10
        hold.release()
        assert [future.result(SOON) for future in given] == [n * n for n in range(10)]
        assert pool.stats().would["rejected"] == 6
        assert pool.stats().would["limit"] == 2


def test_the_inner_executor_ends_with_it_unless_told_otherwise():
    inner = threads()
    with cgexec.wrap(inner, shutdown_inner=False) as pool:
        assert pool.submit(calls.square, 2).result(SOON) == 4
    assert inner.submit(calls.square, 3).result(SOON) == 9
    with cgexec.wrap(inner):
        pass
    with pytest.raises(RuntimeError):
        inner.submit(calls.square, 3)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_inner_executor_ends_when_it_is_drained_under_any_loop(backend):
    anyio = pytest.importorskip("anyio")
    pytest.importorskip(backend)
    import cgexec.anyio as on

    async def main(pool):
        assert await on.run(pool, pow, 2, 3) == 8
        assert [each async for each in on.stream(pool, abs, [-1, 2])] == [1, 2]
        assert not await on.drain(pool, SOON)

    inner, kept = threads(), threads()
    anyio.run(main, cgexec.wrap(inner), backend=backend)
    with pytest.raises(RuntimeError, match="after shutdown"):
        inner.submit(int)
    with kept:
        anyio.run(main, cgexec.wrap(kept, shutdown_inner=False), backend=backend)
        assert kept.submit(int).result(SOON) == 0


def test_a_running_call_in_a_thread_can_be_asked_to_end():
    def work():
        while True:
            cgexec.checkpoint()

    with cgexec.wrap(threads()) as pool, holding(pool, 1):
        future = pool.submit(work)
        while not future.running():
            pass
        assert cgexec.cancel(future)
        with pytest.raises(cgexec.TaskCancelled):
            future.result(SOON)


def test_a_running_call_in_a_process_cannot(tmp_path):
    meeting = calls.Meeting(tmp_path)
    with cgexec.wrap(futures.ProcessPoolExecutor(1)) as pool:
        (future,) = meeting.hand_in(pool)
        meeting.started(1)
        assert not cgexec.cancel(future)
        meeting.release()
        assert future.result(SOON) == 0


def test_a_call_that_runs_in_the_executors_own_submit_does_not_wait_for_itself():
    with cgexec.wrap(InlineExecutor(), max_in_flight=1, queue_size=0, submit_timeout=SOON) as pool:
        assert pool.submit(pool.submit, calls.square, 3).result(SOON).result(SOON) == 9


def test_a_call_in_a_thread_may_wait_for_what_it_submits():
    with cgexec.wrap(threads(2), queue_size=0) as pool:
        assert pool.submit(lambda: pool.submit(calls.square, 3).result(SOON)).result(SOON) == 9
        with pytest.raises(RuntimeError, match="cannot join current thread"):
            pool.submit(pool.shutdown).result(SOON)
