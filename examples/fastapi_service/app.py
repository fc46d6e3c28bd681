"""The application. ``uvicorn --factory fastapi_service.app:create_app`` or ``python -m fastapi_service`` runs it."""

import logging
import os
import sqlite3
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse

from cgexec.starlette import add_queue_full_handler
from fastapi_service import ops, routes, sockets
from fastapi_service.admission import Broken, Ending
from fastapi_service.service import Service
from fastapi_service.settings import Settings

__all__ = ["create_app"]

_LOGGER = logging.getLogger("fastapi_service")
# What a client is told whose job this process will not take, or cannot while the disk is full, say: a word, and for a
# WebSocket a code of RFC 6455's registry, "service restart" or "internal error".
_REFUSALS: dict[type[Exception], tuple[str, int]] = {
    Ending: ("ending", 1012),
    Broken: ("broken", 1011),
    sqlite3.OperationalError: ("store", 1011),
}
_PAGE = Path(__file__).with_name("page.html")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application, with the settings of the environment or those given."""
    service = Service(settings or Settings.from_environ(os.environ))
    app = FastAPI(title="Long jobs in threads", lifespan=service.lifespan)
    app.state.service = service
    for part in (ops, routes, sockets):
        app.include_router(part.router)
    add_queue_full_handler(app)
    for kind in _REFUSALS:
        app.add_exception_handler(kind, _refuse)  # type: ignore[arg-type]  # Starlette asks for one kind of connection

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_PAGE)

    return app


async def _refuse(connection: Request | WebSocket, error: Exception) -> JSONResponse | None:
    # A client that comes back soon meets another pod, or this one's successor.
    word, code = _REFUSALS[type(error)]
    if isinstance(error, sqlite3.Error):
        _LOGGER.error("the store failed: %s", error)
    if isinstance(connection, WebSocket):
        await sockets.close(connection, code, f"{word}, try again")
        return None
    return JSONResponse({"error": word, "detail": str(error)}, 503, {"Retry-After": "5"})
