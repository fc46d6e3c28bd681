"""
What every executor promises, and what ours do besides: one suite over our own pool and wrapped ones, with the real
packages. What holds for the standard library's pools as they are is tested over them, too.
"""

import asyncio
import contextlib
import functools
import math
import multiprocessing
import os
import threading
from concurrent import futures
from concurrent.futures import BrokenExecutor, CancelledError

import pytest

import cgexec
from support import calls
from support.calls import Meeting
from support.peers import PEERS, bare, start_cluster, stop_cluster, wrapped
from support.pools import SOON, eventually

BARE = {"bare threads": "threads", "bare processes": "processes"}
OURS = {"ours": None, **{f"wrapped {name}": name for name in PEERS}}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    start_cluster()
    yield
    stop_cluster()


def make_any(kind, workers=2, **settings):
    if kind in BARE:
        return bare(BARE[kind], workers)
    if kind == "ours":
        settings.pop("max_in_flight", None)
        return cgexec.ThreadPoolExecutor(workers, **settings)
    return wrapped(OURS[kind], workers, **settings)


@pytest.fixture(params=[*BARE, *OURS])
def any_pool(request):
    """The standard library's own, ours, and wrapped ones."""
    return functools.partial(make_any, request.param)


@pytest.fixture(params=OURS)
def pool_of(request):
    """Ours, and wrapped ones."""
    return functools.partial(make_any, request.param)


@pytest.fixture
def meeting(tmp_path):
    met = Meeting(tmp_path)
    yield met
    met.release()
    futures.wait(met.futures, SOON)


def accounted(pool):
    """Nothing of the pool is left, and all that came in has gone out."""
    eventually(lambda: pool.stats().running == 0)
    seen = pool.stats()
    assert (seen.running, seen.waiting, seen.blocked) == (0, 0, 0)
    assert seen.workers == seen.idle or seen.closed is not None
    return seen


# -- what every executor promises -------------------------------------------------------------------------------------


def test_submit_passes_everything_on(any_pool):
    with any_pool() as pool:
        assert pool.submit(calls.everything, 1, 2, 3, a=4, task=5).result(SOON) == (1, 2, (3,), {"a": 4, "task": 5})
        assert pool.submit(calls.everything, self=1, fn=2).result(SOON) == (1, 2, (), {})
        words = {"key": 1, "pure": True, "workers": 2, "retries": 3, "timeout": 4}  # which some take for their own
        assert pool.submit(calls.everything, 1, 2, **words).result(SOON) == (1, 2, (), words)


def test_an_error_is_the_futures(any_pool):
    with any_pool() as pool:
        with pytest.raises(ValueError, match="boom"):
            pool.submit(calls.boom).result(SOON)
        assert pool.submit(calls.square, 3).result(SOON) == 9


def test_map_keeps_the_order(any_pool):
    with any_pool() as pool:
        assert list(pool.map(calls.square, range(20), timeout=SOON)) == [n * n for n in range(20)]
        assert list(pool.map(calls.square, range(20), timeout=SOON, chunksize=3)) == [n * n for n in range(20)]


def test_equal_calls_each_run(any_pool, tmp_path):
    with any_pool() as pool:
        given = [pool.submit(calls.note, str(tmp_path / "notes")) for _ in range(5)]
        futures.wait(given, SOON)
    assert (tmp_path / "notes").read_text() == "x\n" * 5


def test_wait_and_as_completed(any_pool):
    with any_pool() as pool:
        given = {pool.submit(calls.square, n): n for n in range(20)}
        assert len(futures.wait(given, SOON).done) == 20
        assert all(future.result() == given[future] ** 2 for future in futures.as_completed(given, SOON))


def test_shutdown_finishes_what_waits(any_pool, meeting):
    pool = any_pool()
    held = meeting.hand_in(pool, 2)
    waiting = [pool.submit(calls.square, n) for n in range(5)]
    pool.shutdown(wait=False)
    meeting.release()
    assert [future.result(SOON) for future in (*held, *waiting)] == [0, 1, 0, 1, 4, 9, 16]
    pool.shutdown()


def test_shutdown_may_cancel_what_waits(any_pool, meeting):
    pool = any_pool()
    held = meeting.hand_in(pool, 2)
    meeting.started(2)
    waiting = [pool.submit(calls.square, n) for n in range(20)]
    pool.shutdown(wait=False, cancel_futures=True)
    meeting.release()
    assert [future.result(SOON) for future in held] == [0, 1]
    eventually(lambda: all(future.done() for future in waiting))
    pool.shutdown()
    assert sum(future.cancelled() for future in waiting) >= 17  # the standard process pool has handed out some


def test_after_shutdown_nothing_is_accepted_in_the_same_words(any_pool):
    pool = any_pool()
    pool.submit(calls.square, 1).result(SOON)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown$"):
        pool.submit(calls.square, 1)
    pool.shutdown()


def test_a_callback_may_submit(any_pool):
    second = futures.Future()

    def again(_):
        pool.submit(calls.square, 2).add_done_callback(lambda future: second.set_result(future.result()))

    with any_pool() as pool:
        pool.submit(calls.square, 1).add_done_callback(again)
        assert second.result(SOON) == 4


# -- what ours do besides ---------------------------------------------------------------------------------------------


def test_no_more_run_or_wait_than_said(pool_of, meeting):
    with pool_of(when_full="raise", queue_size=3, name="small") as pool:
        meeting.hand_in(pool, 5)
        meeting.started(2)
        with pytest.raises(cgexec.QueueFull, match="3 of 3 places taken, 2 of 2 workers busy in pool 'small'"):
            pool.submit(calls.square, 1)
        assert meeting.names() == [0, 1]
        assert (pool.stats().running, pool.stats().waiting) == (2, 3)
        meeting.release()
        assert futures.wait(meeting.futures, SOON).not_done == set()
        assert accounted(pool).completed == 5


def test_one_that_waits_here_is_cancelled_and_gives_up_its_place(pool_of, meeting):
    with pool_of(when_full="raise", queue_size=1) as pool:
        meeting.hand_in(pool, 2)
        waiting = pool.submit(calls.square, 1)
        assert waiting.cancel()
        assert waiting.cancelled()
        assert waiting.cancel()
        instead = pool.submit(calls.square, 2)
        meeting.release()
        assert instead.result(SOON) == 4
        with pytest.raises(CancelledError):
            waiting.result(SOON)
        assert accounted(pool).cancelled == 1


def test_one_that_runs_is_not_cancelled_by_shutdown(pool_of, meeting):
    with pool_of() as pool:
        held = meeting.hand_in(pool, 2)
        meeting.started(2)
        pool.shutdown(wait=False, cancel_futures=True)
        meeting.release()
        assert [future.result(SOON) for future in held] == [0, 1]
        eventually(lambda: pool.stats().running == 0)
        assert pool.stats().completed == 2


def test_blocked_submitters_come_in_first_come_first_served(pool_of, meeting):
    with pool_of(queue_size=0) as pool:
        meeting.hand_in(pool, 2)
        meeting.started(2)
        given = []
        submitter = threading.Thread(target=lambda: given.append(pool.submit(calls.square, 3)))
        submitter.start()
        eventually(lambda: pool.stats().blocked == 1)
        meeting.release()
        submitter.join(SOON)
        assert given[0].result(SOON) == 9


def test_policies(pool_of, meeting):
    with pool_of(queue_size=1, when_full="discard_oldest") as pool:
        meeting.hand_in(pool, 2)
        meeting.started(2)
        oldest, newest = pool.submit(calls.square, 1), pool.submit(calls.square, 2)
        assert oldest.cancelled()
        meeting.release()
        assert newest.result(SOON) == 4
        assert accounted(pool).discarded == 1


def test_the_caller_may_run_it(pool_of, meeting):
    with pool_of(queue_size=0, when_full="caller_runs") as pool:
        meeting.hand_in(pool, 2)
        meeting.started(2)
        assert pool.submit(os.getpid).result(0) == os.getpid()
        meeting.release()
        eventually(lambda: pool.stats().running == 0)
        assert pool.stats().ran_in_caller == 1


def test_run_waits_for_its_place_without_blocking_the_loop(pool_of, meeting):
    async def main():
        with pool_of(queue_size=0) as pool:
            meeting.hand_in(pool, 2)
            meeting.started(2)
            calls_ = [asyncio.ensure_future(pool.run(calls.square, n)) for n in range(5)]
            await asyncio.sleep(0)
            assert pool.stats().blocked == 5
            meeting.release()
            assert await asyncio.wait_for(asyncio.gather(*calls_), SOON) == [0, 1, 4, 9, 16]
            with pytest.raises(ValueError, match="boom"):
                await pool.run(calls.boom)
            left = await pool.adrain(SOON)
            assert not left

    asyncio.run(main())


def test_a_cancelled_run_leaves_the_line(pool_of, meeting):
    async def main():
        with pool_of(queue_size=0) as pool:
            meeting.hand_in(pool, 2)
            meeting.started(2)
            call = asyncio.ensure_future(pool.run(calls.square, 1))
            await asyncio.sleep(0)
            assert pool.stats().blocked == 1
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            assert pool.stats().blocked == 0
            meeting.release()
            await pool.adrain(SOON)

    asyncio.run(main())


def test_stream_runs_ahead_by_no_more_than_said(pool_of):
    taken = []

    def numbers():
        for n in range(50):
            taken.append(n)
            yield n

    async def main():
        with pool_of() as pool:
            results = []
            async for result in pool.stream(calls.square, numbers(), buffersize=4):
                results.append(result)
                assert len(taken) <= len(results) + 4
            assert results == [n * n for n in range(50)]

    asyncio.run(main())


def test_map_runs_ahead_by_no_more_than_said(pool_of):
    taken = []

    def numbers():
        for n in range(50):
            taken.append(n)
            yield n

    with pool_of() as pool:
        for position, result in enumerate(pool.map(calls.square, numbers(), buffersize=4)):
            assert result == position**2
            assert len(taken) <= position + 5


def test_options_drop_what_waits_too_long(pool_of, meeting):
    with pool_of() as pool:
        meeting.hand_in(pool, 2)
        meeting.started(2)
        with pytest.raises(TimeoutError, match="queue_timeout"):
            pool.options(queue_timeout=0.01).submit(calls.square, 1).result(SOON)
        overdue = pool.options(run_timeout=0)
        meeting.release()
        assert overdue.submit(calls.square, 2).result(SOON) == 4
        assert accounted(pool).expired == 1


def test_drain_returns_what_is_left(pool_of, meeting):
    pool = pool_of()
    meeting.hand_in(pool, 3)
    meeting.started(2)
    left = pool.drain(0)
    assert [(task.fn, task.args) for task in left.unstarted] == [(calls.stay, (str(meeting.folder), 2))]
    assert {task.future for task in left.running} == set(meeting.futures[:2])
    assert meeting.futures[2].cancelled()
    meeting.release()
    assert not pool.drain(SOON)
    pool.shutdown()


def test_resize_while_it_works(pool_of, meeting):
    with pool_of() as pool:
        pool.resize(1)
        meeting.hand_in(pool, 3)
        meeting.started(1)
        assert (pool.stats().running, pool.stats().waiting) == (1, 2)
        pool.resize(2)
        meeting.started(2)
        assert (pool.stats().running, pool.stats().waiting) == (2, 1)
        meeting.release()
        assert futures.wait(meeting.futures, SOON).not_done == set()
    assert pool.stats().completed == 3


def test_a_call_that_cannot_be_sent_gives_its_permit_back(pool_of):
    with pool_of() as pool:
        lock = threading.Lock()  # nobody pickles it
        for _ in range(5):
            try:
                future = pool.submit(calls.everything, lock, 1)
                futures.wait([future], SOON)
                assert future.done()
            except Exception as error:  # noqa: BLE001  # or the executor says so at once, each in its own words
                assert not isinstance(error, cgexec.QueueFull), error  # noqa: PT017
        assert pool.submit(calls.square, 3).result(SOON) == 9
        accounted(pool)


@pytest.mark.parametrize("kind", [kind for kind in OURS if kind != "wrapped dask"])  # a future of Dask's own never ends
def test_a_result_that_cannot_be_sent_gives_the_permit_back(kind):
    with make_any(kind, 1) as pool:
        given = [pool.submit(calls.unsendable) for _ in range(5)]
        assert futures.wait(given, SOON).not_done == set()
        assert pool.submit(calls.square, 3).result(SOON) == 9
        accounted(pool)


def test_explain_and_repr_say_what_is_going_on(pool_of):
    with pool_of(name="pictures") as pool:
        assert "pool 'pictures': 2 workers" in pool.explain()
        assert "'pictures'" in repr(pool)


def test_without_a_bound_everything_is_accepted(pool_of):
    with pool_of(queue_size=math.inf) as pool:
        given = [pool.submit(calls.square, n) for n in range(100)]
        assert [future.result(SOON) for future in given] == [n * n for n in range(100)]
        seen = accounted(pool)
        assert (seen.submitted, seen.completed) == (100, 100)


# -- a worker that dies ------------------------------------------------------------------------------------------------


def dying(how):
    return [name for name, peer in PEERS.items() if peer.dies == how]


@pytest.mark.parametrize("name", dying("pool"))
def test_a_dead_worker_breaks_the_pool_and_everything_is_accounted_for(name, meeting):
    with wrapped(name, queue_size=math.inf) as pool:
        held = meeting.hand_in(pool, 2)
        meeting.started(2)
        waiting = [pool.submit(calls.square, n) for n in range(20)]
        os.kill(meeting.pids()[0], 9)
        for future in (*held, *waiting):
            # The standard pool waits for the processes it ends, which took more than ten seconds once (3.15, busy).
            assert isinstance(future.exception(60), BrokenExecutor)
        eventually(lambda: pool.stats().closed)
        with pytest.raises(BrokenExecutor):
            pool.submit(calls.square, 1)
        seen = accounted(pool)
        assert (seen.submitted, seen.failed) == (22, 22)


def test_the_death_of_the_process_started_last_is_seen_though_nothing_else_happens(meeting):
    """The standard pool alone does not see it where processes are started one by one."""
    executor = futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver"))
    with cgexec.wrap(executor) as pool:
        first, last = meeting.hand_in(pool, 2)
        meeting.started(2)
        os.kill(list(executor._processes)[-1], 9)
        assert isinstance(last.exception(SOON), BrokenExecutor)
        assert isinstance(first.exception(SOON), BrokenExecutor)


@pytest.mark.parametrize("name", dying("pool"))
def test_one_that_broke_while_idle_says_so_to_the_submitter(name):
    with wrapped(name) as pool:
        with contextlib.suppress(BrokenExecutor):
            pool.executor.submit(calls.die).result(SOON)  # behind our back
        with pytest.raises(BrokenExecutor):
            pool.submit(calls.square, 1)
        seen = accounted(pool)
        assert (seen.submitted, seen.failed) == (0, 0)  # nothing was accepted
        assert seen.closed


@pytest.mark.parametrize("name", dying("call"))
def test_a_dead_worker_costs_its_call_only(name):
    with wrapped(name) as pool:
        dead = pool.submit(calls.die)
        assert dead.exception(SOON) is not None
        assert [pool.submit(calls.square, n).result(SOON) for n in range(10)] == [n * n for n in range(10)]
        assert accounted(pool).failed == 1


# -- an executor that is shut down behind our back ----------------------------------------------------------------


@pytest.mark.parametrize("name", PEERS)
def test_one_that_was_shut_down_behind_our_back_refuses_and_no_permit_is_lost(name):
    with wrapped(name) as pool:
        pool.submit(calls.square, 1).result(SOON)
        eventually(lambda: pool.stats().running == 0)
        pool.executor.shutdown()
        for _ in range(5):
            with pytest.raises(RuntimeError):
                pool.submit(calls.square, 1)
        seen = accounted(pool)
        assert (seen.submitted, seen.completed) == (1, 1)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_one_that_cancels_behind_our_back_does_not_stop_us(name, meeting):
    with wrapped(name, 1, max_in_flight=4) as pool:
        meeting.hand_in(pool, 1)
        meeting.started(1)
        rest = [pool.submit(calls.square, n) for n in range(20)]
        pool.executor.shutdown(wait=False, cancel_futures=True)  # holds its lock while it calls us back
        meeting.release()
        assert futures.wait(rest, SOON).not_done == set()
        accounted(pool)


@pytest.mark.parametrize("name", ["threads", "processes", "loky", "pebble"])
def test_a_call_in_flight_is_cancelled_over_there(name, meeting):
    with wrapped(name, 1, max_in_flight=8) as pool:
        meeting.hand_in(pool, 1)
        meeting.started(1)
        flying = [pool.submit(calls.square, n) for n in range(6)]
        assert flying[-1].cancel()
        assert flying[-1].cancelled()
        meeting.release()
        assert [future.result(SOON) for future in flying[:-1]] == [n * n for n in range(5)]
        assert accounted(pool).cancelled == 1
