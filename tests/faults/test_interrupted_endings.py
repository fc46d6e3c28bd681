"""Ctrl-C at any moment while what waits is taken out and ended: every future ends, once."""

import gc
import signal
import threading
from concurrent.futures import wait

import pytest

import cgexec
from cgexec._pool import endings, taken
from cgexec._pool.admission import Admission
from cgexec._pool.hands import SHUT_DOWN
from cgexec._pool.task import GONE
from support.pools import SOON, hired, holding, task

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer"),
    pytest.mark.timeout(120, method="thread"),  # the other method's alarm is the one that is used up here
]


class Interrupted(BaseException):
    pass


@pytest.fixture
def interrupted_after():
    """Return a function that has this thread interrupted so many seconds from now, once."""

    def handler(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # an interrupted finalizer's error is nobody's
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    gc.enable()


ENDINGS = {
    "shutdown": lambda pool: pool.shutdown(wait=False, cancel_futures=True),
    "drain": lambda pool: pool.drain(0),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_an_interrupted_end_leaves_no_future_without_one(interrupted_after, how):
    interruptions = 0
    for turn in range(150):
        pool = cgexec.ThreadPoolExecutor(1)
        calls = []
        with holding(pool, 1) as hold:
            waiting = hold.queue(30)
            for future in waiting:
                future.add_done_callback(calls.append)
            try:
                interrupted_after(0.00001 + turn * 0.000004)
                ENDINGS[how](pool)
                interrupted_after(0)
            except Interrupted:
                interruptions += 1
            interrupted_after(0)
            # What was not taken out before is now; what was, ended as the interruption went through.
            pool.shutdown(wait=False, cancel_futures=True)
            assert [future for future in waiting if not future.cancelled()] == []
            assert not wait(waiting, timeout=SOON).not_done
            # At most: a callback is lost if the signal comes between two lines of the standard library's cancel().
            assert len(calls) == len(set(calls)) >= len(waiting) - 1, "no callback is called twice"
        pool.shutdown()
        seen = pool.stats()
        assert (seen.completed, seen.submitted) == (1, 31)
        assert seen.cancelled == 30
    assert interruptions > 10


def test_what_an_interrupted_take_out_left_half_done_is_counted_again():
    state = Admission(1, 10)
    hired(state)
    waiting = [task(state) for _ in range(4)]
    for each in waiting:
        state.offer(each)

    def torn():
        # Where a signal comes right after: 1. they are taken; 2. the first is marked; 3. none has left the queue.
        taken.take(state, waiting, None)
        waiting[0].place = GONE
        state.tally.cancelled += 1
        raise Interrupted

    with pytest.raises(Interrupted):
        state.enter(torn)
    closing = endings.close(state, SHUT_DOWN, drop="cancelled")
    assert closing.dropped == [], "they are taken out already"
    taken.end_taken(state)
    assert all(each.cancelled() for each in waiting)
    assert (state.waiting(), state.tally.cancelled) == (0, 4)


def test_an_interrupted_end_of_one_is_done_again():
    state = Admission(1, 10)
    hired(state)
    waiting = [task(state) for _ in range(3)]
    for each in waiting:
        state.offer(each)
    endings.close(state, SHUT_DOWN, drop="failed")
    calls = iter([True])

    def interrupted(each):
        if next(calls, False):
            raise Interrupted
        return SHUT_DOWN.make(each)

    for each in waiting:
        each.why = interrupted
    with pytest.raises(Interrupted):
        taken.end_taken(state)
    taken.end_taken(state)
    assert all(isinstance(each.exception(0), RuntimeError) for each in waiting)


@pytest.mark.parametrize("kind", ["failed", "expired"])
def test_one_cancelled_after_it_was_taken_out_counts_as_its_future_says(kind):
    state = Admission(1, 10)
    hired(state)
    first, second = waiting = [task(state) for _ in range(2)]
    for each in waiting:
        state.offer(each)
        endings.expect(state, each, 1.0)
    if kind == "failed":
        endings.close(state, SHUT_DOWN, drop="failed")
    else:
        endings.find_late(state, 2.0, SHUT_DOWN.make)
    first.cancel()
    taken.end_taken(state)
    assert (first.cancelled(), type(second.exception(0))) == (True, RuntimeError)
    assert (getattr(state.tally, kind), state.tally.cancelled) == (1, 1)


def test_a_cancelled_task_whose_callback_raises_still_wakes_who_waits():
    def interrupt(_):
        raise KeyboardInterrupt

    pool = cgexec.ThreadPoolExecutor(1)
    with holding(pool, 1) as hold:
        (waiting,) = hold.queue(1)
        waiting.add_done_callback(interrupt)
        waiter = threading.Thread(target=wait, args=([waiting],))
        waiter.start()
        with pytest.raises(KeyboardInterrupt):
            pool.shutdown(wait=False, cancel_futures=True)
        waiter.join(SOON)
        assert not waiter.is_alive()
    pool.shutdown()


def test_a_closed_pool_whose_workers_nobody_called_has_them_called_by_the_next():
    """As if Ctrl-C had come between the closing and the calling."""
    pool = cgexec.ThreadPoolExecutor(2)
    with holding(pool, 2):
        pass
    pool._cgexec_pool.state.enter(lambda: setattr(pool._cgexec_pool.state, "closed", SHUT_DOWN))
    pool._cgexec_pool.crew.mend()
    for thread in pool._threads:
        thread.join(SOON)
        assert not thread.is_alive()
    assert pool.stats().workers == 0


def test_drain_asks_nothing_of_what_runs():
    """A signal while a future is asked leaves its lock taken for good; here another thread holds it."""
    pool = cgexec.ThreadPoolExecutor(1)
    with holding(pool, 1) as hold:
        left = []
        drainer = threading.Thread(target=lambda: left.append(pool.drain(0)))
        with hold.futures[0]._condition:
            drainer.start()
            drainer.join(SOON)
            assert not drainer.is_alive()
        assert [each.future for each in left[0].running] == hold.futures
    pool.shutdown()
