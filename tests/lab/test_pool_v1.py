"""The pool under real limits of cgroup v1: what the kernel refuses loses no task and runs none twice."""

import pytest

from support.lab import run_in

pytestmark = pytest.mark.lab

MANY = """
import logging, threading, time
logging.disable()
from cgexec import ThreadPoolExecutor
ran, lock, release, started = [], threading.Lock(), threading.Event(), threading.Semaphore(0)
def task(number):
    started.release()
    release.wait(60)
    with lock:
        ran.append(number)
errors = []
pool = ThreadPoolExecutor(64)
futures = []
for number in range(200):
    try:
        futures.append(pool.submit(task, number))
    except RuntimeError as error:
        errors.append(str(error))
seen = pool.stats()
for _ in range(seen.running):
    assert started.acquire(timeout=60)
release.set()
for future in futures:
    future.result(60)
after = pool.stats()
pool.shutdown()
answer(ran=sorted(ran), errors=errors, limit=seen.limit, workers=seen.workers, waiting=seen.waiting, failed=after.failed,
       submitted=after.submitted, recommended=recommend().terms["pids"])
"""


def test_threads_refused_by_the_task_limit_lose_no_task() -> None:
    seen = run_in(["v1", "--pids", "12", "--"], MANY, timeout=120)
    assert seen.errors == []
    assert seen.ran == list(range(200))
    assert 1 <= seen.limit == seen.workers < 12
    assert seen.waiting == 200 - seen.workers
    assert (seen.submitted, seen.failed) == (200, 0)


NONE = """
import logging, threading
logging.disable()
from cgexec import ThreadPoolExecutor
release = threading.Event()
# Take all that is left, so that the pool gets none.
hogs = []
try:
    while True:
        hog = threading.Thread(target=release.wait, args=(60,))
        hog.start()
        hogs.append(hog)
except RuntimeError:
    pass
pool = ThreadPoolExecutor(4)
ran = []
try:
    pool.submit(ran.append, "first")
    refused = ""
except RuntimeError as error:
    refused = str(error)
release.set()
for hog in hogs:
    hog.join()
pool.submit(ran.append, "second").result(60)
pool.shutdown()
answer(refused=refused, ran=ran, submitted=pool.stats().submitted)
"""


def test_without_any_thread_submit_raises_and_the_task_never_runs() -> None:
    seen = run_in(["v1", "--pids", "12", "--"], NONE, timeout=120)
    assert "can't start new thread" in seen.refused
    assert "the task was not queued" in seen.refused
    assert (seen.ran, seen.submitted) == (["second"], 1)


SIZED = """
from cgexec import ThreadPoolExecutor
with ThreadPoolExecutor(cpu_per_task=0.1) as pool:
    answer(limit=pool.stats().limit, explain=pool.explain())
"""


def test_a_pool_is_sized_by_the_limit_that_the_kernel_enforces() -> None:
    seen = run_in(["v1", "--cpus", "0.5", "--memory", "512M", "--"], SIZED)
    assert seen.limit == 5
    assert "5 workers, by cgexec.recommend()" in seen.explain
