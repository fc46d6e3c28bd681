"""Metrics as Prometheus gets them, from the real client, with one process."""

import gc
import math
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import cgexec
from support.pools import SOON, holding

client = pytest.importorskip("prometheus_client", reason='needs prometheus-client: pip install "cgexec[prometheus]"')

from prometheus_client.openmetrics import exposition, parser  # noqa: E402

from cgexec._pool.watch import watch  # noqa: E402
from cgexec.metrics import _watched, prometheus  # noqa: E402
from cgexec.metrics._table import every, prometheus_name  # noqa: E402


@pytest.fixture
def registry():
    return client.CollectorRegistry()


def value(registry, name, **labels):
    return registry.get_sample_value(f"cgexec_{name}", labels)


def test_a_pool_is_reported_as_its_stats_are(registry):
    with cgexec.ThreadPoolExecutor(2, name="jobs", queue_size=5) as pool:
        prometheus.register(pool, registry)
        assert [pool.submit(int, text).exception(5) is None for text in ("1", "x")] == [True, False]
        with holding(pool, 2) as hold:
            hold.queue(3)
            for name, wanted in (("running", 2), ("waiting", 3), ("limit", 2), ("queue_size", 5), ("healthy", 1)):
                assert value(registry, f"pool_{name}", pool="jobs") == wanted
            assert value(registry, "pool_submitted_total", pool="jobs") == 7
            assert value(registry, "pool_ended_total", pool="jobs", outcome="failed") == 1
            assert value(registry, "pool_longest_running_age_seconds", pool="jobs") > 0
            assert value(registry, "pool_rejected_total", pool="jobs", reason="memory") == 0
            assert value(registry, "pool_info", pool="jobs", mode="enforce", bound_by="said") == 1


def test_the_term_that_decided_the_size_is_a_label(registry):
    with cgexec.ThreadPoolExecutor(name="jobs") as pool:
        prometheus.register(pool, registry)
        bound = pool.stats().bound_by
        assert bound == cgexec.recommend().bound_by
        assert value(registry, "pool_info", pool="jobs", mode="enforce", bound_by=bound) == 1


def test_the_container_is_reported_once_beside_several_pools(registry):
    with cgexec.ThreadPoolExecutor(1, name="a") as a, cgexec.ThreadPoolExecutor(1, name="b") as b:
        prometheus.register(a, registry)
        prometheus.register(b, registry)
        assert value(registry, "cpu_limit") == cgexec.limits().cpus
        assert value(registry, "memory_limit_bytes") == cgexec.limits().memory_bytes
        assert value(registry, "memory_used_bytes") > 0
        text = client.generate_latest(registry).decode()
        assert text.count("\ncgexec_cpu_limit ") == 1
        assert {pool for pool in "ab" if f'cgexec_pool_limit{{pool="{pool}"}}' in text} == {"a", "b"}


def test_the_same_metrics_are_valid_openmetrics(registry):
    with cgexec.ThreadPoolExecutor(1, name="jobs", queue_size=math.inf) as pool:
        prometheus.register(pool, registry)
        text = exposition.generate_latest(registry).decode()
        families = {family.name for family in parser.text_string_to_metric_families(text)}
    assert families == {prometheus_name(row).removesuffix("_total") for row in every()}


def test_every_row_says_what_it_is():
    rows = every()
    assert len({row.name for row in rows}) == len({prometheus_name(row) for row in rows}) == len(rows)
    for row in rows:
        assert row.help.endswith("."), row.name


def test_a_name_that_utf_8_cannot_say_is_reported_with_question_marks(registry):
    with cgexec.ThreadPoolExecutor(2, name="caf\xe9 \udcff") as pool:
        prometheus.register(pool, registry)
        assert 'cgexec_pool_limit{pool="caf\xe9 ?"} 2.0' in client.generate_latest(registry).decode()


def test_a_call_that_failed_keeps_no_later_one_from_being_reported(registry):
    taken = client.Gauge("cgexec_pool_limit", "Somebody else's.", registry=registry)
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool, ThreadPoolExecutor(1) as no_pool_of_ours:
        with pytest.raises(ValueError, match="Duplicated"):
            prometheus.register(pool, registry)
        registry.unregister(taken)
        with pytest.raises(AttributeError):
            prometheus.register(no_pool_of_ours, registry)
        prometheus.register(pool, registry)
        assert value(registry, "pool_limit", pool="jobs") == 2


def test_a_pool_is_reported_until_its_last_task_has_ended(registry):
    pool = cgexec.ThreadPoolExecutor(1, name="jobs")
    prometheus.register(pool, registry)
    with holding(pool, 1):
        pool.shutdown(wait=False)
        assert value(registry, "pool_running", pool="jobs") == 1
        assert value(registry, "pool_running", pool="jobs") == 1
    pool.shutdown()
    assert value(registry, "pool_ended_total", pool="jobs", outcome="completed") == 1
    assert value(registry, "pool_running", pool="jobs") is None


def test_reporting_does_not_keep_a_pool(registry):
    pool = cgexec.ThreadPoolExecutor(1, name="jobs")
    prometheus.register(pool, registry)
    pool.submit(abs, -1).result(SOON)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert value(registry, "pool_submitted_total", pool="jobs") == 1  # what it had counted is told once more
    assert value(registry, "pool_submitted_total", pool="jobs") is None


def test_counters_go_on_when_a_name_changes_hands(registry):
    for size in (1, 2, 3):
        with cgexec.ThreadPoolExecutor(size, name="jobs") as pool:
            prometheus.register(pool, registry)
            pool.submit(int, "x").exception(SOON)
            assert value(registry, "pool_submitted_total", pool="jobs") == size
            assert value(registry, "pool_ended_total", pool="jobs", outcome="failed") == size
            assert value(registry, "pool_limit", pool="jobs") == size


def test_what_a_closed_pool_still_runs_is_counted_under_its_successor(registry):
    old = cgexec.ThreadPoolExecutor(1, name="jobs")
    prometheus.register(old, registry)
    with holding(old, 1), cgexec.ThreadPoolExecutor(2, name="jobs") as new:
        old.shutdown(wait=False)
        prometheus.register(new, registry)
        assert value(registry, "pool_ended_total", pool="jobs", outcome="completed") == 0
        assert value(registry, "pool_running", pool="jobs") == 0
    old.shutdown()
    assert value(registry, "pool_ended_total", pool="jobs", outcome="completed") == 1


def test_a_pool_that_is_registered_again_is_not_counted_twice(registry):
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool:
        for times in (1, 2, 3):
            registration = prometheus.register(pool, registry)
            pool.submit(abs, -1).result(SOON)
            assert value(registry, "pool_submitted_total", pool="jobs") == times
            registration.close()


def test_closing_the_registration_of_a_predecessor_leaves_the_successor(registry):
    with cgexec.ThreadPoolExecutor(1, name="jobs") as old:
        registration = prometheus.register(old, registry)
    with cgexec.ThreadPoolExecutor(2, name="jobs") as new:
        prometheus.register(new, registry)
        registration.close()
        assert value(registry, "pool_limit", pool="jobs") == 2


def test_the_fuse_is_told_beside_a_pool_without_memorys_guard(registry, monkeypatch):
    with (
        cgexec.ThreadPoolExecutor(1, name="plain", memory_guard=False) as plain,
        cgexec.ThreadPoolExecutor(1, name="fused") as fused,
    ):
        monkeypatch.setattr(watch(), "view", lambda: {"fuse": 1 << 30, "reliefs": 0})
        prometheus.register(plain, registry)
        prometheus.register(fused, registry)
        assert value(registry, "memory_fuse_bytes") == 1 << 30


def test_the_process_counters_stay_when_the_pool_that_knew_them_ends(registry, monkeypatch):
    with (
        cgexec.ThreadPoolExecutor(1, name="plain", memory_guard=False) as plain,
        cgexec.ThreadPoolExecutor(1, name="guarded") as guarded,
    ):
        monkeypatch.setattr(watch(), "view", lambda: {"reliefs": 3})
        prometheus.register(plain, registry)
        registration = prometheus.register(guarded, registry)
        assert value(registry, "memory_reliefs_total") == 3
        registration.close()
        assert value(registry, "memory_reliefs_total") == 3


def test_a_finalizer_in_the_middle_may_register_a_pool():
    watched = _watched.Watched()
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool:

        def finalize():
            with watched._lock:
                watched.add(pool)

        thread = threading.Thread(target=finalize, daemon=True)
        thread.start()
        thread.join(SOON)
        assert not thread.is_alive()


def test_names_of_pools_that_are_gone_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(_watched, "_MOST_NAMES", 2)
    watched = _watched.Watched()
    for name in "abc":
        with cgexec.ThreadPoolExecutor(1, name=name) as pool:
            watched.add(pool)
        watched.look()
    assert list(watched._places) == ["b", "c"]


def test_two_pools_of_one_name_are_refused_and_a_successor_is_not(registry):
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool:
        prometheus.register(pool, registry)
        prometheus.register(pool, registry)
        with cgexec.ThreadPoolExecutor(3, name="jobs") as other:
            with pytest.raises(ValueError, match="a pool named 'jobs' is registered already.*name="):
                prometheus.register(other, registry)
            pool.shutdown()
            prometheus.register(other, registry)
            assert value(registry, "pool_limit", pool="jobs") == 3


def test_closing_takes_it_out(registry):
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool:
        registration = prometheus.register(pool, registry)
        registration.update()
        registration.close()
        assert value(registry, "pool_limit", pool="jobs") is None


def test_the_standard_pool_of_mode_off_tells_what_it_knows(registry, monkeypatch):
    monkeypatch.setenv("CGEXEC_MODE", "off")
    with cgexec.ThreadPoolExecutor(3, name="jobs") as pool:
        prometheus.register(pool, registry)
        assert value(registry, "pool_limit", pool="jobs") == 3
        assert value(registry, "pool_info", pool="jobs", mode="off", bound_by="said") == 1
        assert value(registry, "pool_submitted_total", pool="jobs") is None


def test_observing_tells_what_would_have_been(registry, monkeypatch):
    monkeypatch.setenv("CGEXEC_MODE", "observe")
    with cgexec.ThreadPoolExecutor(name="jobs") as pool:
        prometheus.register(pool, registry)
        assert value(registry, "pool_would_limit", pool="jobs") == cgexec.recommend().max_workers
        assert value(registry, "pool_would_total", pool="jobs", what="rejected") == 0


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_a_wrapped_executor_without_its_bound_has_no_limit(registry, monkeypatch, mode):
    monkeypatch.setenv("CGEXEC_MODE", mode)
    with cgexec.wrap(ThreadPoolExecutor(2), name="jobs") as pool:
        prometheus.register(pool, registry)
        assert value(registry, "pool_limit", pool="jobs") is None
        assert value(registry, "pool_would_limit", pool="jobs") == (3 if mode == "observe" else None)


def test_without_the_client_it_names_the_command():
    code = (
        "import sys; sys.modules['prometheus_client'] = None; from cgexec.metrics import prometheus\n"
        "try: prometheus.register(None)\nexcept ImportError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == 'cgexec.metrics.prometheus needs prometheus-client: pip install "cgexec[prometheus]"\n'
