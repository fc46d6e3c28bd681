"""Under gevent's patches, where threads are greenlets of one thread: a pool works, blocks and ends."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("gevent", reason="needs gevent: pip install gevent")

CODE = """
from gevent import monkey
monkey.patch_all()
import gevent, threading
import cgexec

with cgexec.ThreadPoolExecutor(2, queue_size=1) as pool:
    assert pool.submit(pow, 2, 3).result(10) == 8
    assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))
    gate, started = threading.Event(), threading.Semaphore(0)
    def task():
        started.release()
        return gate.wait(10)
    held = [pool.submit(task) for _ in range(2)]
    for _ in held:
        assert started.acquire(timeout=10)
    held.append(pool.submit(task))
    def block():
        held.append(pool.submit(task))  # waits for a place, and the others go on meanwhile
    blocked = gevent.spawn(block)
    while not pool.stats().blocked:
        gevent.sleep(0)
    gate.set()
    blocked.join(10)
    assert [future.result(10) for future in held] == [True] * 4
seen = pool.stats()
assert (seen.submitted, seen.completed, seen.running, seen.waiting, seen.workers) == (25, 25, 0, 0, 0)
left = cgexec.ThreadPoolExecutor(1)
left.submit(lambda: (gevent.sleep(0.01), print("at exit", flush=True)))
print("fine", flush=True)
"""


def test_a_patched_interpreter():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert done.stderr == ""
    assert (sorted(done.stdout.split("\n")), done.returncode) == (["", "at exit", "fine"], 0)
