"""What every thread pool promises: one suite over the standard pool and ours. It is the standard one that is right."""

import gc
import threading
import weakref
from concurrent import futures
from concurrent.futures import BrokenExecutor, CancelledError

import pytest

import cgexec
from support.pools import SOON, holding


def wrapped(*args, **kwargs):
    return cgexec.wrap(futures.ThreadPoolExecutor(*args, **kwargs))


POOLS = {"standard": futures.ThreadPoolExecutor, "cgexec": cgexec.ThreadPoolExecutor, "wrapped": wrapped}
WITH_THREADS = ["standard", "cgexec"]


@pytest.fixture(params=POOLS)
def make(request):
    return POOLS[request.param]


def boom():
    raise ValueError("boom")


def test_submit_passes_everything_on(make):
    def call(self, fn, *args, **kwargs):
        return self, fn, args, kwargs

    with make(2) as pool:
        assert pool.submit(call, 1, 2, 3, a=4, task=5).result(SOON) == (1, 2, (3,), {"a": 4, "task": 5})
        assert pool.submit(call, self=1, fn=2).result(SOON) == (1, 2, (), {})


def test_an_error_is_the_futures(make):
    with make(1) as pool:
        future = pool.submit(boom)
        with pytest.raises(ValueError, match="boom"):
            future.result(SOON)
        assert pool.submit(int).result(SOON) == 0  # the worker has survived


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_so_is_one_that_is_no_exception(make, error):
    def leave():
        raise error

    with make(1) as pool:
        assert isinstance(pool.submit(leave).exception(SOON), error)
        assert pool.submit(int).result(SOON) == 0


def test_map_keeps_the_order_and_submits_at_once(make):
    with make(3) as pool:
        results = pool.map(pow, [2, 3, 4], [5, 2, 1], timeout=SOON)
        pool.shutdown()
        assert list(results) == [32, 9, 4]


def test_map_stops_at_the_first_error_and_cancels_the_rest(make):
    with make(1) as pool, holding(pool) as hold:
        results = pool.map(lambda fn: fn(), [boom, hold.task, hold.task])
        with pytest.raises(ValueError, match="boom"):
            next(results)
        hold.release()
    assert next(results, "nothing more") == "nothing more"


def test_map_times_out(make):
    with make(1) as pool, holding(pool, 1), pytest.raises(TimeoutError):
        list(pool.map(abs, [1, 2], timeout=0))


def test_wait_and_as_completed(make):
    with make(2) as pool:
        given = {pool.submit(pow, 2, n): n for n in range(20)}
        done, not_done = futures.wait(given, SOON)
        assert (len(done), not_done) == (20, set())
        assert all(future.result() == 2 ** given[future] for future in futures.as_completed(given, SOON))


def test_a_waiting_task_can_be_cancelled_and_a_running_one_cannot(make):
    with make(1) as pool, holding(pool, 1) as hold:
        (waiting,) = hold.queue(1)
        assert waiting.cancel()
        assert not hold.futures[0].cancel()
        hold.release()
        with pytest.raises(CancelledError):
            waiting.result(SOON)


def test_shutdown_finishes_what_waits(make):
    pool = make(1)
    with holding(pool, 1) as hold:
        waiting = [pool.submit(pow, 2, n) for n in range(5)]
        pool.shutdown(wait=False)
        hold.release()
        assert [future.result(SOON) for future in waiting] == [1, 2, 4, 8, 16]
    pool.shutdown()


def test_shutdown_may_cancel_what_waits(make):
    pool = make(1)
    with holding(pool, 1) as hold:
        waiting = hold.queue(5)
        pool.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in waiting)
    pool.shutdown()


@pytest.mark.parametrize("with_thread", [False, True])
def test_after_shutdown_nothing_is_accepted_in_the_same_words(make, with_thread):
    pool = make(1)
    if with_thread:
        pool.submit(int).result(SOON)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown$"):
        pool.submit(int)
    pool.shutdown()


def test_an_initializer_runs_once_in_each_thread(make):
    seen = []
    with make(2, initializer=seen.append, initargs=("here",)) as pool, holding(pool, 2):
        assert seen == ["here", "here"]


def test_a_failing_initializer_breaks_the_pool(make, caplog):
    entered = threading.Event()

    def fail():
        assert entered.wait(SOON)
        raise ValueError("no")

    with make(1, initializer=fail) as pool:
        given = [pool.submit(int) for _ in range(3)]
        entered.set()
        for future in given:
            with pytest.raises(
                BrokenExecutor, match="A thread initializer failed, the thread pool is not usable anymore"
            ):
                future.result(SOON)
        with pytest.raises(futures.thread.BrokenThreadPool):
            pool.submit(int)
    assert "Exception in initializer:" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((0,), ValueError, "max_workers must be greater than 0"),
        ((-1,), ValueError, "max_workers must be greater than 0"),
        ((1, "", 5), TypeError, "initializer must be a callable"),
    ],
)
def test_nonsense_is_refused_in_the_same_words(make, arguments, error, words):
    with pytest.raises(error, match=words):
        make(*arguments)


@pytest.mark.parametrize("make", WITH_THREADS, indirect=True)
def test_threads_are_named_and_numbered(make):
    with make(2, "prefix") as pool, holding(pool, 2):
        names = sorted(thread.name for thread in pool._threads)
    assert names == ["prefix_0", "prefix_1"]


@pytest.mark.parametrize("make", WITH_THREADS, indirect=True)
def test_an_idle_thread_is_used_again(make):
    # The worker says that it is idle after the future is done; between the two another may be started.
    with make(4) as pool, holding(pool, 1):
        pass
    assert len(pool._threads) == 1


def test_an_abandoned_pool_finishes_its_work_and_its_threads_end(make):
    started, release = threading.Event(), threading.Event()
    pool = make(1)
    pool.submit(lambda: (started.set(), release.wait(SOON)))
    assert started.wait(SOON)
    waiting = pool.submit(pow, 2, 10)
    threads = getattr(pool, "executor", pool)._threads
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    try:
        assert gone() is None
    finally:
        release.set()
    assert waiting.result(SOON) == 1024
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


class Payload:
    pass


def test_arguments_and_results_are_let_go(make):
    kept = []

    def keep(argument):
        result = Payload()
        kept.extend([weakref.ref(argument), weakref.ref(result)])
        return result

    with make(1) as pool:
        future = pool.submit(keep, Payload())
        assert isinstance(future.result(SOON), Payload)
        pool.submit(int).result(SOON)  # by now the worker has asked for the next
        gc.collect()
        assert kept[0]() is None, "whoever keeps the future does not keep the arguments"
        del future
        gc.collect()
        assert kept[1]() is None


def test_an_error_holds_no_cycle_with_its_future(make):
    with make(1) as pool:
        gc.collect()
        gc.disable()
        try:
            future = pool.submit(boom)
            assert future.exception(SOON)
            pool.submit(int).result(SOON)
            gone = weakref.ref(future)
            del future
            assert gone() is None
        finally:
            gc.enable()


def test_a_callback_that_raises_harms_nobody(make, caplog):
    with make(1) as pool, holding(pool, 1) as hold:
        hold.futures[0].add_done_callback(lambda _: boom())
        hold.release()
        assert pool.submit(int).result(SOON) == 0
    assert "boom" in caplog.text


def test_a_callback_may_submit(make):
    second = futures.Future()
    with make(1) as pool:
        first = pool.submit(int)
        first.add_done_callback(lambda _: pool.submit(second.set_result, "done"))
        assert second.result(SOON) == "done"


def test_a_task_may_submit(make):
    with make(1) as pool:
        assert pool.submit(lambda: pool.submit(pow, 2, 3)).result(SOON).result(SOON) == 8


def test_shutdown_in_a_task_refuses_further_tasks_and_ends(make):
    with make(1) as pool:
        pool.submit(pool.shutdown, wait=False).result(SOON)
        with pytest.raises(RuntimeError):
            pool.submit(int)


def test_submitting_threads_lose_and_double_nothing(make):
    seen, lock = [], threading.Lock()

    def note(number):
        with lock:
            seen.append(number)

    with make(3) as pool:

        def feed(start):
            for number in range(start, start + 300):
                pool.submit(note, number)

        feeders = [threading.Thread(target=feed, args=(n * 300,)) for n in range(4)]
        for feeder in feeders:
            feeder.start()
        for feeder in feeders:
            feeder.join(SOON)
    assert sorted(seen) == list(range(1200))


@pytest.mark.parametrize("make", [cgexec.ThreadPoolExecutor, wrapped])
def test_every_private_name_of_ours_is_one_that_no_subclass_has_by_chance(make):
    with make() as pool, futures.ThreadPoolExecutor() as stock:
        theirs = set(dir(stock))
        ours = {name for name in dir(pool) if name[0] == "_" != name[1]} - theirs
        assert [name for name in ours if not name.startswith("_cgexec_")] == []
        assert ours, "it has some"


def test_a_subclass_may_call_its_own_things_as_it_likes():
    class Mine(cgexec.ThreadPoolExecutor):
        def __init__(self):
            super().__init__(2, name="jobs")
            self._state, self._pool, self._name, self._crew, self.stats = "running", "db", "mine", [], {}

    with Mine() as pool:
        assert pool.submit(int).result(SOON) == 0
        assert list(pool.map(abs, [-1])) == [1]
        assert repr(pool).startswith("<cgexec.Mine 'jobs': ")
        assert not pool.drain(SOON)
