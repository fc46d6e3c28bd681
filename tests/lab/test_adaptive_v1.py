"""The size that follows the load, under real quotas of cgroup v1."""

import pytest

from support.lab import run_in

pytestmark = pytest.mark.lab

FEED = """
import hashlib, threading, time
from cgexec import ThreadPoolExecutor
def compute():
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 20000)
def keep_busy(pool, task, until):
    "Hand tasks in until that holds, for thirty seconds at most; return whether it came to hold."
    places, end = threading.Semaphore(500), time.monotonic() + 30
    while not (held := until()) and time.monotonic() < end:
        if places.acquire(timeout=0.1):
            pool.submit(task).add_done_callback(lambda _: places.release())
    return held
"""

COMPUTING = (
    FEED
    + """
with ThreadPoolExecutor(io_ratio=0.96) as pool:
    begin = pool.stats().limit
    settled = keep_busy(pool, compute, lambda: pool.stats().limit <= 2)
    explained = pool.explain()
    pool.shutdown(cancel_futures=True)
answer(begin=begin, settled=settled, explained=explained)
"""
)


def test_work_that_computes_gives_up_the_threads_that_only_use_up_the_quota() -> None:
    seen = run_in(["v1", "--cpus", "0.5", "--"], COMPUTING)
    assert seen.begin == 13
    assert seen.settled, seen.explained
    assert "of 0.5 CPUs" in seen.explained


WAITING = (
    FEED
    + """
with ThreadPoolExecutor() as pool:
    begin = pool.stats().limit
    grown = keep_busy(pool, lambda: time.sleep(0.05), lambda: pool.stats().limit >= 32)
    explained = pool.explain()
    pool.shutdown(cancel_futures=True)
answer(begin=begin, grown=grown, explained=explained)
"""
)


def test_work_that_waits_gets_threads() -> None:
    seen = run_in(["v1", "--cpus", "0.5", "--"], WAITING)
    assert seen.begin == 2
    assert seen.grown, seen.explained


HALVED = (
    FEED
    + """
from pathlib import Path
import cgexec
file = Path(cgexec.limits().sources["cpu_quota"])
with ThreadPoolExecutor() as pool:
    before = keep_busy(pool, lambda: time.sleep(0.01), lambda: "of 2 CPUs" in pool.explain())
    file.write_text("100000")
    after = keep_busy(pool, lambda: time.sleep(0.01), lambda: "of 1 CPUs" in pool.explain())
    pool.shutdown(cancel_futures=True)
answer(before=before, after=after, file=str(file))
"""
)


def test_a_quota_that_is_changed_while_the_pool_runs_is_noticed() -> None:
    seen = run_in(["v1", "--cpus", "2", "--"], HALVED)
    assert seen.file.endswith("cpu.cfs_quota_us")
    assert seen.before
    assert seen.after
