"""The jobs over HTTP."""

import json
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from fastapi_service.service import Service
from fastapi_service.states import Job
from fastapi_service.wire import listed, shown

__all__ = ["JobId", "router"]

router = APIRouter()
# As it stands in a path and in a log. Not "..", which clients and proxies take out of a path.
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


@router.post("/jobs", status_code=202)
async def start(request: Request) -> JSONResponse:
    """Start a job under a new id."""
    job, _ = await _service(request).runner.start()
    return _answer(job, 202)


@router.get("/process/{job_id}")
async def process(request: Request, job_id: JobId) -> JSONResponse:
    """Start a job under the caller's id: 202. As long as it is kept, that id does not run again: 200 and the job."""
    job, new = await _service(request).runner.start(job_id)
    return _answer(job, 202 if new else 200)


@router.get("/jobs", response_class=Response)
async def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Response:
    """Return the jobs of all processes, without results: those that are being worked on, then the latest."""
    service = _service(request)
    # A thousand jobs take some 50 ms to become text, which the loop has not got.
    text = await service.io.run(lambda: json.dumps([listed(job) for job in service.store.latest(limit)]))
    return Response(text, media_type="application/json")


@router.get("/jobs/{job_id}")
async def job(request: Request, job_id: JobId) -> JSONResponse:
    """Return a job's state and, at its end, its result."""
    service = _service(request)
    return _answer(_found(await service.io.run(service.store.get, job_id), job_id), 200)


@router.delete("/jobs/{job_id}", status_code=202)
async def cancel(request: Request, job_id: JobId) -> JSONResponse:
    """Ask a job to end. It does at its next checkpoint; one that has ended stays as it is."""
    return _answer(_found(await _service(request).runner.cancel(job_id), job_id), 202)


def _answer(job: Job, status: int) -> JSONResponse:
    # Not FastAPI's own way for what is returned, which takes less than `wire.check` lets pass: no deep nesting.
    return JSONResponse(shown(job), status)


def _found(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise HTTPException(404, f"there is no job {job_id!r}; results are kept for a bounded time")
    return job
