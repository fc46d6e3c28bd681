"""The CPU time of threads that come and go."""

import threading
import time

import pytest

from cgexec._adaptive import clocks
from cgexec._adaptive.clocks import Clocks, thread_cpu


@pytest.fixture
def times(monkeypatch):
    found = {}
    monkeypatch.setattr(clocks, "thread_cpu", found.get)
    return found


def test_it_is_added_up_over_threads_that_come_and_go(times):
    seen = Clocks()
    times |= {1: 5.0, 2: 1.0}
    assert seen.read([1, 2]) == 6.0
    times |= {1: 5.5, 3: 2.0}
    del times[2]
    assert seen.read([1, 2, 3]) == 8.5
    assert seen.read([]) == 8.5


def test_an_id_that_is_another_threads_by_now_begins_anew(times):
    seen = Clocks()
    times[1] = 5.0
    seen.read([1])
    times[1] = 0.25
    assert seen.read([1]) == 5.25


def test_without_such_clocks_nothing_is_known(times):
    assert Clocks().read([1, 2]) is None


def test_a_threads_clock_is_its_own():
    used, ready, end = [], threading.Event(), threading.Event()

    def compute():
        begin = time.thread_time()
        while time.thread_time() < begin + 0.05:
            pass
        used.append(time.thread_time())
        ready.set()
        end.wait(30)

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        assert ready.wait(30)
        cpu = thread_cpu(thread.native_id)
        if cpu is None:
            pytest.skip("this system has no clocks of other threads")
        assert cpu >= used[0]
    finally:
        end.set()
        thread.join()
    assert thread_cpu(2**22) is None  # more than the kernel gives out (PID_MAX_LIMIT)
