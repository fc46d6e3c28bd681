"""Metrics in the multi-process mode of the real client, from processes that live, end and are killed."""

import os
import subprocess
import sys
import textwrap

import pytest

import cgexec

pytest.importorskip("prometheus_client", reason='needs prometheus-client: pip install "cgexec[prometheus]"')


WORKER = """
    import os, sys
    import cgexec
    from cgexec.metrics import prometheus

    pool = cgexec.ThreadPoolExecutor(2, name="jobs")
    list(pool.map(abs, range(10)))
    registration = prometheus.register(pool, interval=3600)
    list(pool.map(abs, range(int(sys.argv[1]))))
    registration.update()
    print("ready", flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "close":
        pool.shutdown()
        registration.close()
        print("closed", flush=True)
        sys.stdin.readline()
    pool.shutdown()
    registration.close()
"""
SCRAPE = """
    from prometheus_client import CollectorRegistry, generate_latest, multiprocess
    import sys
    registry = CollectorRegistry()
    if len(sys.argv) > 1:
        multiprocess.mark_process_dead(sys.argv[1])
    multiprocess.MultiProcessCollector(registry)
    print(generate_latest(registry).decode())
"""


@pytest.fixture
def several(tmp_path):
    """Start worker processes that write into one directory; they are ended at the end."""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    workers = []

    def start(tasks, then="stay"):
        worker = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(WORKER), str(tasks), then],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ,
        )  # fmt: skip
        workers.append(worker)
        assert worker.stdout.readline() == "ready\n"
        return worker

    def scrape(*dead):
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRAPE), *dead],
            capture_output=True, text=True, timeout=60, check=True, env=environ,
        )  # fmt: skip
        lines = [line.rpartition(" ") for line in result.stdout.split("\n") if line and line[0] != "#"]
        return {name: float(number) for name, _, number in lines}

    yield start, scrape
    for worker in workers:
        if worker.poll() is None:
            worker.communicate("\n", timeout=60)
        worker.stdin.close()
        worker.stdout.close()


def test_several_processes_are_added_up_where_that_makes_sense(several):
    start, scrape = several
    start(3)
    start(4)
    seen = scrape()
    assert seen['cgexec_pool_submitted_total{pool="jobs"}'] == 27
    assert seen['cgexec_pool_ended_total{outcome="completed",pool="jobs"}'] == 27
    assert seen['cgexec_pool_limit{pool="jobs"}'] == 4
    assert seen['cgexec_pool_healthy{pool="jobs"}'] == 1
    # What belongs to the container is there once, whoever tells it.
    assert seen["cgexec_cpu_limit"] == cgexec.limits().cpus
    assert seen["cgexec_memory_limit_bytes"] == cgexec.limits().memory_bytes
    # prometheus-client writes 0 for what is made without a value, and 0 would be above the request.
    assert cgexec.limits().memory_request is None
    assert "cgexec_memory_request_bytes" not in seen


def test_a_pool_that_is_closed_leaves_its_counts(several):
    start, scrape = several
    start(3)
    worker = start(4, "close")
    worker.stdin.write("\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "closed\n"
    seen = scrape()
    assert seen['cgexec_pool_limit{pool="jobs"}'] == 2
    assert seen['cgexec_pool_healthy{pool="jobs"}'] == 1
    assert seen['cgexec_pool_submitted_total{pool="jobs"}'] == 27


def test_a_process_that_is_dead_leaves_its_counts_and_no_gauges(several):
    start, scrape = several
    start(3)
    worker = start(4)
    worker.kill()
    worker.wait(60)
    seen = scrape(str(worker.pid))
    assert seen['cgexec_pool_limit{pool="jobs"}'] == 2
    assert seen['cgexec_pool_submitted_total{pool="jobs"}'] == 27


ENDS = {
    "shut down in time": """
        for _ in range(5):
            with cgexec.ThreadPoolExecutor(2, name="jobs") as pool:
                prometheus.register(pool, interval=3600)
                list(pool.map(abs, range(10)))
    """,
    "collected": """
        def use():
            pool = cgexec.ThreadPoolExecutor(2, name="jobs")
            prometheus.register(pool, interval=3600)
            list(pool.map(abs, range(10)))
        for _ in range(5):
            use()
    """,
    "ended with the interpreter": """
        pool = cgexec.ThreadPoolExecutor(2, name="jobs")
        prometheus.register(pool, interval=3600)
        for _ in range(50):
            pool.submit(abs, -1)
    """,
    "ended with a forked child": """
        import multiprocessing
        def use():
            with cgexec.ThreadPoolExecutor(2, name="jobs") as pool:
                prometheus.register(pool, interval=3600)
                list(pool.map(abs, range(50)))
        child = multiprocessing.get_context("fork").Process(target=use)
        child.start()
        child.join()
    """,
}


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_nothing_is_lost_of_what_ends_between_two_writes(several, tmp_path, code):
    head = "import cgexec\nfrom cgexec.metrics import prometheus\n"
    subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}, timeout=60, check=True,
    )  # fmt: skip
    _, scrape = several
    seen = scrape()
    assert seen['cgexec_pool_submitted_total{pool="jobs"}'] == 50
    assert seen['cgexec_pool_ended_total{outcome="completed",pool="jobs"}'] == 50
    assert seen['cgexec_pool_limit{pool="jobs"}'] == 0  # no gauge is left as it was last


def test_counters_of_the_container_do_not_go_back(several):
    """Neither with the pool nor with the process that looked last."""

    def counters(seen):
        return {
            name: seen[name] for name in seen if name.startswith(("cgexec_cpu", "cgexec_memory")) and "_total" in name
        }

    start, scrape = several
    worker = start(4, "close")
    before = counters(scrape())
    assert before
    worker.stdin.write("\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "closed\n"
    worker.kill()
    worker.wait(60)
    after = counters(scrape(str(worker.pid)))
    assert {name: value for name, value in before.items() if after.get(name, -1) < value} == {}
