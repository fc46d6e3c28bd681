"""Code that runs in the middle of ours: finalizers, signal handlers, callbacks. Nothing hangs and nothing is lost."""

import gc
import math
import os
import signal
import sys
import threading

import pytest

import cgexec
from cgexec._pool.admission import Admission
from cgexec._pool.crew import Crew
from support.pools import SOON, Trap, eventually, holding


@pytest.fixture
def collect_inside(monkeypatch):
    """Have a collection in the middle of the next locked part of that name."""

    def arrange(name, call):
        real = getattr(Admission, name)
        # Not held by the function itself: replaced later, it would take the pool along in the middle of a change of the
        # class, and CPython's method caches still know it then.
        armed = [call]
        del call

        def collecting(self, *args):
            if armed:
                Trap(armed.pop())
                gc.collect()
            return real(self, *args)

        monkeypatch.setattr(Admission, name, collecting)

    return arrange


def test_a_finalizer_in_the_middle_of_a_submit_may_submit(collect_inside):
    got = []
    with cgexec.ThreadPoolExecutor(1) as pool:
        collect_inside("summon", lambda: got.append(pool.submit(pow, 2, 3)))
        assert pool.submit(pow, 2, 4).result(SOON) == 16
        assert got[0].result(SOON) == 8
    assert pool.stats().completed == 2


def test_it_may_cancel(collect_inside):
    with cgexec.ThreadPoolExecutor(1, queue_size=5, when_full="raise") as pool, holding(pool, 1) as hold:
        victim, bystander = hold.queue(2)
        hold.queue(3)
        collect_inside("is_full", victim.cancel)
        with pytest.raises(cgexec.QueueFull):  # it was full at that moment
            pool.submit(int)
        assert victim.cancelled()
        assert not bystander.done()
        assert pool.stats().cancelled == 1


def test_it_may_shut_down(collect_inside):
    pool = cgexec.ThreadPoolExecutor(1)
    collect_inside("summon", lambda: pool.shutdown(wait=False))
    assert pool.submit(pow, 2, 3).result(SOON) == 8
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)
    pool.shutdown()


def test_it_may_look_and_resize(collect_inside):
    seen = []
    with cgexec.ThreadPoolExecutor(1) as pool:
        collect_inside("summon", lambda: (seen.append(pool.stats()), pool.resize(3)))
        assert pool.submit(pow, 2, 3).result(SOON) == 8
        assert seen[0].limit == 1
        assert pool.stats().limit == 3


def test_a_pool_may_be_collected_in_the_middle_of_another(collect_inside):
    other = cgexec.ThreadPoolExecutor(1)
    other.submit(int).result(SOON)
    threads = other._threads
    other.cycle = other
    with cgexec.ThreadPoolExecutor(1) as pool:
        collect_inside("summon", lambda: None)
        del other
        assert pool.submit(pow, 2, 3).result(SOON) == 8
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


def test_a_worker_may_be_interrupted_too(collect_inside):
    got = []
    with cgexec.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result(SOON)
        collect_inside("_rest", lambda: got.append(pool.submit(pow, 2, 3)))
        pool.submit(int).result(SOON)
        eventually(lambda: got)
        assert got[0].result(SOON) == 8


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_in_a_locked_part_nobody_waits_for_the_end_of_a_pool(collect_inside, whose):
    def end():
        with pytest.raises(RuntimeError, match=r"nothing was drained: this thread would wait for itself.*Event"):
            pool.drain(SOON)
        with pytest.raises(RuntimeError, match="this thread would wait for itself"):
            other.shutdown()
        raised.append(True)

    raised = []
    with cgexec.ThreadPoolExecutor(1) as pool, cgexec.ThreadPoolExecutor(1) as other:
        with holding(pool, 1) as hold:
            waiting = hold.queue(1)
            collect_inside("is_full" if whose == "its own" else "summon", end)
            if whose == "its own":
                pool._cgexec_pool.state.enter(pool._cgexec_pool.state.is_full)
            else:
                other.submit(int)
            assert raised
            assert (pool.stats().closed, pool.stats().waiting) == (None, 1), "nothing has happened to it"
        assert waiting[0].result(SOON) == "held"
        with pytest.raises(RuntimeError, match="after shutdown"):  # closed, but not waited for
            other.submit(int)


def test_nor_where_a_thread_is_being_made():
    with cgexec.ThreadPoolExecutor(1) as pool:
        with pool._cgexec_pool.crew._lock, pytest.raises(RuntimeError, match="this thread would wait for itself"):
            pool.drain(SOON)
        assert pool.submit(pow, 2, 3).result(SOON) == 8


@pytest.mark.parametrize("how", ["drain", "shutdown"])
def test_the_end_does_not_wait_for_a_worker_that_its_own_thread_was_about_to_start(monkeypatch, how):
    """A signal handler in the middle of a submit, between the answer of the state machine and what follows from it."""

    def interrupted(crew, worker, task=None):
        monkeypatch.undo()
        got.append(getattr(pool, how)(SOON))
        act(crew, worker, task)

    got, act = [], Crew.act
    pool = cgexec.ThreadPoolExecutor(1)
    monkeypatch.setattr(Crew, "act", interrupted)
    future = pool.submit(pow, 2, 3)
    assert future.done()
    assert not got[0]
    pool.shutdown()
    assert future.result() == 8


def test_with_a_collection_at_every_chance_nothing_hangs():
    got = []
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        with cgexec.ThreadPoolExecutor(2, queue_size=8) as pool:
            for number in range(200):
                Trap(lambda: got.append(pool.submit(int)))
                assert pool.submit(abs, -number).result(SOON) == number
            gc.set_threshold(*thresholds)
            gc.collect()
    finally:
        gc.set_threshold(*thresholds)
    for future in got:
        assert future.done()


needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")
pytestmark = pytest.mark.timeout(120, method="thread")  # the other method's alarm is the one that is used up here


@needs_timer
def test_a_signal_handler_may_submit_cancel_and_look():
    got = []

    def handler(*_):
        got.append(pool.submit(int))
        got[0].cancel()
        pool.stats()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with cgexec.ThreadPoolExecutor(2, queue_size=math.inf) as pool:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for number in range(3000):
                assert pool.submit(abs, -number).result(SOON) == number
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert got
    assert all(future.done() for future in got)
    seen = pool.stats()
    assert seen.completed + seen.cancelled == seen.submitted


class Interrupted(BaseException):
    pass


@needs_timer
def test_a_signal_handler_that_raises_leaves_a_working_pool():
    ran, lock = [], threading.Lock()

    def note(number):
        with lock:
            ran.append(number)

    def handler(*_):
        raise Interrupted

    interruptions = submitted = 0
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with cgexec.ThreadPoolExecutor(3, queue_size=4) as pool:
            # All threads first: the standard library's own Thread.start() does not survive such interruptions.
            with holding(pool, 3):
                pass
            for number in range(4000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.00002 + (number % 50) * 0.000002)
                    pool.submit(note, number)
                    submitted += 1
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interrupted:
                    interruptions += 1
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert pool.submit(pow, 2, 3).result(SOON) == 8
            eventually(lambda: pool.stats().running + pool.stats().waiting == 0)
            seen = pool.stats()
            assert seen.idle == seen.workers <= 3
            assert seen.blocked == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interruptions > 10
    assert len(ran) == len(set(ran)), "nothing runs twice"
    # An interrupted submit may have been accepted or not; one that returned was.
    assert submitted <= len(ran) + seen.cancelled <= 4000


@pytest.mark.skipif(sys.platform == "win32", reason="needs a real Ctrl-C")
def test_ctrl_c_reaches_a_blocked_submit():
    with cgexec.ThreadPoolExecutor(1, queue_size=0) as pool, holding(pool, 1):

        def interrupt():
            eventually(lambda: pool.stats().blocked == 1)
            os.kill(os.getpid(), signal.SIGINT)

        killer = threading.Thread(target=interrupt)
        killer.start()
        with pytest.raises(KeyboardInterrupt):
            pool.submit(int)
        killer.join(SOON)
        assert pool.stats().blocked == 0


def test_a_callback_that_raises_more_than_an_exception_costs_no_worker(caplog):
    def leave(_):
        raise SystemExit

    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1) as hold:
        hold.futures[0].add_done_callback(leave)
        hold.release()
        assert pool.submit(pow, 2, 3).result(SOON) == 8
        assert pool.stats().workers == 1
    assert "Exception in worker" in caplog.text
