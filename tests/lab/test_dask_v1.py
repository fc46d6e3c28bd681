"""Dask workers in real cgroups of different sizes: each is asked for its own, and one that is killed loses nothing."""

import os
import signal

import pytest

from support import calls
from support.calls import Meeting
from support.cluster import dask_workers, empty_cluster
from support.lab import MIB, program
from support.pools import SOON, eventually

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", autouse=True)
def scheduler():
    pytest.importorskip("distributed")
    with empty_cluster() as client:
        yield client


@pytest.fixture
def workers(scheduler):
    lab = program("v1")
    with dask_workers(scheduler) as start:
        start(lab, "--memory", "300M", "--cpus", "0.5", "--", threads=4)
        start(lab, "--memory", "600M", "--cpus", "1.5", "--", threads=4)
        scheduler.wait_for_workers(2, 3 * SOON)
        yield scheduler


def test_each_worker_is_asked_for_its_own_container(workers):
    from cgexec.distributed import cluster_limits

    found = cluster_limits(workers)
    each = sorted(found.workers.values(), key=lambda worker: worker.limits.memory_bytes)
    assert [worker.limits.memory_bytes for worker in each] == [300 * MIB, 600 * MIB]
    assert [worker.limits.cpus for worker in each] == [0.5, 1.5]
    assert (found.cpus, found.memory_bytes, found.threads) == (2.0, 900 * MIB, 8)
    answer = found.recommend(memory_per_task="80Mi", io_ratio=0.9)
    small, large = (answer.workers[worker.address] for worker in each)
    assert 1 <= small < large == 4
    assert answer.max_in_flight == small + large


def test_one_is_killed_midway_and_nothing_is_lost(workers, tmp_path):
    from cgexec.distributed import cluster_limits, executor

    smaller = min(cluster_limits(workers).workers.values(), key=lambda worker: worker.limits.memory_bytes)
    pids = workers.run(os.getpid)
    meeting = Meeting(tmp_path)
    with executor(workers, memory_per_task="80Mi", io_ratio=0.9, name="jobs") as pool:
        before = pool.stats().limit
        assert before > 4
        meeting.hand_in(pool, before)
        eventually(lambda: pids[smaller.address] in meeting.pids())
        rest = [pool.submit(calls.square, n) for n in range(100)]
        os.kill(pids[smaller.address], signal.SIGKILL)
        eventually(lambda: pool.stats().limit < before)
        meeting.release()
        expected = [*range(before), *(n * n for n in range(100))]
        assert [future.result(3 * SOON) for future in (*meeting.futures, *rest)] == expected
        eventually(lambda: pool.stats().running == 0)
        seen = pool.stats()
        assert (seen.submitted, seen.completed) == (before + 100, before + 100)
