"""The jobs over HTTP."""

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from fastapi_service.service import Service
from fastapi_service.states import Job

__all__ = ["JobId", "router", "shown"]

router = APIRouter()
# As it stands in a path and in a log. Not "..", which clients and proxies take out of a path.
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]


def shown(job: Job) -> dict[str, Any]:
    """Return a job as JSON shows it."""
    return {**asdict(job), "state": str(job.state)}


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


@router.post("/jobs", status_code=202)
async def start(request: Request) -> dict[str, Any]:
    """Start a job under a new id."""
    job, _ = await _service(request).runner.start()
    return shown(job)


@router.get("/process/{job_id}")
async def process(request: Request, response: Response, job_id: JobId) -> dict[str, Any]:
    """Start a job under the caller's id: 202. The same id never runs twice: 200, and what became of it."""
    job, new = await _service(request).runner.start(job_id)
    response.status_code = 202 if new else 200
    return shown(job)


@router.get("/jobs", response_class=Response)
async def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Response:
    """Return the jobs of all processes: those that are being worked on, then the latest."""
    service = _service(request)
    # A thousand jobs take some 50 ms to become text, which the loop has not got.
    text = await service.io.run(lambda: json.dumps([shown(job) for job in service.store.latest(limit)]))
    return Response(text, media_type="application/json")


@router.get("/jobs/{job_id}")
async def job(request: Request, job_id: JobId) -> dict[str, Any]:
    """Return a job's state and, at its end, its result."""
    service = _service(request)
    return shown(_found(await service.io.run(service.store.get, job_id), job_id))


@router.delete("/jobs/{job_id}", status_code=202)
async def cancel(request: Request, job_id: JobId) -> dict[str, Any]:
    """Ask a job to end. It does at its next checkpoint; one that has ended stays as it is."""
    return shown(_found(await _service(request).runner.cancel(job_id), job_id))


def _found(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise HTTPException(404, f"there is no job {job_id!r}; results are kept for a bounded time")
    return job
