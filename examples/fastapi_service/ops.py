"""For the cluster: is it alive, is it ready, and its numbers."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from fastapi_service import metrics as numbers
from fastapi_service.service import Service

__all__ = ["router"]

router = APIRouter()
# What waits has been held back for so long, in seconds: something keeps the memory, and others may serve meanwhile.
# A full pool is no reason: it is at work, and answers 503 itself.
_UNREADY_S = 120.0


@router.get("/livez")
async def livez() -> PlainTextResponse:
    """Answer. Asks nothing: a restart frees no worker that a new process would not fill again."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def readyz(request: Request) -> PlainTextResponse:
    """Answer 503 at shutdown, if the pool is broken, or if memory has let nothing start for two minutes."""
    service: Service = request.app.state.service
    seen = service.pool.stats()
    held = seen.held_for or 0.0
    if service.closing:
        return PlainTextResponse("ending\n", 503)
    if seen.closed is not None:
        return PlainTextResponse(f"the pool takes no jobs: {seen.closed}\n", 503)
    if held >= _UNREADY_S:
        return PlainTextResponse(f"memory has let nothing start for {held:.0f} s\n", 503)
    return PlainTextResponse("ok\n")


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return the numbers of all processes and their jobs, in Prometheus' text format."""
    service: Service = request.app.state.service
    text = await service.io.run(lambda: numbers.exposition(service.store.counts()))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
