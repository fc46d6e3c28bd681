"""Tasks and callbacks that do what they had better not: nothing is lost, nothing is counted twice, all threads end."""

import os
import threading
from concurrent.futures import CancelledError, Future, wait

import pytest

import cgexec
from support.pools import SOON, eventually, holding


def settled(pool, futures=()):
    """End the pool, and see that its books close."""
    threads = list(pool._threads)
    pool.shutdown()
    assert not wait(futures, timeout=SOON).not_done
    seen = pool.stats()
    ended = seen.completed + seen.failed + seen.cancelled + seen.expired + seen.discarded
    assert seen.submitted == ended
    assert (seen.running, seen.waiting, seen.blocked, seen.workers) == (0, 0, 0, 0)
    assert not [thread for thread in threads if thread.is_alive()]
    return seen


class Odd(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


def raising(error):
    raise error


class Masked(Exception):
    """`isinstance` raises for it."""

    @property
    def __class__(self):
        raise ValueError("no class")


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, Odd, Unprintable, Masked, StopIteration]
)
def test_whatever_a_task_raises_is_its_futures_and_costs_no_worker(kind):
    pool = cgexec.ThreadPoolExecutor(1)
    pool.submit(int).result(SOON)
    before = set(pool._threads)
    failing = [pool.submit(raising, kind()) for _ in range(3)]
    assert all(type(future.exception(SOON)) is kind for future in failing)
    assert pool.submit(pow, 2, 3).result(SOON) == 8
    assert set(pool._threads) == before, "the same thread goes on"
    seen = settled(pool, failing)
    assert (seen.failed, seen.completed) == (3, 2)


@pytest.mark.parametrize("kind", [Unprintable, Masked])
def test_an_error_that_cannot_be_shown_may_come_from_a_callback_too(caplog, kind):
    pool = cgexec.ThreadPoolExecutor(1)
    with holding(pool, 1) as hold:
        hold.futures[0].add_done_callback(lambda _: raising(kind()))
        rest = hold.queue(2)
    assert settled(pool, rest).completed == 3


def test_an_overdue_task_with_an_unprintable_function_is_counted():
    class Nameless:
        def __init__(self, task):
            self.__call__ = task
            self.task = task

        def __call__(self):
            return self.task()

        def __repr__(self):
            raise ValueError("no text")

        __str__ = __repr__

    pool, release = cgexec.ThreadPoolExecutor(1), threading.Event()
    future = pool.options(run_timeout=0.01).submit(Nameless(lambda: release.wait(SOON)))
    eventually(lambda: pool.stats().overdue == 1)
    release.set()
    assert future.result(SOON)
    assert settled(pool, [future]).completed == 1


@pytest.mark.parametrize("error", [ValueError, Odd])
def test_all_callbacks_that_raise_leave_all_futures_ended(error, caplog):
    pool = cgexec.ThreadPoolExecutor(2)
    with holding(pool, 2) as hold:
        hold.queue(6)
        futures = list(hold.futures)
        for future in futures:
            future.add_done_callback(lambda _: raising(error("callback")))
    assert settled(pool, futures).completed == 8


@pytest.mark.parametrize("policy", ["block", "raise", "caller_runs", "discard", "discard_oldest"])
def test_a_callback_that_submits_to_a_full_pool_never_waits_for_itself(policy):
    pool = cgexec.ThreadPoolExecutor(1, queue_size=1, when_full=policy)
    again, refused, called = [], [], threading.Semaphore(0)

    def resubmit(_):
        try:
            again.append(pool.submit(int))
            again.append(pool.submit(int))
        except cgexec.QueueFull as error:
            refused.append(error)
        called.release()

    with holding(pool, 1) as hold:
        hold.futures[0].add_done_callback(resubmit)
        hold.queue(1)
    assert called.acquire(timeout=SOON)
    seen = settled(pool, [*hold.futures, *again])
    assert len(refused) == (policy == "raise")
    assert len(again) == (0 if refused else 2)
    assert seen.submitted == len(hold.futures) + len(again)


@pytest.mark.parametrize("cancel", [True, False])
def test_a_callback_that_submits_to_a_pool_being_shut_down_is_refused(cancel):
    pool, said = cgexec.ThreadPoolExecutor(1), []

    def resubmit(_):
        try:
            pool.submit(int)
        except RuntimeError as error:
            said.append(str(error))

    with holding(pool, 1) as hold:
        hold.queue(3)
        futures = list(hold.futures)
        for future in futures:
            future.add_done_callback(resubmit)
        pool.shutdown(wait=False, cancel_futures=cancel)
    seen = settled(pool, futures)
    assert (seen.submitted, seen.cancelled) == (4, 3 if cancel else 0)
    assert said == ["cannot schedule new futures after shutdown"] * 4


def test_a_task_cannot_cancel_itself_and_may_be_asked_to_end():
    pool, made, got = cgexec.ThreadPoolExecutor(1), threading.Event(), []

    def cancelling():
        assert made.wait(SOON)
        got.append(own[0].cancel())
        cgexec.cancel(own[0])
        cgexec.checkpoint()

    own = [pool.submit(cancelling)]
    made.set()
    assert isinstance(own[0].exception(SOON), CancelledError)
    assert got == [False]
    assert settled(pool, own).cancelled == 1


def test_a_task_may_let_go_of_its_own_future_and_pool():
    pool, made, ended = cgexec.ThreadPoolExecutor(1), threading.Event(), threading.Event()

    def forgetting():
        assert made.wait(SOON)
        own.clear()
        ended.set()

    own = [pool.submit(forgetting)]
    made.set()
    assert ended.wait(SOON)
    assert settled(pool).completed == 1


def test_a_task_that_shuts_its_own_pool_down_lets_what_waits_be_done():
    pool = cgexec.ThreadPoolExecutor(2)
    with holding(pool, 1) as hold:
        shutting = pool.submit(lambda: pool.shutdown(wait=False))
        assert shutting.result(SOON) is None
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(int)
    assert settled(pool, hold.futures).completed == 2


def test_tasks_that_resize_their_own_pool_lose_nothing():
    pool = cgexec.ThreadPoolExecutor(2)
    futures = [pool.submit(pool.resize, 1 + number % 4) for number in range(200)]
    assert [future.exception(SOON) for future in futures] == [None] * 200
    assert pool.stats().limit in (1, 2, 3, 4)
    pool.resize(3)
    with holding(pool, 3):
        assert pool.stats().running == 3
    assert settled(pool, futures).completed == 203


def test_a_result_whose_finalizer_submits_gets_its_task_done():
    pool, inner, finalized = cgexec.ThreadPoolExecutor(1), [], threading.Semaphore(0)

    class Submitting:
        def __del__(self):
            inner.append(pool.submit(pow, 2, 3))
            finalized.release()

    futures = [pool.submit(Submitting) for _ in range(5)]
    del futures
    for _ in range(5):
        assert finalized.acquire(timeout=SOON)
    assert [future.result(SOON) for future in inner] == [8] * 5
    assert settled(pool, inner).completed == 10


def test_keyword_arguments_from_a_generator_are_taken_once():
    pool = cgexec.ThreadPoolExecutor(1)
    taken = []

    def pairs():
        for name in "abc":
            taken.append(name)
            yield name, len(taken)

    kept = pool.submit(dict, **dict(pairs()))
    lazy = pool.submit(dict, pairs())
    assert kept.result(SOON) == {"a": 1, "b": 2, "c": 3}
    assert lazy.result(SOON) == {"a": 4, "b": 5, "c": 6}
    reserved = pool.submit(dict, fn=1, self=2, args=3, kwargs=4)
    assert reserved.result(SOON) == {"fn": 1, "self": 2, "args": 3, "kwargs": 4}
    assert settled(pool).completed == 3


def test_a_task_that_ends_its_own_future_costs_no_worker(caplog):
    pool, made = cgexec.ThreadPoolExecutor(1), threading.Event()

    def ending():
        assert made.wait(SOON)
        Future.set_result(own[0], "mine")

    own = [pool.submit(ending)]
    made.set()
    assert own[0].result(SOON) == "mine"
    assert pool.submit(pow, 2, 3).result(SOON) == 8
    settled(pool, own)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_by_a_task_goes_on_with_a_new_pool():
    pool = cgexec.ThreadPoolExecutor(2)

    def forking():
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with cgexec.ThreadPoolExecutor(2) as new:
                    status = 0 if list(new.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1] else 2
                seen = new.stats()
                status = status or (0 if seen.completed == seen.submitted == 5 else 3)
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    with holding(pool, 1) as hold:
        forked = pool.submit(forking)
        rest = hold.queue(2)
        hold.release()
        assert forked.result(SOON * 3) == 0
    assert settled(pool, [forked, *rest]).completed == 4
