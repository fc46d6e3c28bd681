"""Metrics as OpenTelemetry's SDK collects them."""

import gc
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import cgexec
from support.pools import holding

pytest.importorskip("opentelemetry.metrics", reason='needs opentelemetry-api: pip install "cgexec[otel]"')
sdk = pytest.importorskip("opentelemetry.sdk.metrics", reason="needs opentelemetry-sdk, which cgexec itself does not")

from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402

from cgexec.metrics import _watched, opentelemetry  # noqa: E402
from cgexec.metrics._table import every  # noqa: E402


@pytest.fixture
def collected():
    """Return a meter, and what its SDK collects: by name, the value by attributes, and unit."""
    reader = InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])

    def collect():
        data = reader.get_metrics_data()
        found = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            points = {tuple(sorted(point.attributes.items())): point.value for point in metric.data.data_points}
            found[metric.name] = (points, metric.unit)
        return found

    yield provider.get_meter("test"), collect
    provider.shutdown()


JOBS = (("cgexec.pool.name", "jobs"),)


def test_a_pool_is_reported_as_its_stats_are(collected):
    meter, collect = collected
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool:
        opentelemetry.instrument(pool, meter)
        with holding(pool, 2) as hold:
            hold.queue(3)
            found = collect()
    assert found["cgexec.pool.running"] == ({JOBS: 2}, "{task}")
    assert found["cgexec.pool.waiting"][0] == {JOBS: 3}
    assert found["cgexec.pool.ended"][0][(*JOBS, ("outcome", "completed"))] == 0
    assert found["cgexec.pool.longest_running.age"][1] == "s"
    assert found["cgexec.memory.limit"] == ({(): cgexec.limits().memory_bytes}, "By")
    assert set(found) <= {f"cgexec.{row.name}" for row in every()}


def test_two_pools_share_the_instruments(collected, caplog):
    meter, collect = collected
    with cgexec.ThreadPoolExecutor(1, name="jobs") as a, cgexec.ThreadPoolExecutor(3, name="other") as b:
        opentelemetry.instrument(a, meter)
        opentelemetry.instrument(b, meter)
        assert collect()["cgexec.pool.limit"][0] == {JOBS: 1, (("cgexec.pool.name", "other"),): 3}
    assert caplog.records == []


def test_a_call_that_failed_keeps_no_later_one_from_being_reported(collected):
    meter, collect = collected
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool, ThreadPoolExecutor(1) as no_pool_of_ours:
        with pytest.raises(AttributeError):
            opentelemetry.instrument(no_pool_of_ours, meter)
        opentelemetry.instrument(pool, meter)
        assert collect()["cgexec.pool.limit"][0] == {JOBS: 2}


def test_what_is_closed_or_collected_is_reported_no_longer(collected, monkeypatch):
    meter, collect = collected
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool:
        opentelemetry.instrument(pool, meter).close()
        assert "cgexec.pool.limit" not in collect()
    pool = cgexec.ThreadPoolExecutor(1, name="jobs")
    opentelemetry.instrument(pool, meter)
    del pool
    gc.collect()
    assert "cgexec.pool.limit" in collect()  # its last counts
    monkeypatch.setattr(_watched, "monotonic", lambda: time.monotonic() + 1)  # another collection
    assert "cgexec.pool.limit" not in collect()


def test_counters_go_on_when_a_name_changes_hands(collected):
    meter, collect = collected
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool:
        former = opentelemetry.instrument(pool, meter)
        list(pool.map(abs, range(3)))
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool:
        opentelemetry.instrument(pool, meter)
        former.close()  # the name is no longer its own
        list(pool.map(abs, range(4)))
        found = collect()
    assert found["cgexec.pool.submitted"][0] == {JOBS: 7}
    assert found["cgexec.pool.limit"][0] == {JOBS: 2}


def test_without_an_sdk_nothing_happens():
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool:
        opentelemetry.instrument(pool).close()


def test_without_the_api_it_names_the_command():
    code = (
        "import sys; sys.modules['opentelemetry.metrics'] = None; from cgexec.metrics import opentelemetry\n"
        "try: opentelemetry.instrument(None)\nexcept ImportError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == 'cgexec.metrics.opentelemetry needs opentelemetry-api: pip install "cgexec[otel]"\n'
