"""Code that runs in the middle of ours: finalizers and signal handlers. No permit is lost."""

import gc
import math
import signal
from concurrent import futures

import pytest

import cgexec
from cgexec._pool.admission import Admission
from support.peers import InlineExecutor
from support.pools import SOON, Trap, eventually

needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")
pytestmark = pytest.mark.timeout(120, method="thread")  # the other method's alarm is the one that is used up here


def wrapped(workers, **settings):
    return cgexec.wrap(futures.ThreadPoolExecutor(workers), max_in_flight=workers, **settings)


def test_with_a_collection_at_every_chance_nothing_hangs():
    got = []
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        with wrapped(2, queue_size=8) as pool:
            for number in range(200):
                Trap(lambda: got.append(pool.submit(int)))
                assert pool.submit(abs, -number).result(SOON) == number
            gc.set_threshold(*thresholds)
            gc.collect()
    finally:
        gc.set_threshold(*thresholds)
    for future in got:
        assert future.done()


@needs_timer
def test_a_signal_handler_may_submit_cancel_and_look():
    # Also in the middle of the standard pool's submit(), where that pool's own lock is held.
    got, more = [], []

    def handler(*_):
        got[-1].cancel()
        more.append(pool.submit(int))
        pool.stats()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with wrapped(2, queue_size=math.inf) as pool:
            got.append(pool.submit(int))
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for number in range(3000):
                got.append(pool.submit(abs, -number))  # noqa: PERF401  # the handler looks at it
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert futures.wait([*got, *more], SOON).not_done == set()
            eventually(lambda: pool.stats().running == 0)
            seen = pool.stats()
            assert seen.idle == seen.workers
            assert seen.completed + seen.cancelled == seen.submitted == len(got) + len(more)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Interrupted(BaseException):
    pass


class Interrupting(InlineExecutor):
    """Is interrupted in its first submit()."""

    calls = 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        if self.calls == 1:
            raise Interrupted
        return super().submit(fn, *args, **kwargs)


# A storm of real signals, as over our own pool, is no test here: the standard library's Future does not survive it (its
# condition stays locked if the signal comes while add_done_callback() takes it).
def test_one_interrupted_while_it_hands_over_loses_no_permit():
    with cgexec.wrap(Interrupting(), max_in_flight=1) as pool:
        with pytest.raises(Interrupted):
            pool.submit(int)
        assert pool.submit(pow, 2, 3).result(SOON) == 8
        seen = pool.stats()
        assert (seen.running, seen.waiting, seen.idle, seen.workers) == (0, 0, 1, 1)
        assert (seen.failed, seen.completed) == (1, 1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_interrupted_while_it_asks_loses_no_permit(when, monkeypatch):
    real, left = Admission.next, [1]

    def interrupted(self, *args):
        if left and when == "before":
            left.pop()
            raise Interrupted
        answer = real(self, *args)
        if left:
            left.pop()
            raise Interrupted
        return answer

    with cgexec.wrap(InlineExecutor(), max_in_flight=1) as pool:
        monkeypatch.setattr(Admission, "next", interrupted)
        with pytest.raises(Interrupted):
            pool.submit(int)
        assert pool.submit(pow, 2, 3).result(SOON) == 8
        seen = pool.stats()
        assert (seen.running, seen.waiting, seen.idle, seen.workers) == (0, 0, 1, 1)
        assert seen.completed + seen.failed == seen.submitted == 2
