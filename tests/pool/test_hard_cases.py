"""What a review found by breaking it: each once lost a task, a wake or a thread."""

import asyncio
import gc
import os
import threading
from concurrent.futures import wait

import pytest

import cgexec
from cgexec._pool import crew, ticker
from cgexec._pool.admission import Admission
from cgexec._pool.records import Verdict
from cgexec._pool.task import COMPLETED
from support.pools import SOON, Hold, eventually, hired, holding, task


class Finalized:
    def __init__(self, call):
        self.call = call

    def __del__(self):
        self.call()


def test_a_result_nobody_keeps_is_let_go_without_the_lock():
    # Else a finalizer that wants a lock of the user's waits for one who has it and wants ours.
    held = []
    with cgexec.ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: Finalized(lambda: held.append(pool._cgexec_pool.state._mark)))
        pool.submit(int).result(SOON)
        gc.collect()
        eventually(lambda: held)
    assert held == [0]


def test_the_ticker_is_tried_again_after_its_thread_was_refused(monkeypatch):
    start = threading.Thread.start
    refusals = iter([True])

    def refusing(thread):
        if thread.name == "cgexec-ticker" and next(refusals, False):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1):
        view = pool.options(queue_timeout=0.01)
        first, second = view.submit(int), view.submit(int)
        assert isinstance(first.exception(SOON), TimeoutError)
        assert isinstance(second.exception(SOON), TimeoutError)


def test_a_callback_that_raises_stops_neither_the_clock_nor_the_others(caplog):
    def leave(_):
        raise SystemExit

    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1):
        view = pool.options(queue_timeout=0.01)
        first, second = view.submit(int), view.submit(int)
        first.add_done_callback(leave)
        assert isinstance(second.exception(SOON), TimeoutError)
        assert isinstance(view.submit(int).exception(SOON), TimeoutError)
    eventually(lambda: ticker._ticker.thread is None)


def test_a_callback_that_raises_at_shutdown_leaves_no_future_without_an_end():
    def interrupt(_):
        raise KeyboardInterrupt

    pool = cgexec.ThreadPoolExecutor(1)
    with holding(pool, 1) as hold:
        waiting = hold.queue(5)
        waiting[1].add_done_callback(interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.shutdown(cancel_futures=True)
        assert all(future.cancelled() for future in waiting)
    pool.shutdown()


def test_a_callback_that_raises_in_cancel_gives_the_place_back():
    def interrupt(_):
        raise KeyboardInterrupt

    with cgexec.ThreadPoolExecutor(1, queue_size=1, when_full="raise") as pool, holding(pool, 1) as hold:
        (waiting,) = hold.queue(1)
        waiting.add_done_callback(interrupt)
        with pytest.raises(KeyboardInterrupt):
            waiting.cancel()
        assert pool.stats().waiting == 0
        hold.queue(1)


def test_shutdown_waits_for_threads_that_are_started_meanwhile():
    pool = cgexec.ThreadPoolExecutor(1)
    with holding(pool, 1) as hold:
        started = [threading.Event() for _ in range(6)]

        def meet(mine):
            mine.set()
            assert all(each.wait(SOON) for each in started)  # so there have to be six threads

        futures = [pool.submit(meet, each) for each in started]
        pool.resize(7)
        hold.release()
        pool.shutdown()
        assert all(future.done() for future in futures)
    assert not any(thread.is_alive() for thread in pool._threads)


def test_a_stream_keeps_its_pool():
    async def main():
        return [result async for result in cgexec.ThreadPoolExecutor(2).stream(abs, range(20))]

    assert asyncio.run(main()) == list(range(20))


def test_an_idle_thread_that_stays_does_not_spin(monkeypatch):
    asked = []
    retire = crew.sizes.retire
    monkeypatch.setattr(crew.sizes, "retire", lambda *args: asked.append(1) or retire(*args))
    with cgexec.ThreadPoolExecutor(1, idle_timeout=0) as pool:
        pool.submit(int).result(SOON)
        eventually(lambda: asked)
        (worker,) = pool._cgexec_pool.state.staff
        assert not worker.wake.acquire(timeout=0.2)
        assert len(asked) == 1


def test_each_overdue_task_is_counted():
    with cgexec.ThreadPoolExecutor(1) as pool:
        for count in (1, 2):
            hold = Hold(pool)
            future = pool.options(run_timeout=0.005).submit(hold.task)
            eventually(lambda count=count: pool.stats().overdue == count)
            hold.release()
            future.result(SOON)


def test_an_overdue_task_of_its_submitter_is_counted_too():
    with cgexec.ThreadPoolExecutor(1, queue_size=0, when_full="caller_runs") as pool, holding(pool, 1):
        pool.options(run_timeout=0.005).submit(lambda: eventually(lambda: pool.stats().overdue == 1)).result(0)
        with pytest.raises(RuntimeError, match="would wait for itself"):
            pool.submit(pool.drain, 5).result(0)


def test_a_task_of_its_submitter_does_not_wait_for_the_pools_end():
    ended = []
    pool = cgexec.ThreadPoolExecutor(1, queue_size=0, when_full="caller_runs")
    with holding(pool, 1):
        submitter = threading.Thread(target=lambda: ended.append(pool.submit(pool.shutdown)), daemon=True)
        submitter.start()
        submitter.join(SOON)
    with pytest.raises(RuntimeError, match="would wait for itself"):
        ended[0].result(0)


def test_a_finished_future_keeps_neither_context_nor_place_among_the_expected():
    with cgexec.ThreadPoolExecutor(1, copy_context=True) as pool:
        future = pool.options(queue_timeout=3600).submit(int)
        future.result(SOON)
        pool.submit(int).result(SOON)
        assert future.extra is None
        entries = [
            entry for *_, entry in pool._cgexec_pool.state.expiring._heap
        ]  # none if somebody has looked meanwhile
        del future
        gc.collect()
        assert [entry() for entry in entries if entry() is not None] == []


def test_a_worker_woken_twice_does_not_forget_the_task_it_was_handed():
    state = Admission(1, 10)
    _, worker = hired(state)
    assert state.next(worker, 1.0, COMPLETED) is Verdict.PARK
    new = task(state)
    assert state.offer(new) is worker
    assert state.next(worker, 2.0, 0) is new  # it came for the first wake
    assert (state.running, state.waiting(), worker.handed) == (1, 0, False)


def test_an_interrupted_resize_loses_no_worker(monkeypatch):
    with cgexec.ThreadPoolExecutor(2) as pool:
        with holding(pool, 2):
            pass
        eventually(lambda: pool.stats().idle == 2)
        real = crew.Crew.call_all
        calls = iter([True])

        def interrupted(self, workers, chores=()):
            if next(calls, False):
                raise KeyboardInterrupt
            real(self, workers, chores)

        monkeypatch.setattr(crew.Crew, "call_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.resize(1)
        assert pool.submit(int).result(SOON) == 0
        eventually(lambda: pool.stats().workers == 1)


def test_two_pools_whose_finalizers_submit_to_each_other_do_not_wait_for_each_other():
    one, other = cgexec.ThreadPoolExecutor(1), cgexec.ThreadPoolExecutor(1)
    inside = threading.Barrier(2)
    got = []

    def in_the_middle_of(pool, another):
        def part():
            inside.wait(SOON)  # both hold their locks
            got.append(another.submit(pow, 2, 3))

        pool._cgexec_pool.state.enter(part)

    with one, other:
        threads = [threading.Thread(target=in_the_middle_of, args=pair) for pair in ((one, other), (other, one))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
            assert not thread.is_alive()
        assert [future.result(SOON) for future in got] == [8, 8]


def test_what_waits_where_no_thread_can_be_had_ends_at_shutdown(monkeypatch):
    real = threading.Thread.start

    def refusing(thread):
        if thread.name.startswith(("jobs_", "cgexec")):
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    pool = cgexec.ThreadPoolExecutor(2, name="jobs")
    # As if two had come at once, and both threads were refused: the first leaves its task to the other.
    stranded = task(pool._cgexec_pool.state)
    first, second = (
        pool._cgexec_pool.state.offer(stranded),
        pool._cgexec_pool.state.offer(other := task(pool._cgexec_pool.state)),
    )
    pool._cgexec_pool.crew.act(first, stranded)
    with pytest.raises(RuntimeError):
        pool._cgexec_pool.crew.act(second, other)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        stranded.result(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_a_forked_child_an_inherited_future_can_be_cancelled_and_the_pool_drained():
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1) as hold:
        (waiting,) = hold.queue(1)
        pid = os.fork()
        if pid == 0:
            waiting.cancel()
            fine = pool.stats().waiting == 0 and not pool.drain(5)
            os._exit(0 if fine else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        hold.release()
        assert waiting.result(SOON) == "held"


def test_a_cancelled_future_wakes_whoever_waits_for_it():
    # The standard pool's does so only when a worker comes across it.
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1) as hold:
        waiting = hold.queue(2)
        waiter = threading.Thread(target=wait, args=(waiting,))
        waiter.start()
        waiting[0].cancel()
        waiting[1].cancel()
        waiter.join(SOON)
        assert not waiter.is_alive()
