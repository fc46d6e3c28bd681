"""The jobs over WebSockets: progress and result are pushed, and who comes back gets what was missed."""

import asyncio
import json
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

import cgexec
from fastapi_service.admission import Broken, Ending
from fastapi_service.hub import Follower, ends
from fastapi_service.routes import JobId
from fastapi_service.service import Service
from fastapi_service.states import FINAL, Event
from fastapi_service.wire import listed, message

__all__ = ["close", "router"]

router = APIRouter()
# RFC 6455, section 7.4 and its registry.
_ENDED, _SERVER_ERROR = 1000, 1011
_NO_SUCH_JOB = 4404  # of its private range
_LIVE_S = 1.0
_LIVE_JOBS = 40


class _Gone(Exception):
    """The job is not in the store, or no more."""


@router.websocket("/ws")
async def start(websocket: WebSocket) -> None:
    """Start a job and push what happens to it. A full pool closes the socket with 1013, "try again later"."""
    async with _accepted(websocket) as service:
        job, _ = await service.runner.start()
        await _push(websocket, service, job.id, 0)


@router.websocket("/ws/{job_id}")
async def join(websocket: WebSocket, job_id: JobId, after: Annotated[int, Query(ge=0)] = 0) -> None:
    """
    Push what has happened to a job since event number *after*, and what will. Closed when it has ended.

    Who has had the last event is told the end once more; a number that was never given means now.
    """
    async with _accepted(websocket) as service:
        await _push(websocket, service, job_id, min(after, await service.io.run(service.store.last_seq)))


@router.websocket("/live")
async def live(websocket: WebSocket) -> None:
    """Push the state of the pool and the latest jobs every second; for the page."""
    async with _accepted(websocket) as service:
        await _until_gone(websocket, _show(websocket, service))


@asynccontextmanager
async def _accepted(websocket: WebSocket) -> AsyncIterator[Service]:
    """Serve the client in the block. An error closes its line in words of its own, not as the end of a job does."""
    await websocket.accept()
    try:
        yield websocket.app.state.service
    except (cgexec.QueueFull, Ending, Broken, sqlite3.OperationalError):
        raise  # the application answers those, wherever they are raised
    except _Gone:
        await close(websocket, _NO_SUCH_JOB, "there is no such job")
    except Exception:
        await close(websocket, _SERVER_ERROR, "the server failed, come back")
        raise


async def close(websocket: WebSocket, code: int = _ENDED, reason: str = "") -> None:
    """Close the line of a client that was accepted."""
    with suppress(WebSocketDisconnect):  # it may go first, as when its job has ended
        await websocket.close(code, reason)


async def _show(websocket: WebSocket, service: Service) -> None:
    def text() -> str:
        jobs = [listed(job) for job in service.store.latest(_LIVE_JOBS)]
        return json.dumps({**_pool(service), "jobs": jobs, "total": sum(service.store.counts().values())})

    while True:
        await websocket.send_text(await service.io.run(text))
        await asyncio.sleep(_LIVE_S)


async def _push(websocket: WebSocket, service: Service, job_id: str, after: int) -> None:
    settings = service.settings
    chance = random.Random(f"{settings.seed}/{job_id}/{after}")  # noqa: S311  # a simulation

    async def send(follower: Follower) -> None:
        while not await _is_told(websocket, service, job_id, follower.after):
            while events := await follower.next(settings.heartbeat):
                for event in events:
                    await websocket.send_json(message(event))
                    if chance.random() < settings.drop_rate:
                        return  # without the word that the job has ended
                if ends(events):
                    return
            await websocket.send_json({"type": "heartbeat", "id": job_id})

    with service.hub.follow(job_id, after) as follower:
        await _until_gone(websocket, send(follower))


async def _is_told(websocket: WebSocket, service: Service, job_id: str, after: int) -> bool:
    """Return whether nothing comes after that event, since the job has ended; its end is sent once more then."""
    store = service.store
    # In this order: the events of a job that has ended are all there.
    job = await service.io.run(store.get, job_id)
    following = await service.io.run(lambda: store.events(after, job_id=job_id, limit=1))
    if job is None:
        raise _Gone
    if job.state not in FINAL or following:
        return False
    at = job.created if job.ended is None else job.ended
    await websocket.send_json(
        message(Event(after, job.id, at, job.state, job.attempt, job.progress, job.result, job.error))
    )
    return True


async def _until_gone(websocket: WebSocket, sending: Coroutine[Any, Any, None]) -> None:
    """Send until that ends or the client has gone; only reading tells that it has."""
    tasks = [asyncio.create_task(sending), asyncio.create_task(_read(websocket))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    if any(isinstance(result, WebSocketDisconnect) for result in results):
        return
    for error in results:
        if isinstance(error, Exception):
            raise error
    await close(websocket)


async def _read(websocket: WebSocket) -> None:
    """Read, whatever it is and to no purpose, until the client goes."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    raise WebSocketDisconnect


def _pool(service: Service) -> dict[str, object]:
    seen = service.pool.stats()
    return {
        "process": os.getpid(),
        "limit": seen.limit,
        "running": seen.running,
        "waiting": seen.waiting,
        "places": service.settings.queue_size,
        "completed": seen.completed,
        "failed": seen.failed,
        "rejected": sum(seen.rejected.values()),
        "overdue": seen.overdue,
        "held_for": seen.held_for,
        "estimated_wait": seen.estimated_wait,
        "memory_used": seen.memory_used,
        "memory_limit": seen.memory_limit,
        "closing": service.closing,
        "why": service.pool.explain().splitlines()[0],
    }
