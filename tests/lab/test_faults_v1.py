"""Faults under a real cgroup v1: what the kernel takes away while a pool works loses no task and runs none twice."""

import os

import pytest

from support.lab import PROJECT, run_in

pytestmark = pytest.mark.lab

WORK = """
import logging, threading, time
logging.disable()
from cgexec import ThreadPoolExecutor
ran, lock = [], threading.Lock()
def work(number):
    block = bytearray(1 << 20)
    time.sleep(0.001)
    with lock:
        ran.append(number)
    return number
def closed(pool, futures):
    results = [future.result(60) for future in futures]
    pool.shutdown()
    seen = pool.stats()
    return dict(right=results == list(range(len(futures))) and sorted(ran) == results,
                open=seen.submitted - seen.completed, threads=threading.active_count())
def directory():
    own = next(line.split(":", 2)[2] for line in open("/proc/self/cgroup") if "memory" in line.split(":")[1].split(","))
    return ours("/sys/fs/cgroup/memory" + own.strip())
"""


def check(seen) -> None:
    assert seen.right, "each ran once, and each future has its result"
    assert seen.open == 0


def test_a_limit_lowered_below_use_is_refused_or_followed_and_everything_ends() -> None:
    seen = run_in(
        ["v1", "--memory", "256M", "--"],
        WORK
        + """
hog = bytearray(b"x") * (120 << 20)
pool = ThreadPoolExecutor(8)
futures = [pool.submit(work, number) for number in range(300)]
file = directory() / "memory.limit_in_bytes"
try:  # the kernel gives what it can reclaim, and refuses if that does not suffice
    file.write_text(str(64 << 20))
    refused = False
except OSError:
    refused = True
file.write_text(str(160 << 20))  # and this leaves nearly nothing
futures += [pool.submit(work, number) for number in range(300, 600)]
answer(refused=refused, limit=int(file.read_text()), **closed(pool, futures), kills=usage().oom_kills)
""",
        timeout=120,
    )
    check(seen)
    assert seen.limit == 160 << 20
    assert seen.refused
    assert seen.kills == 0


def test_a_process_moved_to_another_cgroup_goes_on_and_the_old_one_may_go() -> None:
    seen = run_in(
        ["v1", "--memory", "256M", "--"],
        WORK
        + """
pool = ThreadPoolExecutor(4)
futures = [pool.submit(work, number) for number in range(200)]
old = directory()
first = old / "first"
first.mkdir()
(first / "memory.limit_in_bytes").write_text(str(192 << 20))
(first / "cgroup.procs").write_text("0")
for future in futures[:150]:
    future.result(60)
futures += [pool.submit(work, number) for number in range(200, 400)]
second = old / "second"
second.mkdir()
(second / "memory.limit_in_bytes").write_text(str(128 << 20))
(second / "cgroup.procs").write_text("0")
gone = False
end = time.monotonic() + 30
while not gone and time.monotonic() < end:
    try:
        first.rmdir()  # whose files the pool may have open
        gone = True
    except OSError:
        time.sleep(0.05)
futures += [pool.submit(work, number) for number in range(400, 600)]
answer(gone=gone, limit=limits().memory_limit, **closed(pool, futures))
(old / "cgroup.procs").write_text("0")
second.rmdir()
""",
        timeout=120,
    )
    check(seen)
    assert seen.gone
    assert seen.limit == 128 << 20


def test_sys_unmounted_while_it_works_loses_nothing() -> None:
    # In a mount namespace of its own: nothing is unmounted outside.
    script = (
        WORK
        + """
import subprocess
pool = ThreadPoolExecutor(4)
futures = [pool.submit(work, number) for number in range(200)]
before = Path("/sys/fs/cgroup").exists()
assert os.readlink("/proc/self/ns/mnt") != sys.argv[1], "this is not a namespace of its own"
subprocess.run(["umount", "-l", "/sys"], check=True, timeout=30)
for future in futures[:150]:
    future.result(60)
futures += [pool.submit(work, number) for number in range(200, 400)]
with ThreadPoolExecutor(memory_per_task="1Mi") as other:  # one that is made without it
    made = other.submit(pow, 2, 3).result(30)
answer(before=before, after=Path("/sys/fs/cgroup").exists(), made=made, notes=limits().notes, **closed(pool, futures))
"""
    )

    seen = run_in(
        ["v1", "--memory", "256M", "--", "unshare", "-m", "--propagation", "private"],
        script,
        os.readlink("/proc/self/ns/mnt"),
        timeout=120,
    )
    check(seen)
    assert (seen.before, seen.after, seen.made) == (True, False, 8)
    assert seen.notes, "what cannot be read is noted"


@pytest.mark.parametrize("nth", [9, 12, 17])
def test_the_nth_thread_refused_leaves_its_task_to_the_others(nth: int) -> None:
    seen = run_in(
        ["v1", "--pids", str(nth), "--"],
        WORK
        + """
pool = ThreadPoolExecutor(32)
futures = [pool.submit(work, number) for number in range(200)]
limit = pool.stats().limit
answer(limit=limit, **closed(pool, futures))
""",
        timeout=120,
    )
    check(seen)
    assert 1 <= seen.limit < nth


def test_without_descriptors_pools_are_made_work_and_end() -> None:
    seen = run_in(
        ["v1", "--memory", "256M", "--"],
        WORK
        + """
import resource
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
pool = ThreadPoolExecutor(4)
futures = [pool.submit(work, number) for number in range(200)]
facts = closed(pool, futures)
for each in taken:
    os.close(each)
answer(**facts)
""",
        timeout=120,
    )
    check(seen)


@pytest.mark.slow
def test_a_short_soak() -> None:
    seen = run_in(
        ["v1", "--memory", "384M", "--"],
        """
import contextlib
sys.path.insert(0, sys.argv[1])
import soak
run = soak.Soak(seconds=0, every=0, rounds=2)
with contextlib.redirect_stdout(sys.stderr):
    samples = run.run()
answer(tasks=samples[-1].tasks, limits=sorted({each.limit for each in samples}), verdicts=run.verdicts(samples))
""",
        PROJECT / "bench",
        timeout=115,
    )
    assert seen.tasks > 1000
    assert len(seen.limits) > 1, "the limit was moved"
    assert [verdict for verdict in seen.verdicts if not verdict[1]] == []
