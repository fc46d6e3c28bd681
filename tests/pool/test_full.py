"""What a submit does where there is no place: each policy, and whoever must not wait."""

import asyncio
import contextlib
import gc
import logging
import pickle
import threading
import weakref
from concurrent.futures import CancelledError

import pytest

import cgexec
from cgexec import testing
from cgexec._pool import door, lines
from support.pools import SOON, Hold, eventually, holding


def full_pool(stack_size=1, **arguments):
    return cgexec.ThreadPoolExecutor(1, queue_size=stack_size, name="jobs", **arguments)


def in_thread(call):
    """Run the call in a thread of its own; return the thread and the list its outcome is put in."""
    outcome = []

    def run():
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001  # handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run, name="submitter")
    thread.start()
    return thread, outcome


def test_block_waits_until_there_is_a_place():
    with full_pool() as pool, holding(pool, 1) as hold:
        hold.queue(1)
        thread, outcome = in_thread(lambda: pool.submit(pow, 2, 3))
        eventually(lambda: pool.stats().blocked == 1)
        assert (pool.stats().waiting, outcome) == (1, [])
        hold.release()
        thread.join(SOON)
        assert outcome[0].result(SOON) == 8
        assert pool.stats().blocked_seconds > 0


def test_block_is_first_come_first_served():
    order, threads = [], []
    with full_pool() as pool, holding(pool, 1) as hold:
        hold.queue(1)
        for number in range(5):
            threads.append(in_thread(lambda number=number: pool.submit(order.append, number))[0])
            eventually(lambda number=number: pool.stats().blocked == number + 1)
        hold.release()
        for thread in threads:
            thread.join(SOON)
    assert order == [0, 1, 2, 3, 4]


def test_block_gives_up_after_its_time_with_the_counts_in_the_text():
    with full_pool(submit_timeout=0.01) as pool, holding(pool, 1) as hold:
        hold.queue(1)
        with pytest.raises(
            cgexec.QueueFull, match=r"1 of 1 places taken, 1 of 1 workers busy in pool 'jobs'"
        ) as caught:
            pool.submit(int)
        assert caught.value.reason == "queue"
        seen = pool.stats()
        assert (seen.blocked, seen.rejected, seen.waiting) == (0, {"queue": 1}, 1)


def test_a_blocked_submit_is_told_of_shutdown():
    with full_pool() as pool, holding(pool, 1) as hold:
        hold.queue(1)
        thread, outcome = in_thread(lambda: pool.submit(int))
        eventually(lambda: pool.stats().blocked == 1)
        pool.shutdown(wait=False)
        thread.join(SOON)
        assert isinstance(outcome[0], RuntimeError)
        assert str(outcome[0]) == "cannot schedule new futures after shutdown"


@pytest.mark.parametrize("way", ["submit", "options", "map"])
def test_a_blocked_submit_whose_time_is_up_as_the_pool_is_shut_down_is_told(monkeypatch, way):
    with full_pool(0, submit_timeout=0.01) as pool, holding(pool, 1):
        withdraw = lines.withdraw

        def after_shutdown(state, task):
            pool.shutdown(wait=False)
            return withdraw(state, task)

        monkeypatch.setattr(lines, "withdraw", after_shutdown)
        hand_in = {
            "submit": lambda: pool.submit(int),
            "options": lambda: pool.options(queue_timeout=SOON).submit(int),
            "map": lambda: pool.map(int, ["1"], timeout=0.01),
        }
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            hand_in[way]()


def test_a_long_wait_is_logged_once_with_the_name_of_the_thread(monkeypatch, caplog):
    monkeypatch.setattr(door, "_LONG", 0.01)
    with full_pool() as pool, holding(pool, 1) as hold:
        hold.queue(1)
        thread, _ = in_thread(lambda: pool.submit(int))
        eventually(lambda: caplog.records)
        hold.release()
        thread.join(SOON)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("cgexec", logging.WARNING)
    assert "submit(int) has been blocking thread submitter for" in record.getMessage()


def test_raise_refuses_and_says_what_to_do():
    with full_pool(when_full="raise") as pool, holding(pool, 1) as hold:
        hold.queue(1)
        with pytest.raises(cgexec.QueueFull, match="queue is full: 1 of 1 places taken.*submit_timeout=") as caught:
            pool.submit(int)
        assert caught.value.retry_after > 0  # from how long the running task has been running
        with pytest.raises(cgexec.QueueFull):
            pool.submit(int)
        assert pool.stats().rejected == {"queue": 2}


@pytest.mark.parametrize("view", [False, True])
def test_a_refusal_that_was_caught_keeps_nothing_of_the_submitter(view):
    def submit(pool):
        local = Local()
        with contextlib.suppress(cgexec.QueueFull):
            (pool.options(queue_timeout=60) if view else pool).submit(id, local)
        return weakref.ref(local)

    class Local:
        pass

    with cgexec.ThreadPoolExecutor(1, queue_size=0, when_full="raise") as pool, holding(pool, 1):
        gc.disable()  # what is kept by a cycle is kept
        try:
            assert submit(pool)() is None
        finally:
            gc.enable()


def test_queue_full_survives_pickling():
    error = cgexec.QueueFull("full", reason="wait", retry_after=1.5)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.reason, copy.retry_after) == ("full", "wait", 1.5)


def test_caller_runs_runs_it_here():
    with full_pool(when_full="caller_runs") as pool, holding(pool, 1) as hold:
        hold.queue(1)
        future = pool.submit(threading.current_thread)
        assert future.result(timeout=0) is threading.current_thread()
        failed = pool.submit(int, "x")
        assert isinstance(failed.exception(timeout=0), ValueError)
        seen = pool.stats()
        assert (seen.ran_in_caller, seen.completed, seen.failed) == (2, 1, 1)


def test_caller_runs_counts_as_running_meanwhile():
    seen = []
    with full_pool(when_full="caller_runs") as pool, holding(pool, 1) as hold:
        hold.queue(1)
        pool.submit(lambda: seen.append(pool.stats().running))
        assert seen == [2]


def test_ctrl_c_in_the_callers_own_task_is_the_callers_too():
    def interrupt():
        raise KeyboardInterrupt

    with full_pool(when_full="caller_runs") as pool, holding(pool, 1) as hold:
        hold.queue(1)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(interrupt)


def test_discard_oldest_cancels_the_one_that_has_waited_longest():
    with full_pool(2, when_full="discard_oldest") as pool, holding(pool, 1) as hold:
        oldest, second = hold.queue(2)
        new = pool.submit(pow, 2, 3)
        with pytest.raises(CancelledError):
            oldest.result(timeout=0)
        assert not second.done()
        hold.release()
        assert new.result(SOON) == 8
        assert pool.stats().discarded == 1


def test_discard_oldest_without_any_waiting_refuses():
    with full_pool(0, when_full="discard_oldest") as pool, holding(pool, 1), pytest.raises(cgexec.QueueFull):
        pool.submit(int)


def test_discard_returns_a_cancelled_future():
    with full_pool(when_full="discard") as pool, holding(pool, 1) as hold:
        hold.queue(1)
        future = pool.submit(int)
        assert future.cancelled()
        assert future.done()
        assert pool.stats().discarded == 1


@pytest.mark.parametrize("when_full", ["block", "raise", "caller_runs", "discard"])
def test_on_an_event_loop_nothing_blocks_and_nothing_runs(when_full):
    async def main():
        with pytest.raises(cgexec.QueueFull, match="await pool.run"):
            pool.submit(threading.current_thread)

    with full_pool(when_full=when_full) as pool, holding(pool, 1) as hold:
        hold.queue(1)
        asyncio.run(main())


@pytest.mark.parametrize("when_full", ["block", "caller_runs"])
def test_a_worker_never_waits_for_its_own_pool(when_full):
    with full_pool(0, when_full=when_full) as pool:
        inner = pool.submit(lambda: [pool.submit(pow, 2, n) for n in range(3)]).result(SOON)
        assert [future.result(SOON) for future in inner] == [1, 2, 4]
        assert (pool.stats().over_bound > 0) == (when_full == "block")


def submits_two(pool):
    return [pool.submit(threading.current_thread) for _ in range(2)]  # the place that has become free, and one more


def maps_two(pool):
    pool.map(abs, range(2))
    return []


@pytest.mark.parametrize("again", [submits_two, maps_two])
@pytest.mark.parametrize("when_full", ["block", "caller_runs"])
def test_the_callback_of_an_expired_task_stops_no_clock(when_full, again):
    given = []
    with testing.clock() as clock, full_pool(when_full=when_full) as pool, cgexec.ThreadPoolExecutor(1) as other:
        with holding(pool, 1) as hold, holding(other, 1):
            late = pool.options(queue_timeout=60).submit(int)
            late.add_done_callback(lambda _: given.extend(again(pool)))
            later = other.options(queue_timeout=61).submit(int)
            clock.advance(60)
            assert (pool.stats().waiting, pool.stats().over_bound, pool.stats().ran_in_caller) == (2, 1, 0)
            clock.advance(1)
            assert isinstance(later.exception(SOON), TimeoutError)
            hold.release()
        assert {future.result(SOON).name for future in given} <= {"jobs_0"}


def test_two_pools_that_submit_to_each_other_do_not_stand_still(monkeypatch, caplog):
    monkeypatch.setattr(door, "PATIENCE", 0.05)
    with full_pool(0) as one, cgexec.ThreadPoolExecutor(1, queue_size=0, name="other") as other:
        meet = threading.Barrier(2)

        def cross(pool):
            meet.wait(SOON)
            return pool.submit(pow, 2, 3)

        first, second = one.submit(cross, other), other.submit(cross, one)
        assert first.result(SOON).result(SOON) == second.result(SOON).result(SOON) == 8
    assert "do the two pools submit to each other?" in caplog.text
    assert one.stats().over_bound + other.stats().over_bound >= 1


def test_a_worker_of_another_pool_waits_as_long_as_the_queue_moves(monkeypatch):
    monkeypatch.setattr(door, "PATIENCE", 0.05)
    with full_pool() as busy, cgexec.ThreadPoolExecutor(1) as other:
        given = other.submit(lambda: [busy.submit(pow, 2, n) for n in range(50)]).result(SOON)
        assert [future.result(SOON) for future in given] == [2**n for n in range(50)]
        assert busy.stats().over_bound == 0


def test_max_wait_refuses_what_would_wait_longer():
    pool = cgexec.ThreadPoolExecutor(1, max_wait=100, name="jobs")
    with pool, holding(pool, 1) as hold:
        hold.queue(1)
        # As if the running task had been running for an hour: the one behind the waiting one would wait two.
        (worker,) = pool._cgexec_pool.state.staff
        worker.since -= 3600
        with pytest.raises(cgexec.QueueFull, match="would wait about .* longer than max_wait=100") as caught:
            pool.submit(int)
        assert caught.value.reason == "wait"
        assert caught.value.retry_after > 3600
        assert pool.stats().rejected == {"wait": 1}


def test_an_interrupted_submit_takes_its_ticket_along(monkeypatch):
    with full_pool() as pool, holding(pool, 1) as hold:
        hold.queue(1)

        def interrupted(*_):
            assert pool.stats().blocked == 1
            raise KeyboardInterrupt

        monkeypatch.setattr(door.Door, "_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(int)
        seen = pool.stats()
        assert (seen.blocked, seen.waiting) == (0, 1)


def test_a_full_pool_holds_up_nobody_else():
    # A bounded queue put in the standard pool's place blocks every other pool of the process, fork and shutdown.
    with full_pool() as pool, holding(pool, 1) as hold:
        hold.queue(1)
        thread, _ = in_thread(lambda: pool.submit(int))
        eventually(lambda: pool.stats().blocked == 1)
        with cgexec.ThreadPoolExecutor(1) as another:
            assert another.submit(pow, 2, 3).result(SOON) == 8
        pool.shutdown(wait=False)
        thread.join(SOON)


def test_an_unbounded_queue_is_to_be_had():
    with cgexec.ThreadPoolExecutor(1, queue_size=float("inf")) as pool, holding(pool, 1) as hold:
        given = [pool.submit(int) for _ in range(5000)]
        assert pool.stats().waiting == 5000
        hold.release()
        assert all(future.result(SOON) == 0 for future in given)


def test_no_place_at_all_hands_over_to_free_workers_only():
    with cgexec.ThreadPoolExecutor(3, queue_size=0, when_full="raise") as pool:
        hold = Hold(pool)
        hold.occupy(3)
        with pytest.raises(cgexec.QueueFull, match="0 of 0 places taken, 3 of 3 workers busy"):
            pool.submit(int)
        hold.release()
