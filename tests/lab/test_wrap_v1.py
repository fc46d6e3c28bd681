"""A wrapped process pool under a real memory limit: its children are counted, as the kernel counts them."""

import pytest

from support.lab import run_in

pytestmark = pytest.mark.lab

WORK = """
import sys, time, tempfile, importlib
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
import cgexec
MIB = 1 << 20
def work(mebibytes):
    held = bytearray(b"x" * 4096) * (mebibytes * 256)
    time.sleep(0.05)
    return len(held)
"""
LIMIT = ["v1", "--memory", "224M", "--"]


def test_the_bare_pool_is_killed_for_what_the_wrapped_one_gets_done():
    seen = run_in(
        LIMIT,
        WORK
        + """
import multiprocessing
fork = multiprocessing.get_context("fork")
try:
    list(ProcessPoolExecutor(8, mp_context=fork).map(work, [48] * 40))
    bare = "done"
except BrokenExecutor:
    bare = "killed"
kills = usage().oom_kills
with cgexec.wrap(ProcessPoolExecutor(8, mp_context=fork)) as pool:
    done = list(pool.map(work, [48] * 40))
    seen = pool.stats()
answer(bare=bare, done=done == [48 * MIB] * 40, kills=usage().oom_kills - kills, held=seen.held_seconds,
       footprints={name: f.bytes for name, f in seen.footprints.items()})
""",
        timeout=120,
    )
    assert seen.bare == "killed"
    assert seen.done
    assert seen.kills == 0
    assert seen.held > 0
    assert 20 << 20 < seen.footprints.work < 100 << 20


def test_recommend_sizes_a_process_pool_by_what_its_workers_hold():
    seen = run_in(
        LIMIT,
        """
from cgexec import recommend
answer(small=recommend(kind="process", io_ratio=0.95, memory_per_task="30Mi").max_workers,
       large=recommend(kind="process", io_ratio=0.95, memory_per_task="60Mi").max_workers,
       bound_by=recommend(kind="process", io_ratio=0.95, memory_per_task="60Mi").bound_by)
""",
    )
    assert 1 <= seen.large < seen.small < 7
    assert seen.bound_by == "memory"
