"""A pool through its life: resized, idle, drained; tasks that wait or run too long; tasks asked to end."""

import gc
import logging
import math
import threading
import weakref
from concurrent.futures import CancelledError, Future

import pytest

import cgexec
from cgexec import testing
from cgexec._pool import endings, overdue, ticker
from cgexec._pool.beginning import background
from support.pools import SOON, Hold, eventually, holding


def test_a_pool_that_grows_takes_up_what_waits():
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1) as hold:
        hold.queue(3)
        pool.resize(4)
        hold.started(3)
        assert pool.stats().running == 4


def test_a_pool_that_shrinks_lets_running_tasks_finish():
    with cgexec.ThreadPoolExecutor(4) as pool, holding(pool, 4) as hold:
        pool.resize(1)
        waiting = hold.queue(2)
        assert pool.stats().running == 4
        hold.release()
        assert [future.result(SOON) for future in waiting] == ["held", "held"]
        eventually(lambda: pool.stats().workers == 1)
        change = pool.stats().last_change
        assert (change.old, change.new, change.why) == (4, 1, "resize(1)")


def test_idle_surplus_threads_leave_at_once():
    with cgexec.ThreadPoolExecutor(4) as pool:
        with holding(pool, 4):
            pass
        eventually(lambda: pool.stats().idle == 4)
        pool.resize(2)
        eventually(lambda: len(pool._threads) == 2)
        assert pool.submit(int).result(SOON) == 0


def test_the_default_number_of_places_follows_the_size_and_a_given_one_does_not():
    with cgexec.ThreadPoolExecutor(1) as pool, cgexec.ThreadPoolExecutor(1, queue_size=7) as told:
        pool.resize(100)
        told.resize(100)
        assert (pool.stats().queue_size, told.stats().queue_size) == (3200, 7)


def test_a_known_trick_resizes_it_too():
    with cgexec.ThreadPoolExecutor(1) as pool:
        pool._max_workers = 3
        assert pool.stats().limit == pool._max_workers == 3


@pytest.mark.parametrize("limit", [0, -1, 2.5, "4", None, True])
def test_a_wrong_size_is_refused(limit):
    with cgexec.ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="max_workers"):
        pool.resize(limit)


def test_idle_threads_retire_down_to_the_least_and_come_back():
    with cgexec.ThreadPoolExecutor(4, idle_timeout=0.01, min_workers=2) as pool:
        for _ in range(2):
            with holding(pool, 4):
                assert pool.stats().workers == 4
            eventually(lambda: pool.stats().workers == 2)
            eventually(lambda: len(pool._threads) == 2)


def test_threads_of_an_explicit_number_stay():
    with cgexec.ThreadPoolExecutor(2) as pool:
        assert pool._cgexec_pool.crew.idle_timeout is None
    with cgexec.ThreadPoolExecutor() as pool:
        assert pool._cgexec_pool.crew.idle_timeout == 60


def test_submits_that_race_with_retirement_lose_nothing():
    with cgexec.ThreadPoolExecutor(2, idle_timeout=0) as pool:
        for number in range(500):
            assert pool.submit(abs, -number).result(SOON) == number


def test_drain_waits_and_leaves_nothing():
    pool = cgexec.ThreadPoolExecutor(2)
    given = [pool.submit(pow, 2, n) for n in range(50)]
    left = pool.drain(SOON)
    assert not left
    assert (left.unstarted, left.running) == ((), ())
    assert all(future.done() for future in given)
    assert not any(thread.is_alive() for thread in pool._threads)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(int)


def test_drain_returns_what_was_left_with_its_calls_and_ages():
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool, holding(pool, 1) as hold:
        waiting = pool.submit(int, "ff", base=16)
        left = pool.drain(0.01)
        assert left
        (unstarted,), (running,) = left.unstarted, left.running
        assert (unstarted.fn, unstarted.args, unstarted.kwargs) == (int, ("ff",), {"base": 16})
        assert unstarted.future is waiting
        assert waiting.cancelled()
        assert running.future is hold.futures[0]
        assert running.function.endswith("Hold.task")
        assert running.thread == "jobs_0"
        assert 0 < unstarted.waited_seconds <= running.seconds


def test_drain_by_a_worker_of_the_pool_is_refused():
    with cgexec.ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="would wait for itself"):
        pool.submit(pool.drain).result(SOON)


@pytest.mark.parametrize("method", ["shutdown", "drain"])
def test_nobody_waits_for_the_end_of_a_pool_on_the_clocks_thread(method):
    raised = []

    def end(_):
        with pytest.raises(RuntimeError, match="works for this pool, and would wait for itself") as caught:
            getattr(pool, method)()
        raised.append(caught)

    with testing.clock() as clock, cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1):
        pool.options(queue_timeout=60).submit(int).add_done_callback(end)
        clock.advance(60)
        assert raised


def test_what_waits_longer_than_its_time_is_dropped():
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool, holding(pool, 1) as hold:
        late = pool.options(queue_timeout=0.01).submit(pow, 2, 3)
        patient = pool.submit(pow, 2, 4)
        with pytest.raises(
            TimeoutError, match=r"pow waited .* longer than queue_timeout=0.01; 1 of 1 workers of pool 'jobs'"
        ):
            late.result(SOON)
        assert pool.stats().expired == 1
        hold.release()
        assert patient.result(SOON) == 16


def test_the_time_that_its_submitter_was_blocked_counts_as_waited():
    with testing.clock() as clock, cgexec.ThreadPoolExecutor(1, queue_size=1) as pool, holding(pool, 1) as hold:
        (before,), late = hold.queue(1), []
        submitter = threading.Thread(target=lambda: late.append(pool.options(queue_timeout=60).submit(int)))
        submitter.start()
        eventually(lambda: pool.stats().blocked == 1)
        clock.advance(40)
        before.cancel()
        submitter.join(SOON)
        clock.advance(20)
        assert isinstance(late[0].exception(0), TimeoutError)


def test_a_task_may_end_before_its_time_out_is_noted(monkeypatch):
    def expect(state, task, timeout):
        gate.set()
        noted.append((timeout, task.result(SOON)))
        return real(state, task, timeout)

    real, noted, gate = endings.expect, [], threading.Event()
    monkeypatch.setattr(endings, "expect", expect)
    with cgexec.ThreadPoolExecutor(1) as pool:
        assert pool.options(queue_timeout=3600).submit(gate.wait, SOON).result(SOON)
    assert noted == [(3600, True)]


def test_one_cancelled_while_it_is_dropped_counts_as_what_its_future_says(monkeypatch):
    def cancelled_meanwhile(state, pool, now, task):
        Future.cancel(task)  # as `cancel` begins, before it asks for the pool's lock
        return TimeoutError()

    monkeypatch.setattr(overdue, "_expired", cancelled_meanwhile)
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1):
        late = pool.options(queue_timeout=0.01).submit(int)
        with pytest.raises(CancelledError):
            late.result(SOON)
        eventually(lambda: (pool.stats().expired, pool.stats().cancelled) == (0, 1))


def test_what_starts_in_time_is_not_dropped():
    with cgexec.ThreadPoolExecutor(1) as pool:
        view = pool.options(queue_timeout=60)
        assert [view.submit(abs, -n).result(SOON) for n in range(10)] == list(range(10))
        assert pool.stats().expired == 0
        assert len(pool._cgexec_pool.state.expiring) <= 2  # what has started is not kept


def test_of_many_different_time_outs_the_dead_are_never_more_than_the_living():
    with cgexec.ThreadPoolExecutor(1, queue_size=math.inf) as pool:
        for number in range(2000, 1000, -1):  # each is due before the others
            pool.options(queue_timeout=number).submit(int).result(SOON)
        assert len(pool._cgexec_pool.state.expiring) <= 65
        with holding(pool, 1):
            futures = [pool.options(queue_timeout=number).submit(int) for number in range(2000, 1000, -1)]
            for future in futures[::2]:
                future.cancel()
            assert 500 <= len(pool._cgexec_pool.state.expiring) <= 1065
            for _ in range(600):
                pool.options(queue_timeout=900).submit(int).cancel()
            assert 500 <= len(pool._cgexec_pool.state.expiring) <= 1002
    assert len(pool._cgexec_pool.state.expiring) == 0


def test_a_closed_pool_still_minds_the_time_of_what_waits():
    with testing.clock() as clock:
        pool = cgexec.ThreadPoolExecutor(1)
        with holding(pool, 1):
            late, later = (pool.options(queue_timeout=seconds).submit(int) for seconds in (60, 90))
            pool.shutdown(wait=False)
            clock.advance(70)
            assert isinstance(late.exception(0), TimeoutError)
            assert not later.done()
        pool.shutdown()
        assert later.result(0) == 0


def test_a_dropped_task_makes_room_for_the_next():
    with cgexec.ThreadPoolExecutor(1, queue_size=1) as pool, holding(pool, 1):
        late = pool.options(queue_timeout=0.01).submit(int)
        patient = []
        submitter = threading.Thread(target=lambda: patient.append(pool.submit(int)))
        submitter.start()
        submitter.join(SOON)
        assert isinstance(late.exception(SOON), TimeoutError)
        assert pool.stats().waiting == 1


def test_what_runs_longer_than_it_should_is_counted_and_logged_once_with_its_stack(caplog):
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool:
        hold = Hold(pool)
        future = pool.options(run_timeout=0.01).submit(hold.task)
        eventually(lambda: pool.stats().overdue == 1)
        eventually(lambda: caplog.records)
        pool._cgexec_pool.crew.tick(1e12)  # however often somebody looks
        assert pool.stats().overdue == 1
        assert pool.stats().running == 1
        hold.release()
        assert future.result(SOON) == "held"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert "Hold.task has been running for" in text
    assert "it keeps its worker (jobs_0) until it ends" in text
    assert "self._release.wait(SOON)" in text  # its stack


def test_a_look_at_what_is_overdue_keeps_nothing_of_any_thread(caplog):
    class Local:
        pass

    def run(hold):
        local = Local()
        seen.append(weakref.ref(local))
        return hold.task()

    seen = []
    gc.disable()  # what is kept by a cycle is kept
    try:
        with cgexec.ThreadPoolExecutor(2) as pool:
            hold = Hold(pool)
            pool.submit(run, hold)
            pool.options(run_timeout=0.01).submit(run, hold)
            hold.started(2)
            eventually(lambda: caplog.records)
            hold.release()
        eventually(lambda: [each() for each in seen] == [None, None])
    finally:
        gc.enable()


def test_time_outs_leave_no_thread_behind():
    with cgexec.ThreadPoolExecutor(1) as pool:
        pool.options(run_timeout=3600, queue_timeout=3600).submit(int).result(SOON)
    eventually(lambda: ticker._ticker.thread is None)


@pytest.mark.parametrize("wrong", [-1, "5", True, float("nan")])
def test_wrong_times_are_refused(wrong):
    with cgexec.ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="queue_timeout"):
        pool.options(queue_timeout=wrong)


def looping(started, again):
    started.set()
    while again.wait(SOON):
        cgexec.checkpoint()


def test_a_running_task_that_is_asked_ends_at_its_next_checkpoint():
    started, again = threading.Event(), threading.Event()
    with cgexec.ThreadPoolExecutor(1) as pool:
        future = pool.submit(looping, started, again)
        assert started.wait(SOON)
        assert cgexec.cancel(future)
        again.set()
        with pytest.raises(cgexec.TaskCancelled):
            future.result(SOON)
        assert isinstance(future.exception(), CancelledError)
        eventually(lambda: pool.stats().cancelled == 1)
        assert pool.stats().failed == 0
        assert not cgexec.cancel(future)  # it has ended


def test_a_task_that_has_not_started_is_cancelled():
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1) as hold:
        (waiting,) = hold.queue(1)
        assert cgexec.cancel(waiting)
        assert waiting.cancelled()


def test_a_future_of_another_pool_is_cancelled_as_far_as_it_can_be():
    future = Future()
    assert cgexec.cancel(future)
    assert future.cancelled()
    with pytest.raises(TypeError, match=r"needs the concurrent.futures.Future that submit\(\) returned, got str"):
        cgexec.cancel("future")


def test_a_checkpoint_elsewhere_does_nothing():
    cgexec.checkpoint()
    with cgexec.ThreadPoolExecutor(1) as pool:
        assert pool.submit(cgexec.checkpoint).result(SOON) is None


def test_a_task_run_by_its_submitter_has_checkpoints_too():
    def asked():
        (task,) = pool._cgexec_pool.state.inline
        assert cgexec.cancel(task)
        cgexec.checkpoint()

    with cgexec.ThreadPoolExecutor(1, queue_size=0, when_full="caller_runs") as pool, holding(pool, 1):
        future = pool.submit(asked)
        assert isinstance(future.exception(timeout=0), cgexec.TaskCancelled)
        assert pool.stats().cancelled == 1


def refusing_start(refused):
    start = threading.Thread.start

    def patched(thread):
        if thread.name.startswith("jobs_") and refused():
            raise RuntimeError("can't start new thread")
        start(thread)

    return patched


def test_a_refused_thread_loses_no_task(monkeypatch, caplog):
    # The real limit is tried in tests/lab; here the second thread is refused at a known moment.
    allowed = iter([False, True])
    monkeypatch.setattr(threading.Thread, "start", refusing_start(lambda: next(allowed, False)))
    with cgexec.ThreadPoolExecutor(4, name="jobs") as pool, holding(pool, 1) as hold:
        waiting = hold.queue(1)
        assert (pool.stats().limit, pool.stats().waiting) == (1, 1)
        assert "1 for now" in pool.explain()
        pool._cgexec_pool.crew.tick(0)  # a second later
        hold.started(1)
        hold.release()
        assert waiting[0].result(SOON) == "held"
        assert pool.stats().limit == 4
    assert "the system refused a thread (can't start new thread); going on with 1 for now" in caplog.text


def test_without_any_thread_submit_raises_and_queues_nothing(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", refusing_start(lambda: True))
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool:
        with pytest.raises(
            RuntimeError, match="can't start new thread: no worker of pool 'jobs' is there, so the task was"
        ):
            pool.submit(int)
        assert (pool.stats().submitted, pool.stats().workers) == (0, 0)
        monkeypatch.undo()
        assert pool.submit(int).result(SOON) == 0


def test_a_worker_that_dies_is_replaced_and_its_task_ends(monkeypatch, caplog):
    with cgexec.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result(SOON)
        (worker,) = pool._cgexec_pool.state.staff
        eventually(lambda: worker.parked)
        monkeypatch.setattr(type(pool._cgexec_pool.crew), "expect_end", lambda *_: 1 / 0)
        lost = pool.options(run_timeout=1000).submit(int)
        assert isinstance(lost.exception(SOON), RuntimeError)
        assert pool.submit(int).result(SOON) == 0
        assert pool.stats().failed == 1
    assert "Exception in worker" in caplog.text


def test_the_end_of_the_interpreter_does_not_mind_a_ticker_that_is_about_to_be_started():
    own = ticker._Ticker()
    thread = own.thread = background(own._run, "cgexec-ticker")
    own.stop()
    thread.start()  # by whoever was about to
    thread.join(SOON)
    assert own.thread is None, "it found nothing to do"


def test_changes_of_the_size_are_counted_by_direction():
    with cgexec.ThreadPoolExecutor(2) as pool:
        for size in (4, 4, 8, 3):
            pool.resize(size)
        assert (pool.stats().grown, pool.stats().shrunk) == (2, 1)
