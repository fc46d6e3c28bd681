"""The end of the interpreter, and of a wrapper nobody holds: what was handed in is finished."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from support import calls
from support.calls import Meeting
from support.peers import PEERS, bare, start_cluster, stop_cluster, wrapped
from support.pools import SOON, eventually

TESTS = Path(__file__).parent.parent

AT_EXIT = """
import os, sys, threading
sys.path.insert(0, {tests!r})
import cgexec
from support import calls
from support.peers import wrapped

if __name__ == "__main__":
    cgexec.ThreadPoolExecutor(1).submit(int).result()  # so our hook is there before theirs
    pool = wrapped({name!r}, 2)
    for _ in range(40):
        pool.submit(calls.note, {path!r}).add_done_callback(lambda _: os.write(1, b"ended\\n"))
"""

IN_FLIGHT_AT_EXIT = """
import threading
from concurrent.futures import Executor, Future
import cgexec
from cgexec._pool import ticker

class Peer(Executor):
    given = []

    def submit(self, fn, /):
        self.given.append(Future())
        return self.given[-1]

    def end(self):
        ticker.begin = None  # nobody waits for a thread of the clock any more
        ended, cancelled, _ = self.given
        ended.set_result("ended")
        cancelled.cancel()
        print(ours[0].result(0), ours[1].cancelled(), ours[2].done(), pool.stats().running)

peer = Peer()
threading._register_atexit(peer.end)
pool = cgexec.wrap(peer, max_in_flight=3)
ours = [pool.submit(int) for _ in range(3)]
"""


@pytest.fixture(scope="module", autouse=True)
def cluster():
    start_cluster()
    yield
    stop_cluster()


@pytest.mark.parametrize("name", ["threads", "cgexec", "processes", "interpreters", "loky", "mpi"])
def test_what_waits_is_finished_when_the_interpreter_ends(name, tmp_path):
    bare(name, 1).shutdown()  # skips where it cannot be had
    program, notes = tmp_path / "program.py", tmp_path / "notes"
    program.write_text(AT_EXIT.format(tests=str(TESTS), name=name, path=str(notes)))
    result = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert notes.read_text() == "x\n" * 40
    assert result.stdout == "ended\n" * 40, "so did our futures"


def test_what_is_in_flight_when_the_interpreter_ends_is_the_other_executors_to_wait_for():
    result = subprocess.run([sys.executable, "-c", IN_FLIGHT_AT_EXIT], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "ended True False 1\n"


@pytest.mark.parametrize("name", PEERS)
def test_a_wrapper_that_nobody_holds_finishes_its_work_and_goes(name, tmp_path):
    meeting = Meeting(tmp_path)
    pool = wrapped(name)
    meeting.hand_in(pool, 2)
    meeting.started(2)
    waiting = [pool.submit(calls.square, n) for n in range(5)]
    gone, inner = weakref.ref(pool), pool.executor
    del pool
    gc.collect()
    assert gone() is None
    meeting.release()
    assert [future.result(SOON) for future in waiting] == [0, 1, 4, 9, 16]
    inner.shutdown()


def test_a_wrapped_pool_that_nobody_holds_ends_its_processes():
    pool = wrapped("processes")
    pool.submit(calls.square, 1).result(SOON)
    processes = list(pool.executor._processes.values())
    del pool
    gc.collect()
    eventually(lambda: not any(process.is_alive() for process in processes))
