"""The thread that looks by time is not killed by what goes wrong in it: without it no task of any pool would expire."""

import ctypes
import threading

import pytest

import cgexec
from cgexec._pool import ticker
from support.pools import SOON, eventually, holding


class Killed(BaseException):
    pass


def test_an_asynchronous_exception_in_the_ticker_stops_no_clock():
    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1):
        pool.options(queue_timeout=3600).submit(int)  # so that it is there, and waits
        eventually(lambda: ticker._ticker.thread is not None)
        thread = ticker._ticker.thread
        # The interpreter's own way to raise in another thread; it arrives when the thread next runs Python.
        set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc
        assert set_error(ctypes.c_ulong(thread.ident), ctypes.py_object(Killed)) == 1
        late = pool.options(queue_timeout=0.01).submit(int)
        assert isinstance(late.exception(SOON), TimeoutError)
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.mark.parametrize("where", ["_next", "call_at"])
def test_no_memory_for_the_ticker_itself_stops_no_clock(monkeypatch, where):
    # Raised by hand, as a real lack of memory cannot be had at that line; tests/faults/test_no_memory.py has real ones.
    real = getattr(ticker._Ticker, where)
    failed = []

    def failing(self, *args):
        if threading.current_thread() is self.thread and len(failed) < 3:
            failed.append(where)
            raise MemoryError
        return real(self, *args)

    with cgexec.ThreadPoolExecutor(1) as pool, holding(pool, 1):
        monkeypatch.setattr(ticker._Ticker, where, failing)
        view = pool.options(queue_timeout=0.01, run_timeout=3600)
        assert isinstance(view.submit(int).exception(SOON), TimeoutError)
        assert isinstance(view.submit(int).exception(SOON), TimeoutError)
        eventually(lambda: failed or where == "call_at")
