"""What comes between a call's being handed over and its end: a cancel, a shutdown, an error. No permit is lost."""

import threading
from concurrent import futures
from concurrent.futures import BrokenExecutor, Executor, Future

import pytest

import cgexec
from cgexec._pool.relayed import Flight, Relayed
from support.pools import SOON, eventually


class Manual(Executor):
    """Its calls end when the test says so."""

    def __init__(self):
        self.given = []
        self.handed = lambda: None  # called in each submit
        self._broken = False

    def submit(self, fn, /, *args):
        self.given.append(Future())
        self.handed()
        return self.given[-1]


class Fleeting(Flight):
    """Its call ends, and lets go of the other future, while somebody looks at that."""

    def __init__(self, inner):
        super().__init__(None, None, None)
        self.left = [inner]

    @property
    def inner(self):
        return self.left.pop() if self.left else None

    @inner.setter
    def inner(self, _):
        pass


def in_thread(act, *args):
    thread = threading.Thread(target=act, args=args)
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive()


def test_a_call_may_end_while_it_is_asked_or_cancelled():
    with cgexec.wrap(Manual()) as pool:
        task = Relayed()
        task.home = pool._state
        for ask, answer in ((task.running, True), (task.cancel, False)):
            inner = Future()
            inner.set_running_or_notify_cancel()
            task.flight = Fleeting(inner)
            assert ask() is answer


def test_one_whose_cancel_came_too_soon_can_be_cancelled_by_the_executors_shutdown():
    """
    1. The call is handed over, and cancelled before the other executor has answered: it cannot be. 2. That one is shut
    down, cancels it and holds its lock meanwhile. What waits must not be handed over from there.
    """
    started, release = threading.Event(), threading.Event()

    class Busy(futures.ThreadPoolExecutor):
        def submit(self, fn, /, *args):
            future = super().submit(fn, *args)
            answers.extend(each.cancel() for each in given if each.flight is not None)
            return future

    def block():
        started.set()
        release.wait(SOON)

    inner, given, answers = Busy(1), [], []
    with cgexec.wrap(inner, max_in_flight=1) as pool:
        inner.submit(block)
        assert started.wait(SOON)
        first = pool.submit(int)
        given += [pool.submit(int), pool.submit(int)]
        assert first.cancel(), "so that the second is handed over"
        assert answers == [False]
        shutdown = threading.Thread(target=inner.shutdown, kwargs={"wait": False, "cancel_futures": True}, daemon=True)
        shutdown.start()
        shutdown.join(SOON)
        assert not shutdown.is_alive()
        release.set()
        assert futures.wait(given, SOON).not_done == set()
        assert given[0].cancelled()


def test_one_cancelled_as_it_was_handed_over_wakes_who_waits():
    """A cancel from the middle of another pool's locked part does not wait for ours, and may come at that moment."""
    inner = Manual()
    with cgexec.wrap(inner, max_in_flight=1) as pool:
        pool.submit(int)
        second = pool.submit(int)
        inner.handed = lambda: Future.cancel(second)
        in_thread(inner.given[0].set_result, 1)
        in_thread(inner.given[1].set_result, 2)
        assert futures.wait([second], 0).not_done == set()
        assert (pool.stats().completed, pool.stats().cancelled) == (1, 1)


def test_a_callback_that_raises_while_the_pool_breaks_keeps_no_permit():
    def leave(_):
        raise SystemExit

    inner = Manual()
    with cgexec.wrap(inner, max_in_flight=1) as pool:
        flying, waiting = pool.submit(int), pool.submit(int)
        waiting.add_done_callback(leave)
        inner._broken = True
        in_thread(inner.given[0].set_exception, BrokenExecutor("gone"))
        for future in (flying, waiting):
            assert isinstance(future.exception(SOON), BrokenExecutor)
        assert (pool.stats().running, pool.stats().failed) == (0, 2)


@pytest.mark.parametrize("answer", [None, "task 1"])
def test_an_executor_that_returns_no_future_is_told_so_and_no_permit_is_lost(answer):
    class Odd(Executor):
        def submit(self, fn, /, *args):
            return answer

    with cgexec.wrap(Odd(), max_in_flight=1) as pool:
        for _ in range(3):
            with pytest.raises(TypeError, match=r"^Odd.submit\(\) returned (NoneType|str), expected a concurrent"):
                pool.submit(int)
        assert (pool.stats().running, pool.stats().submitted) == (0, 0)


def test_a_shutdown_from_the_middle_of_a_locked_part_ends_the_other_executor_too():
    """As a finalizer's, which the garbage collector runs there."""
    inner = futures.ThreadPoolExecutor(1)
    pool = cgexec.wrap(inner)
    pool._state.enter(lambda: pool.shutdown(wait=False))
    with pytest.raises(RuntimeError, match="after shutdown"):
        inner.submit(int)
    eventually(lambda: pool.stats().closed)
