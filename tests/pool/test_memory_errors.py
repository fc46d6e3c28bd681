"""What becomes of tasks that memory runs out for. They raise the error themselves; real shortage is in tests/lab."""

import errno
import threading
from concurrent.futures import wait

import pytest

import cgexec
from cgexec._pool import endings, lines
from cgexec._pool import holding as holds
from cgexec._pool.admission import Admission
from cgexec._pool.crowd import Crowd
from cgexec._pool.hands import SHUT_DOWN
from cgexec._pool.records import Verdict
from cgexec._pool.task import AGAIN, ALONE, CANCELLED, PATIENCE, RUNNING, STARVED, WAITING
from support.pools import SOON, Fails, Prices, eventually, hired, holding, started, task


def retrying(workers=4, **more):
    return cgexec.ThreadPoolExecutor(workers, on_memory_error="retry", **more)


def test_by_default_the_future_gets_the_error():
    task = Fails(1)
    with cgexec.ThreadPoolExecutor(2) as pool:
        with pytest.raises(MemoryError):
            pool.submit(task).result(SOON)
        eventually(lambda: pool.stats().failed)
        seen = pool.stats()
    assert (task.runs, seen.memory_errors, seen.memory_retries) == (1, 1, 0)


@pytest.mark.parametrize("error", [MemoryError, OSError(errno.ENOMEM, "no memory")])
def test_with_retry_it_is_run_again(error):
    task = Fails(1, error)
    with retrying() as pool:
        assert pool.submit(task).result(SOON) == 2
        eventually(lambda: pool.stats().completed)
        seen = pool.stats()
    assert (seen.submitted, seen.completed, seen.failed, seen.memory_errors, seen.memory_retries) == (1, 1, 0, 1, 1)


@pytest.mark.parametrize("error", [ValueError, OSError(errno.ENOENT, "no file")])
def test_other_errors_are_nobody_elses(error):
    task = Fails(1, error)
    with retrying() as pool, pytest.raises(type(error) if isinstance(error, OSError) else error):
        pool.submit(task).result(SOON)
    assert task.runs == 1


def test_a_call_can_say_otherwise():
    keeps, gives = Fails(1), Fails(1)
    with retrying() as pool, cgexec.ThreadPoolExecutor(2) as plain:
        with pytest.raises(MemoryError):
            pool.options(retry_on_memory_error=False).submit(keeps).result(SOON)
        assert plain.options(retry_on_memory_error=True).submit(gives).result(SOON) == 2


def test_beside_others_it_fails_three_times_and_then_runs_alone_for_the_last_time():
    lock = threading.Lock()
    leave = threading.Semaphore(0)
    beside: list[int] = []
    running = 0

    def company():
        nonlocal running
        with lock:
            running += 1
        assert leave.acquire(timeout=SOON)
        with lock:
            running -= 1

    def hungry():
        with lock:
            beside.append(running)
        leave.release(2 if len(beside) < 3 else 8)  # fewer may run beside it each time, so some have to go
        raise MemoryError

    with retrying(16) as pool:
        others = [pool.submit(company) for _ in range(8)]
        eventually(lambda: running == 8)
        future = pool.submit(hungry)
        with pytest.raises(MemoryError):
            future.result(SOON)
        wait(others, SOON)
    assert len(beside) == 4
    assert beside[0] > beside[1] > beside[2] > beside[3] == 0


def test_what_fails_alone_gets_one_more_try():
    task = Fails(9)
    with retrying() as pool, pytest.raises(MemoryError):
        pool.submit(task).result(SOON)
    assert task.runs == 2


def test_of_many_that_fail_side_by_side_all_come_through():
    """Each fails while more than two run: like tasks that all hold half of what they need."""
    lock = threading.Lock()
    running = 0
    worst = 0

    def needs_room(number):
        nonlocal running, worst
        with lock:
            running += 1
            worst = max(worst, running)
            crowded = running > 2
        try:
            if crowded:
                raise MemoryError
            threading.Event().wait(0.001)  # lets others come; nothing depends on how long
            return number
        finally:
            with lock:
                running -= 1

    with retrying(16) as pool:
        assert list(pool.map(needs_room, range(200), timeout=6 * SOON)) == list(range(200))
        eventually(lambda: pool.stats().completed == 200)
        seen = pool.stats()
    assert seen.failed == 0
    assert seen.memory_errors == seen.memory_retries


def test_it_is_not_run_again_where_its_submitter_runs_it():
    task = Fails(1)
    pool = retrying(1, queue_size=0, when_full="caller_runs")
    with pool, holding(pool, 1):
        future = pool.submit(task)
        assert isinstance(future.exception(SOON), MemoryError)
    assert task.runs == 1


# -- between two runs: by hand, on the state machine ---------------------------------------------------------------------


def between(*, others=0):
    """Return a machine, a task of it that waits to be run again, and the worker that ran it."""
    state = Admission(1, 10)
    state.retry = state.guarded = True
    failing, worker = hired(state)
    failing.fn = Fails(99)
    behind = [task(state) for _ in range(others)]
    for each in behind:
        state.offer(each)
    assert failing.run() == AGAIN
    assert state.next(worker, 1.0, AGAIN) is Verdict.LOOK, "nothing starts before somebody has looked at memory"
    return state, failing, worker


def test_it_comes_before_all_others_and_is_not_running_meanwhile():
    state, failing, worker = between(others=2)
    assert (state.queue[0], state.running, state.waiting()) == (failing, 0, 3)
    state.bounded = False
    assert state.next(worker, 2.0, 0) is failing


def test_shut_down_with_cancel_futures_it_ends():
    state, failing, _ = between()
    closing = endings.close(state, SHUT_DOWN, drop="cancelled")
    assert closing.dropped == [failing]
    failing.end(None)
    assert isinstance(failing.exception(0), cgexec.TaskCancelled)


def test_it_does_not_expire_since_it_began_in_time():
    state, failing, _ = between()
    endings.expect(state, failing, 5.0)
    assert endings.find_late(state, 100.0).expired == []
    assert failing.place == WAITING


def test_it_is_not_pushed_out_as_the_oldest():
    state, failing, _ = between(others=10)
    answer, oldest = lines.displace(state, task(state))
    assert answer is None
    assert oldest is not failing


def test_asked_to_end_it_does_not_run_again():
    _, failing, _ = between()
    assert not failing.cancel(), "it has begun"
    assert cgexec.cancel(failing)
    failing.place = RUNNING
    assert failing.run() == CANCELLED
    assert isinstance(failing.exception(0), cgexec.TaskCancelled)
    assert failing.fn is None


def test_memory_that_runs_out_for_the_machine_itself_loses_no_task():
    """The worst moment: between a task's leaving the queue and its worker's having it there is none."""
    state = Admission(1, 10)
    state.guarded = state.bounded = True
    new = task(state)

    def no_memory(_):
        raise MemoryError

    state.price = Prices(no_memory)
    worker = started(state.offer(new))
    with pytest.raises(MemoryError):
        state.next(worker, 0.0, 0)
    state.price = Prices(lambda _: 0.0)
    state.budget = 1.0
    assert state.next(worker, 0.0, 0) is new
    assert (state.running, state.coming, state.waiting()) == (1, 0, 0)


def test_alone_among_other_processes_it_is_given_up_in_the_end():
    state, failing, worker = between()
    state.shared, state.bounded, runs = True, False, 1
    while (given := state.next(worker, 2.0, 0)) is failing:
        worker.ident = 0
        runs += 1
        outcome = failing.run()
        if outcome == STARVED:
            break
        state.next(worker, 3.0, outcome)
        state.bounded = False
    assert given is failing
    assert runs <= ALONE + PATIENCE + 1
    assert isinstance(failing.exception(0), MemoryError)


def test_an_error_that_is_not_for_want_of_memory_slows_nothing_down():
    crowd = Crowd()
    state = Admission(4, 10)
    before, after = holds.need(state, None), holds.need(state, None)._replace(starved=1)
    crowd.see({1: before}, 0, 0.0, short=False)
    assert crowd.see({1: after}, 0, 1.0, short=False) == 0
    assert not crowd.limited
    assert crowd.see({1: after._replace(starved=2)}, 0, 2.0) == 1
    assert crowd.limited
