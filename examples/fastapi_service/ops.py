"""For the cluster: is it alive, is it ready, and its numbers."""

from collections.abc import Iterator
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from cgexec import Stats
from fastapi_service.service import Service
from fastapi_service.states import State

__all__ = ["router"]

router = APIRouter()
# What waits has been held back for so long, in seconds: something keeps the memory, and others may serve meanwhile.
# A full pool is no reason: it is at work, and answers 503 itself.
_UNREADY_S = 120.0


class Metric(NamedTuple):
    """One number, as Prometheus takes it."""

    name: str
    kind: str  # "gauge" or "counter"
    help: str
    value: float
    labels: dict[str, str] = {}  # noqa: RUF012  # nobody adds to it


@router.get("/livez")
async def livez() -> PlainTextResponse:
    """Answer. Asks nothing: a restart frees no worker that a new process would not fill again."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def readyz(request: Request) -> PlainTextResponse:
    """Answer 503 at shutdown, or if memory has let nothing start for two minutes."""
    service: Service = request.app.state.service
    held = service.pool.stats().held_for or 0.0
    if service.closing:
        return PlainTextResponse("ending\n", 503)
    if held >= _UNREADY_S:
        return PlainTextResponse(f"memory has let nothing start for {held:.0f} s\n", 503)
    return PlainTextResponse("ok\n")


@router.get("/metrics")
async def metrics(request: Request) -> PlainTextResponse:
    """Return the numbers of this process and its jobs, in Prometheus' text format."""
    service: Service = request.app.state.service
    counts = await service.io.run(service.store.counts)
    text = "".join(_lines([*_of_pool(service.pool.stats()), *_of_jobs(counts)])) + _of_process()
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _of_pool(seen: Stats) -> Iterator[Metric]:
    yield Metric("pool_workers_limit", "gauge", "Tasks that may run at once.", seen.limit)
    yield Metric("pool_running", "gauge", "Tasks that run.", seen.running)
    yield Metric("pool_waiting", "gauge", "Tasks that wait for a worker.", seen.waiting)
    yield Metric("pool_queue_size", "gauge", "Places for waiting tasks.", seen.queue_size)
    yield Metric("pool_held_seconds", "gauge", "How long memory has held back what waits.", seen.held_for or 0.0)
    yield Metric("pool_overdue_total", "counter", "Tasks that ran longer than they should.", seen.overdue)
    yield Metric("pool_task_seconds_total", "counter", "Time spent in tasks.", seen.task_seconds)
    yield Metric("pool_cpu_seconds_total", "counter", "CPU time of tasks.", seen.cpu_seconds)
    for how, count in (("completed", seen.completed), ("failed", seen.failed), ("cancelled", seen.cancelled)):
        yield Metric("pool_ended_total", "counter", "Tasks that ended, by how.", count, {"how": how})
    for reason in ("queue", "memory", "wait"):
        value = seen.rejected.get(reason, 0)
        yield Metric("pool_rejected_total", "counter", "Refused submits, by reason.", value, {"reason": reason})
    if seen.memory_used is not None and seen.memory_limit is not None:
        yield Metric("container_memory_used_bytes", "gauge", "Memory that reclaim cannot give back.", seen.memory_used)
        yield Metric("container_memory_limit_bytes", "gauge", "What that is held against.", seen.memory_limit)
    if seen.oom_kills is not None:
        yield Metric("container_oom_kills_total", "counter", "Processes killed for the memory limit.", seen.oom_kills)


def _of_jobs(counts: dict[State, int]) -> Iterator[Metric]:
    for state, count in counts.items():
        yield Metric("jobs", "gauge", "Jobs in the store, by state.", count, {"state": str(state)})


def _lines(found: list[Metric]) -> Iterator[str]:
    before = None
    for metric in found:
        name = f"cgexec_{metric.name}"
        if name != before:
            yield f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n"
        before = name
        labels = ",".join(f'{key}="{value}"' for key, value in metric.labels.items())
        yield f"{name}{{{labels}}} {float(metric.value)}\n" if labels else f"{name} {float(metric.value)}\n"


def _of_process() -> str:
    """Return what prometheus_client says of the process itself, nothing where it is not installed."""
    try:
        from prometheus_client import generate_latest
    except ImportError:
        return ""
    return generate_latest().decode()
