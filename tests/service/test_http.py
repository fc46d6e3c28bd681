"""The service over HTTP, in a real server process."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.service import LONG, QUICK, serving


@pytest.fixture(scope="module")
def quick():
    with serving(**QUICK) as server:
        yield server


@pytest.fixture
def full():
    """A server whose one worker and one place are taken; with the ids of the two jobs."""
    with serving(**LONG, max_workers=1, queue_size=1) as server:
        running = server.start()
        server.wait(running, "running")
        yield server, running, server.start()


def test_a_job_runs_and_its_result_is_kept(quick):
    answer = quick.post("/jobs")
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    job = quick.wait(answer.json()["id"], "completed")
    assert job["result"]["bytes"] == 1 << 20
    assert (job["progress"], job["attempt"], job["error"]) == (100.0, 1, None)
    (listed,) = [each for each in quick.get("/jobs").json() if each["id"] == job["id"]]
    assert listed == {name: value for name, value in job.items() if name != "result"}


def test_the_callers_id_runs_once_however_often_it_is_asked_for(quick):
    barrier = threading.Barrier(8)

    def ask(_):
        barrier.wait(10)
        return quick.get("/process/report-7").status_code

    with ThreadPoolExecutor(8) as clients:
        assert sorted(clients.map(ask, range(8))) == [200] * 7 + [202]
    first = quick.wait("report-7", "completed")
    again = quick.get("/process/report-7")
    assert (again.status_code, again.json()) == (200, first)


@pytest.mark.parametrize("job_id", ["a b", "x" * 65, "a%2Fb", "%2E%2E", ".hidden"])
def test_an_id_that_is_none_is_refused(quick, job_id):
    assert quick.get(f"/process/{job_id}").status_code in (404, 422)


def test_what_is_not_there_is_404(quick):
    for answer in (quick.get("/jobs/nobody"), quick.delete("/jobs/nobody")):
        assert answer.status_code == 404


def test_a_full_pool_answers_503_and_leaves_nothing_behind(full):
    server, *_ = full
    answer = server.get("/process/refused")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["reason"] == "queue"
    assert server.get("/jobs/refused").status_code == 404
    assert server.get("/livez").status_code == 200
    assert server.get("/readyz").status_code == 200, "a full pool is at work"


def test_a_waiting_and_a_running_job_are_cancelled(full):
    server, running, waiting = full
    assert server.delete(f"/jobs/{waiting}").status_code == 202
    server.wait(waiting, "cancelled")
    assert server.delete(f"/jobs/{running}").json()["state"] in ("cancelling", "cancelled")
    assert server.wait(running, "cancelled")["result"] is None
    assert server.wait(server.start(), "running"), "its worker is free again"
    assert server.delete(f"/jobs/{running}").json()["state"] == "cancelled", "and stays so"


@pytest.mark.parametrize("state", ["queued", "retrying"])
def test_of_a_burst_that_is_cancelled_every_job_is(state):
    told = {"fail_rate": 1, "backoff": 3600, "backoff_most": 3600} if state == "retrying" else {"job_seconds": 600}
    with serving(**{**QUICK, "grace": 5, **told}, max_workers=1, queue_size=80, max_jobs=100) as server:
        jobs = [server.start() for _ in range(60)]
        for job_id in jobs[1:]:
            server.wait(job_id, state)
        with ThreadPoolExecutor(8) as clients:
            assert {answer.status_code for answer in clients.map(server.delete, map("/jobs/{}".format, jobs))} == {202}
        for job_id in jobs:
            server.wait(job_id, "cancelled")


def test_an_overdue_job_is_shown_and_goes_on():
    with serving(**{**LONG, "overdue_after": 0.01}, max_workers=1) as server:
        job_id = server.start()
        progress = server.wait(job_id, "overdue")["progress"]
        while server.get(f"/jobs/{job_id}").json()["progress"] <= progress:
            pass
        assert 'cgexec_pool_overdue_total{pool="jobs"} 1.0' in server.get("/metrics").text
        server.delete(f"/jobs/{job_id}")
        server.wait(job_id, "cancelled")


def test_a_job_that_fails_is_tried_again_without_its_worker_and_fails_in_the_end():
    """With one worker: while the first waits to be tried again, the second gets it."""
    with serving(**{**QUICK, "backoff": 3600, "backoff_most": 3600}, fail_rate=1, max_workers=1, attempts=2) as server:
        first, second = server.start(), server.start()
        server.wait(second, "retrying")
        job = server.wait(first, "retrying")
        assert "lost its connection" in job["error"]
        assert server.get("/metrics").text.count('cgexec_pool_running{pool="jobs"} 0.0') == 1
        server.delete(f"/jobs/{first}")
        server.wait(first, "cancelled")
    with serving(**QUICK, fail_rate=1, attempts=3) as server:
        job = server.wait(server.start(), "failed")
        assert (job["attempt"], job["error"].partition(" ")[0]) == (3, "Flaky:")


def test_the_same_seed_fails_the_same_attempts():
    def attempts():
        with serving(**QUICK, fail_rate=0.5, seed=4, attempts=20) as server:
            for name in "abcdef":
                server.get(f"/process/{name}")
            return [server.wait(name, "completed")["attempt"] for name in "abcdef"]

    first = attempts()
    assert first == attempts()
    assert max(first) > 1


def test_results_are_kept_in_a_bounded_number():
    with serving(**QUICK, keep_jobs=2) as server:
        names = list("abcd")
        for name in names:
            server.get(f"/process/{name}")
        while len(server.get("/jobs").json()) > 2:
            pass
        assert {job["state"] for job in server.get("/jobs").json()} == {"completed"}


def test_an_id_runs_again_when_its_job_is_kept_no_more():
    """Which the README says; whoever changes that has to change this."""
    with serving(**QUICK, keep_jobs=0) as server:
        assert server.get("/process/again").status_code == 202
        while server.get("/jobs/again").status_code == 200:
            pass
        assert server.get("/process/again").status_code == 202


def test_metrics_are_readable(quick):
    quick.wait(quick.start(), "completed")
    text = quick.get("/metrics").text
    for name in ("pool_limit", "pool_running", "pool_rejected_total", "jobs"):
        assert f"# TYPE cgexec_{name} " in text
    parser = pytest.importorskip("prometheus_client.parser")
    found = {family.name for family in parser.text_string_to_metric_families(text)}
    assert {"cgexec_pool_ended", "cgexec_jobs", "cgexec_jobs_refused", "python_info"} <= found
    assert "python_gc_objects_collected" in found, "what prometheus_client knows of the process"


def test_nonsense_in_the_environment_is_named():
    with pytest.raises(AssertionError, match="QUEUE_SIZE='many': expected a whole number"), serving(queue_size="many"):
        pass


def test_several_processes_ask_for_a_file():
    with pytest.raises(AssertionError, match="set DATABASE to the path of a file"), serving("--workers", "2"):
        pass
