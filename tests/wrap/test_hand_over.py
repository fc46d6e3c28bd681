"""What comes between a call's being handed over and its end: a cancel, a shutdown, an error. No permit is lost."""

import contextlib
import gc
import threading
import weakref
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
        task.home = pool._cgexec_pool.state
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


class Refused(OSError):
    """As of a fork, for want of processes."""


class Interrupted(BaseException):
    """As of a signal's handler, which only the main thread meets."""


@pytest.mark.parametrize(("error", "here"), [(Refused, in_thread), (Interrupted, lambda act, *args: act(*args))])
def test_a_callback_of_one_that_is_not_handed_over_may_submit_to_a_full_pool(error, here):
    """It is run by whoever holds the permit, and no place will be free before that one has come back."""

    def fail():
        inner.handed = lambda: None
        raise error

    inner, again = Manual(), []
    with cgexec.wrap(inner, max_in_flight=1, queue_size=1, submit_timeout=SOON) as pool:
        pool.submit(int)
        lost = pool.submit(int)
        lost.add_done_callback(lambda _: again.append(pool.submit(int)))
        next_in_line = threading.Thread(target=pool.submit, args=(int,))
        next_in_line.start()  # takes the place as soon as the other has left it
        eventually(lambda: pool.stats().blocked == 1)
        inner.handed = fail
        with contextlib.suppress(Interrupted):
            here(inner.given[0].set_result, 1)
        next_in_line.join(SOON)
        assert isinstance(lost.exception(SOON), Refused if error is Refused else RuntimeError)
        assert (len(again), pool.stats().waiting, pool.stats().over_bound) == (1, 1, 1)
        for number in (2, 3):  # of the one that was next in line, and of the callback's
            in_thread(inner.given[number].set_result, number)
        assert again[0].result(SOON) == 3
        assert (pool.stats().running, pool.stats().failed, pool.stats().completed) == (0, 1, 3)


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
    pool._cgexec_pool.state.enter(lambda: pool.shutdown(wait=False))
    with pytest.raises(RuntimeError, match="after shutdown"):
        inner.submit(int)
    eventually(lambda: pool.stats().closed)


def test_a_refusal_of_the_other_executor_keeps_nothing_of_the_submitter():
    class Refusing(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise OSError("no process is to be had")

    class Local:
        pass

    def submit(pool):
        local = Local()
        with contextlib.suppress(OSError):
            pool.submit(id, local)
        return weakref.ref(local)

    with cgexec.wrap(Refusing(), max_in_flight=1) as pool:
        gc.disable()  # what is kept by a cycle is kept
        try:
            assert submit(pool)() is None
        finally:
            gc.enable()
