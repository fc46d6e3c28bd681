"""Ctrl-C in every wait: it reaches the waiting thread, and what was handed in is still done, once."""

import signal
import sys
import threading
from concurrent.futures import Future, as_completed, wait
from contextlib import contextmanager

import pytest

import cgexec
from cgexec._pool import mapping
from cgexec._pool.door import Door
from cgexec._pool.front import Pool
from support.pools import SOON, eventually, holding

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs a real Ctrl-C"),
    pytest.mark.timeout(120, method="thread"),
]


# Where our own code waits for a plain lock; everything else of the standard library waits in the first.
WAITS = {function.__code__ for function in (threading.Condition.wait, Door._wait, Pool._wait_until_quiet)}


def waits_in(thread_id, function):
    """Whether a thread waits at this moment, somewhere below that function."""
    frame = sys._current_frames().get(thread_id)
    if frame is None or frame.f_code not in WAITS:  # not yet: there Future.result() would leave its lock taken
        return False
    while frame is not None:
        if frame.f_code is function.__code__:
            return True
        frame = frame.f_back
    return False


@contextmanager
def ctrl_c_once_in(function):
    """Send a real SIGINT to this thread as soon as it waits in that function, and expect it to arrive, once."""
    main, errors, arrived = threading.get_ident(), [], []
    ready = threading.Event()

    def handler(number, frame):
        if not arrived:
            arrived.append(number)
            signal.default_int_handler(number, frame)

    def press():
        # Again and again: CPython does not see one that comes right before the system call in which it waits.
        signal.pthread_kill(main, signal.SIGINT)
        return arrived

    def interrupt():
        try:
            assert ready.wait(SOON)
            eventually(lambda: waits_in(main, function))
            eventually(press)
        except BaseException as error:  # noqa: BLE001  # shown below
            errors.append(error)

    killer = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, handler)
    killer.start()
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # it comes somewhere in the caller's block
            ready.set()
            yield
    finally:
        killer.join(SOON * 3)
        signal.signal(signal.SIGINT, before)
    assert errors == []


def books_close(pool, futures=()):
    threads = list(pool._threads)
    pool.shutdown()
    assert not wait(futures, timeout=SOON).not_done
    seen = pool.stats()
    assert seen.submitted == seen.completed + seen.failed + seen.cancelled + seen.expired + seen.discarded
    assert (seen.running, seen.waiting, seen.blocked, seen.workers) == (0, 0, 0, 0)
    assert not [thread for thread in threads if thread.is_alive()]
    return seen


def test_in_result():
    pool = cgexec.ThreadPoolExecutor(1)
    with holding(pool, 1) as hold, ctrl_c_once_in(Future.result):
        hold.futures[0].result(SOON)
    assert hold.futures[0].result(SOON) == "held"
    assert books_close(pool).completed == 1


def test_in_a_submit_that_waits_for_a_place():
    pool = cgexec.ThreadPoolExecutor(1, queue_size=1)
    with holding(pool, 1) as hold:
        hold.queue(1)
        with ctrl_c_once_in(Door._wait):
            pool.submit(int)
        assert pool.stats().blocked == 0
    assert books_close(pool, hold.futures).completed == 2


@pytest.mark.parametrize("buffersize", [None, 2])
def test_in_the_iteration_of_map(buffersize):
    pool = cgexec.ThreadPoolExecutor(1)
    release = threading.Event()
    results = pool.map(lambda _: release.wait(SOON), range(5), buffersize=buffersize)
    with ctrl_c_once_in(mapping._result):
        next(results)
    release.set()
    with pytest.raises(StopIteration):
        next(results)
    seen = books_close(pool)
    assert seen.submitted == (buffersize or 5)
    assert seen.cancelled == seen.submitted - 1


def test_in_map_that_waits_for_places():
    pool = cgexec.ThreadPoolExecutor(1, queue_size=1)
    with holding(pool, 1) as hold:
        with ctrl_c_once_in(Door._wait):
            pool.map(abs, range(5))
        assert pool.stats().blocked == 0
    assert books_close(pool, hold.futures).completed == 1


@pytest.mark.parametrize("end", ["shutdown", "drain"])
def test_in_the_wait_for_the_end(end):
    pool = cgexec.ThreadPoolExecutor(1)
    with holding(pool, 1) as hold:
        hold.queue(2)
        with ctrl_c_once_in(Pool._wait_until_quiet):
            getattr(pool, end)()
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(int)
    assert books_close(pool, hold.futures).completed == 3


def test_at_the_end_of_with():
    pool = cgexec.ThreadPoolExecutor(1)
    with holding(pool, 1) as hold, ctrl_c_once_in(Pool._wait_until_quiet), pool:
        pass
    assert books_close(pool, hold.futures).completed == 1


def test_in_the_body_of_with():
    pool = cgexec.ThreadPoolExecutor(1)
    gate = threading.Event()

    def stand_still():
        gate.wait(SOON)

    with ctrl_c_once_in(stand_still), pool:
        futures = [pool.submit(pow, 2, number) for number in range(5)]
        stand_still()
    assert [future.result(0) for future in futures] == [1, 2, 4, 8, 16], "with finishes what was handed in"
    assert books_close(pool, futures).completed == 5


def test_in_as_completed_and_wait():
    pool = cgexec.ThreadPoolExecutor(2)
    with holding(pool, 2) as hold:
        hold.queue(2)
        with ctrl_c_once_in(as_completed):
            list(as_completed(hold.futures, timeout=SOON))
        with ctrl_c_once_in(wait):
            wait(hold.futures, timeout=SOON)
    assert len(list(as_completed(hold.futures, timeout=SOON))) == 4
    assert books_close(pool, hold.futures).completed == 4
