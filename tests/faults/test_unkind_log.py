"""Handlers and filters of the application's log that raise: nobody waits for ever for what was about to be logged."""

import logging
import threading
from concurrent.futures.thread import BrokenThreadPool

import pytest

import cgexec
from cgexec import testing
from support.pools import SOON, eventually, holding


class Unkind(logging.Handler):
    def __init__(self):
        super().__init__()
        self.asked = 0

    def emit(self, record):
        self.asked += 1
        raise ValueError("a handler's own error")


@pytest.fixture
def unkind(monkeypatch):
    handler = Unkind()
    for name in ("cgexec", "concurrent.futures"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [handler])
    yield handler
    assert handler.asked


def test_a_look_at_memory_that_is_logged_stops_no_worker(unkind, tmp_path):
    box = testing.Container(tmp_path, memory="1Gi", used="900Mi")
    with testing.inside(box), cgexec.ThreadPoolExecutor(2, memory_per_task="200Mi") as pool:
        futures = [pool.submit(pow, 2, number) for number in range(4)]
        assert [future.result(SOON) for future in futures] == [1, 2, 4, 8]


def test_what_is_overdue_keeps_nothing_of_what_is_due_with_it_from_its_end(unkind):
    with testing.clock() as clock, cgexec.ThreadPoolExecutor(1) as pool:
        may_end = threading.Event()
        long = pool.options(run_timeout=50).submit(may_end.wait, SOON)
        eventually(long.running)
        late = pool.options(queue_timeout=60).submit(int)
        clock.advance(60)
        assert isinstance(late.exception(0), TimeoutError)
        may_end.set()


def test_a_callback_that_raises_stops_no_worker(unkind):
    def unkind_callback(_):
        raise ZeroDivisionError

    with cgexec.ThreadPoolExecutor(1) as pool:
        with holding(pool, 1) as hold:
            hold.futures[0].add_done_callback(unkind_callback)
            after = pool.submit(pow, 2, 3)
        assert after.result(SOON) == 8


def test_an_initializer_that_fails_breaks_the_pool_all_the_same(unkind):
    def initializer():
        raise ZeroDivisionError

    with cgexec.ThreadPoolExecutor(1, initializer=initializer) as pool:
        assert isinstance(pool.submit(int).exception(SOON), BrokenThreadPool)
