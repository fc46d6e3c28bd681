"""`cgexec.testing`: the fakes say to the real readers what they were told to."""

import subprocess
import sys
import threading
import time

import pytest

import cgexec
from cgexec.testing import Container, clock, inside, occupied
from support.pools import SOON, eventually

GIB, MIB = 1 << 30, 1 << 20


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_container_says_its_limits_and_use_without_a_note(tmp_path, version):
    box = Container(tmp_path, cpus=1.5, memory="4Gi", pids=200, used="1Gi", cache="512Mi", version=version)
    limits, usage = cgexec.limits(root=box.root), cgexec.usage(root=box.root)
    assert (limits.cpus, limits.memory_limit, limits.pids_limit) == (1.5, 4 * GIB, 200)
    assert (limits.cgroup_version, limits.notes) == (version, ())
    assert (usage.memory_bytes, usage.page_cache_bytes, usage.headroom_bytes) == (GIB, GIB // 2, 3 * GIB)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_without_limits_the_machine_around_it_counts(tmp_path, version):
    box = Container(tmp_path, version=version, host_cpus=4, host_memory="8Gi")
    limits = cgexec.limits(root=box.root)
    assert (limits.cpus, limits.cpu_quota, limits.memory_limit, limits.pids_limit) == (4, None, None, None)
    assert limits.memory_bytes == 8 * GIB


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_change_leaves_what_is_not_named(tmp_path, version):
    box = Container(tmp_path, cpus=2, memory="4Gi", used="1Gi", version=version)
    box.change(memory="2Gi")
    limits = cgexec.limits(root=box.root)
    assert (limits.cpus, limits.memory_limit) == (2, 2 * GIB)
    box.change(cpus=None, used="1.5Gi")
    assert cgexec.limits(root=box.root).cpu_quota is None
    assert cgexec.usage(root=box.root).headroom_bytes == GIB // 2


def test_the_answer_for_a_fake_container(tmp_path):
    box = Container(tmp_path, cpus=2, memory="4Gi")
    limits, usage = cgexec.limits(root=box.root), cgexec.usage(root=box.root)
    assert cgexec.recommend(cpu_per_task=0.1, limits=limits, usage=usage, processes=1).max_workers == 20


def test_a_full_container_refuses_and_a_freed_one_goes_on(tmp_path):
    box = Container(tmp_path, memory="1Gi")
    release = threading.Event()
    with inside(box), cgexec.ThreadPoolExecutor(4, when_full="raise", name="jobs") as pool:
        try:
            pool.submit(release.wait, SOON)
            eventually(lambda: pool.stats().running == 1)
            assert pool.stats().memory_limit == GIB
            box.change(used="1020Mi")
            eventually(lambda: pool.stats().memory_used == 1020 * MIB)
            for _ in range(2):  # one more than runs is still accepted
                pool.submit(release.wait, SOON)
            with pytest.raises(cgexec.QueueFull) as refusal:
                pool.submit(release.wait, SOON)
            assert refusal.value.reason == "memory"
            assert pool.stats().waiting == 2
            box.change(used="64Mi")
            release.set()  # what rose while it ran counts as its need, so the others do not start beside it
            eventually(lambda: pool.stats().waiting == 0)
            pool.submit(int).result(SOON)
        finally:
            release.set()


def test_pools_outside_the_block_notice_nothing(tmp_path):
    with cgexec.ThreadPoolExecutor(1) as before:
        with inside(Container(tmp_path, memory="128Mi", used="127Mi")):
            before.submit(int).result(SOON)
            assert before.stats().memory_limit != 128 * MIB
        with cgexec.ThreadPoolExecutor(1) as after:
            after.submit(int).result(SOON)
            assert after.stats().memory_limit != 128 * MIB


def test_a_fuse_is_refused_inside(tmp_path):
    with inside(Container(tmp_path, memory="1Gi")), pytest.raises(ValueError, match="memory_fuse=False"):
        cgexec.ThreadPoolExecutor(1, memory_fuse=True)


def test_occupied_holds_all_workers_and_lets_go():
    with cgexec.ThreadPoolExecutor(3, queue_size=2, when_full="raise") as pool:
        with occupied(pool, waiting=2):
            stats = pool.stats()
            assert (stats.running, stats.waiting) == (3, 2)
            with pytest.raises(cgexec.QueueFull):
                pool.submit(int)
        assert pool.submit(int).result(SOON) == 0
        eventually(lambda: pool.stats().completed == 6)


def test_occupied_says_what_cannot_be():
    pool = cgexec.ThreadPoolExecutor(1, queue_size=1)
    with pool, pytest.raises(ValueError, match="takes 1 and 1"), occupied(pool, waiting=2):
        pass


def test_occupied_gives_up_where_memory_holds(tmp_path):
    box = Container(tmp_path, memory="1Gi", used="1020Mi")
    with inside(box), cgexec.ThreadPoolExecutor(2) as pool:
        with pytest.raises(TimeoutError, match="0 of 1"), occupied(pool, 1, timeout=0.1):
            raise AssertionError("nothing has started")
        box.change(used="64Mi")  # or what waits would start after the five seconds that memory may hold the last one


def test_the_clock_brings_about_what_time_would():
    with clock() as now, cgexec.ThreadPoolExecutor(1, queue_size=10) as pool, occupied(pool):
        waiting = pool.options(queue_timeout=3600).submit(int)
        now.advance(3599)
        assert not waiting.done()
        now.advance(1)
        assert type(waiting.exception(timeout=0)) is TimeoutError
        assert pool.stats().longest_running >= 3600


def test_a_task_that_runs_too_long_is_seen_by_the_clock():
    with clock() as now, cgexec.ThreadPoolExecutor(1) as pool:
        started, release = threading.Event(), threading.Event()

        def run():
            started.set()
            assert release.wait(10)

        running = pool.options(run_timeout=300).submit(run)
        assert started.wait(10)
        now.advance(299)
        assert pool.stats().overdue == 0
        now.advance(1)
        assert pool.stats().overdue == 1
        release.set()
        running.result(10)


def test_after_the_block_the_time_is_the_real_one_and_nothing_is_left():
    threads = set(threading.enumerate())
    with clock() as now, cgexec.ThreadPoolExecutor(1, queue_size=10) as pool:
        now.advance(1e6)
        assert pool.submit(int).result(10) == 0
        assert now.monotonic() > time.monotonic() + 0.9e6
    assert set(threading.enumerate()) <= threads
    with cgexec.ThreadPoolExecutor(1, queue_size=10) as pool, occupied(pool):
        waiting = pool.options(queue_timeout=0.01).submit(int)
        assert type(waiting.exception(timeout=10)) is TimeoutError


@pytest.mark.parametrize("how", ["submit", "drain"])
def test_who_is_blocked_sees_that_the_clock_was_moved(how):
    def wait_long():
        if how == "drain":
            return len(pool.drain(3600).running)
        with pytest.raises(cgexec.QueueFull):
            pool.submit(int)
        return 1

    answers = []
    with clock() as now, cgexec.ThreadPoolExecutor(1, queue_size=0, submit_timeout=3600) as pool, occupied(pool):
        waiter = threading.Thread(target=lambda: answers.append(wait_long()))
        waiter.start()
        eventually(lambda: pool.stats().blocked or pool.stats().closed)
        assert not answers
        now.advance(3600)
        waiter.join(10)
        assert answers == [1]


LOADED = """
import sys
from pathlib import Path
import cgexec
from cgexec.testing import clock
root = Path(cgexec.__file__).parent
timed = {
    ".".join(("cgexec", *path.relative_to(root).with_suffix("").parts))
    for path in root.rglob("*.py") if "from time import monotonic" in path.read_text(encoding="utf-8")
}
assert len(timed) > 10
with clock() as now:
    loaded = timed & set(sys.modules)
    assert all(vars(sys.modules[name])["monotonic"] == now.monotonic for name in loaded)
    print(*sorted(timed - loaded))
assert not {"starlette", "distributed", "prometheus_client", "anyio"} & set(sys.modules)
"""


def test_every_module_goes_by_the_clock_also_one_that_is_used_in_the_block_first():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("cgexec.distributed cgexec.starlette\n", "")


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_time_does_not_go_back(seconds):
    with clock() as now, pytest.raises(ValueError, match="time does not go back"):
        now.advance(seconds)


def test_a_hold_makes_a_pool_unhealthy_by_the_clock(tmp_path):
    box = Container(tmp_path, memory="1Gi")
    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(2) as pool:
        with occupied(pool, 1):
            box.change(used="1020Mi")
            now.advance(2)
            waiting = pool.submit(int)
            eventually(lambda: pool.stats().held_for is not None)
            assert pool.stats().healthy
            now.advance(500)  # the other is at work, and nobody knows yet how long such take
            assert pool.stats().healthy
            now.advance(200)
            assert not pool.stats().healthy
            box.change(used="64Mi")
        assert waiting.result(10) == 0
