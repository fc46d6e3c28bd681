"""A cluster on this machine: real scheduler, real worker processes, one of them killed."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import gc
import subprocess
import sys
import weakref
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import pytest

import cgexec
from cgexec._cluster import WorkerReport, put_together, read_here
from support import calls
from support.calls import Meeting
from support.cluster import dask_workers, empty_cluster
from support.pools import SOON, eventually

GIB = 1 << 30
CGROUP = "/sys/fs/cgroup"


def report(cpus=2, memory=4 * GIB, *, machine="m1", namespace="n1", path="a", bound=CGROUP):
    limits = dataclasses.replace(
        cgexec.limits(),
        cpus=cpus,
        memory_bytes=memory,
        memory_limit=memory,
        sources=MappingProxyType({"cpus": f"{bound}/cpu/{path}", "memory_bytes": f"{bound}/memory/{path}"}),
    )
    return WorkerReport(limits, cgexec.usage(), machine, namespace)


# -- the arithmetic ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "cpus", "shared"),
    [
        pytest.param(report(), 2, 2, id="same-container"),
        pytest.param(report(path="b"), 4, 1, id="two-cgroups-of-one-view"),
        pytest.param(report(namespace="n2"), 4, 1, id="two-containers-of-one-machine"),
        pytest.param(report(machine="m2"), 4, 1, id="two-machines"),
    ],
)
def test_what_workers_share_counts_once(second, cpus, shared):
    found = put_together({"a": 4, "b": 4}, {"a": report(), "b": second})
    assert (found.cpus, found.memory_bytes, found.threads) == (cpus, cpus * 2 * GIB, 8)
    assert {worker.cpus_shared_by for worker in found.workers.values()} == {shared}
    assert {worker.memory_shared_by for worker in found.workers.values()} == {shared}


@pytest.mark.parametrize(("machine", "cpus"), [("m1", 8), ("m2", 16)])
def test_containers_without_a_limit_share_their_machine(machine, cpus):
    one = report(8, bound="/proc")
    two = report(8, bound="/proc", namespace="n2", machine=machine)
    assert put_together({"a": 1, "b": 1}, {"a": one, "b": two}).cpus == cpus


def test_each_worker_counts_with_what_its_container_allows_and_no_more_than_its_threads():
    found = put_together({"small": 8, "large": 8}, {"small": report(1, GIB), "large": report(8, 64 * GIB, path="b")})
    answer = found.recommend(memory_per_task="400Mi")
    assert answer.workers["large"] == 8
    assert 1 <= answer.workers["small"] < 8
    assert answer.reasons["small"].bound_by == "memory"
    assert answer.max_in_flight == sum(answer.workers.values())


def test_the_bound_says_whether_threads_or_containers_decide():
    pytest.importorskip("distributed")
    from cgexec.distributed import _bound_of as bound_of

    told = {"memory_per_task": "400Mi"}
    limit, why = bound_of(put_together({"a": 8}, {"a": report(1, GIB)}), told)
    assert why == f"1 worker of the cluster with 8 threads, whose containers allow {limit} calls"
    limit, why = bound_of(put_together({"a": 2, "b": 2}, {"a": report(), "b": report(path="b")}), told)
    assert (limit > 4, why) == (True, "2 workers of the cluster with 4 threads")


def test_workers_that_cannot_be_asked_are_named_and_count_for_nothing():
    found = put_together(
        {"a": 1, "b": 1, "c": 1}, {"a": report(), "b": ModuleNotFoundError("No module named 'cgexec'")}
    )
    assert set(found.workers) == {"a"}
    assert "No module named 'cgexec'" in found.unreadable["b"]
    assert found.unreadable["c"] == "it did not answer"
    assert "b: could not be asked" in found.explain()


def test_one_that_came_while_the_others_were_asked_is_left_to_the_next_time():
    found = put_together({"a": 4}, {"a": report(), "b": report(path="b")})
    assert (set(found.workers), found.threads, found.unreadable) == ({"a"}, 4, {})


def test_a_cluster_without_workers_allows_one_call_that_waits_for_the_first():
    assert put_together({}, {}).recommend().max_in_flight == 1


def test_a_report_is_of_this_process_and_can_be_sent():
    import pickle

    sent = pickle.loads(pickle.dumps(read_here()))
    assert sent.limits == cgexec.limits()
    assert sent.machine


def test_without_dask_it_says_what_to_install():
    code = "import sys; sys.modules['distributed'] = None; import cgexec.distributed"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert 'ImportError: cgexec.distributed needs dask.distributed: pip install "cgexec[dask]"' in result.stderr


# -- a real one --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def scheduler():
    if find_spec("distributed") is None:
        yield None
        return
    with empty_cluster() as client:
        yield client


@pytest.fixture
def client(scheduler):
    if scheduler is None:
        pytest.skip("distributed cannot be imported here")
    return scheduler


@pytest.fixture
def workers(client):
    """Two worker processes of one thread each."""
    with dask_workers(client) as start:
        start(), start()
        client.wait_for_workers(2, SOON)
        yield start


def test_the_limits_are_read_on_the_workers(client, workers):
    from cgexec.distributed import cluster_limits

    found = cluster_limits(client)
    assert (len(found.workers), found.threads, found.unreadable) == (2, 2, {})
    assert set(found.workers) == set(client.nthreads())
    assert all(worker.limits == cgexec.limits() for worker in found.workers.values())
    assert found.cpus == cgexec.limits().cpus, "both are in this container"
    assert "2 workers" in found.explain()


def test_the_bound_follows_workers_as_they_come_and_go(client, workers):
    from cgexec.distributed import executor

    with executor(client, name="jobs") as pool:
        assert pool.stats().limit == 3
        assert "2 workers of the cluster with 2 threads" in pool.explain()
        third = workers()
        eventually(lambda: pool.stats().limit == 4)
        third.terminate()
        eventually(lambda: pool.stats().limit == 3)
        assert "2 workers of the cluster" in pool.stats().last_change.why
        assert pool.submit(calls.square, 3).result(SOON) == 9
    assert client.status == "running", "the client is its owner's"


@pytest.fixture
def looks(client, monkeypatch):
    """Each look at the cluster from now on: the follower asks which workers there are, and then all of them."""
    import cgexec.distributed

    seen = {"which": 0, "all": 0}

    def counted(name, real):
        def call(*args, **kwargs):
            seen[name] += 1
            if seen.get("error"):
                raise seen.pop("error")
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(client, "nthreads", counted("which", client.nthreads))
    monkeypatch.setattr(client, "run", counted("all", client.run))
    monkeypatch.setattr(cgexec.distributed, "_LOOK_S", 0.001)
    return seen


def test_whatever_goes_wrong_the_bound_is_followed_on(client, workers, looks, caplog):
    from cgexec.distributed import executor

    with executor(client, name="jobs") as pool, caplog.at_level("INFO", logger="cgexec"):
        looks["error"] = KeyError("nobody expects it")
        third = workers()
        eventually(lambda: pool.stats().limit == 4)
        third.terminate()
    said = "[cluster-unreachable] pool 'jobs': the cluster could not be asked (KeyError('nobody expects it')); trying again"
    assert said in caplog.messages


def test_workers_that_cannot_be_asked_are_not_asked_at_each_look(client, workers, looks, monkeypatch):
    import cgexec.distributed

    monkeypatch.setattr(cgexec.distributed, "read_here", calls.boom)
    with cgexec.distributed.executor(client):
        eventually(lambda: looks["which"] >= 5)
        assert looks["all"] == 1


def test_one_that_nobody_holds_goes(client, workers, looks):
    from cgexec.distributed import executor

    pool = executor(client)
    assert pool.submit(calls.square, 3).result(SOON) == 9
    gone = weakref.ref(pool)
    del pool
    eventually(lambda: gc.collect() and gone() is None)


def test_a_fixed_bound_stays(client, workers):
    from cgexec.distributed import executor

    with executor(client, max_in_flight=7) as pool:
        assert pool.stats().limit == 7
        assert list(pool.map(calls.square, range(30))) == [n * n for n in range(30)]


def test_nothing_is_lost_when_a_worker_dies(client, workers, tmp_path):
    from cgexec.distributed import executor

    meeting = Meeting(tmp_path)
    with executor(client) as pool:
        meeting.hand_in(pool, 2)
        meeting.started(2)
        rest = [pool.submit(calls.square, n) for n in range(40)]
        workers.started[0].kill()
        meeting.release()
        assert [future.result(3 * SOON) for future in (*meeting.futures, *rest)] == [0, 1, *(n * n for n in range(40))]
        eventually(lambda: pool.stats().running == 0)
        seen = pool.stats()
        assert (seen.submitted, seen.completed) == (42, 42)


def test_a_call_that_raises_is_run_again_if_told_so(client, workers, tmp_path):
    from cgexec.distributed import executor

    with executor(client, retries=2) as pool:
        with pytest.raises(ValueError, match="noted"):
            pool.submit(calls.note_and_fail, str(tmp_path / "notes")).result(SOON)
        assert (tmp_path / "notes").read_text() == "x\n" * 3


def test_one_cancelled_in_flight_is_forgotten_by_the_scheduler(client, workers, tmp_path):
    from cgexec.distributed import executor

    meeting = Meeting(tmp_path)
    with executor(client, max_in_flight=3) as pool:
        meeting.hand_in(pool, 2)
        meeting.started(2)
        third = pool.submit(calls.square, 3)
        eventually(lambda: len(client.cluster.scheduler.tasks) == 3)
        assert third.cancel()
        assert third.cancelled()
        eventually(lambda: len(client.cluster.scheduler.tasks) == 2)
        meeting.release()
        assert pool.submit(calls.square, 3).result(SOON) == 9
    assert pool.stats().cancelled == 1


def test_a_client_that_is_closed_ends_what_is_in_flight_and_the_executor_ends_quietly(client, workers, tmp_path):
    import distributed

    from cgexec.distributed import executor

    meeting = Meeting(tmp_path)
    with distributed.Client(client.scheduler.address, set_as_default=False) as other, executor(other) as pool:
        meeting.hand_in(pool, 2)
        meeting.started(2)
        other.close()
        meeting.release()
        assert all(isinstance(future.exception(SOON), Exception) or future.cancelled() for future in meeting.futures)
        with pytest.raises(Exception, match="(?i)closed"):  # distributed's own ClosedClientError
            pool.submit(calls.square, 3)
        eventually(lambda: pool.stats().running == 0)
    pool.shutdown(wait=False, cancel_futures=True)


def test_what_is_handed_over_to_a_client_that_closes_fails(client, workers, tmp_path, monkeypatch):
    """It takes calls until it is closed, and ends only those that it had when it began to close."""
    import distributed

    from cgexec.distributed import executor

    async def late():
        await asyncio.to_thread(concurrent.futures.wait, waiting, SOON)
        await close()

    meeting = Meeting(tmp_path)
    with distributed.Client(client.scheduler.address, set_as_default=False) as other:
        pool = executor(other, max_in_flight=2)
        meeting.hand_in(pool, 2)
        meeting.started(2)
        waiting = [pool.submit(calls.square, n) for n in range(4)]
        close = other.rpc.close
        monkeypatch.setattr(other.rpc, "close", late)
        other.close()
        meeting.release()
        assert {type(future.exception(0)) for future in waiting} == {RuntimeError}
        eventually(lambda: pool.stats().running == 0)
        pool.shutdown()


AT_EXIT = """
import sys
sys.path.insert(0, {tests!r})
import cgexec.distributed
import distributed
from support import calls

client = distributed.Client({address!r})
pool = cgexec.distributed.executor(client)
for _ in range(20):
    pool.submit(calls.note, {path!r}).add_done_callback(lambda _: sys.stdout.write("ended\\n"))
"""


def test_what_is_handed_in_is_finished_when_the_interpreter_ends(client, workers, tmp_path):
    path = tmp_path / "notes"
    code = AT_EXIT.format(tests=str(Path(__file__).parent.parent), address=client.scheduler.address, path=str(path))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "ended\n" * 20
    assert path.read_text() == "x\n" * 20


@pytest.mark.parametrize(
    ("told", "words"),
    [({"retries": -1}, "retries=-1"), ({"max_in_flight": 0}, "max_in_flight"), ({"io_ratio": 2}, "io_ratio=2")],
)
def test_nonsense_is_refused(client, told, words):
    from cgexec.distributed import executor

    with pytest.raises(ValueError, match=words):
        executor(client, **told)


def test_an_asynchronous_client_is_refused(client):
    distributed = pytest.importorskip("distributed")
    from cgexec.distributed import cluster_limits

    async def main():
        async with distributed.Client(client.scheduler.address, asynchronous=True) as other:
            with pytest.raises(ValueError, match="asynchronous"):
                cluster_limits(other)

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
