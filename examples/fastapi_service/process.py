"""The process: what it tells uvicorn, and which status it ends with."""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.supervisors.multiprocess import Process

import fastapi_service
from fastapi_service.service import make_store
from fastapi_service.settings import Settings
from fastapi_service.states import State
from fastapi_service.store import JobStore

# Of the five seconds that the lifespan leaves: for connections to be closed.
_CLOSE_S = 2
# Longer than proxies and clients keep an idle line: who closes first must be them, or a request meets a closed one.
_KEEP_ALIVE_S = 75
# uvicorn kills a process that does not answer it for so long. A job that holds the interpreter lock keeps it from
# answering, and with the default of 5 s takes all jobs of its process with it. As patient as the liveness probe. The
# price: as long as one does not answer no SIGTERM is passed on.
_HEALTHCHECK_S = 60
# The status of a server that could not start: uvicorn's own, which its users know.
_NOT_STARTED = 3
_APP = "fastapi_service.app:create_app"


def main() -> int:
    """
    Serve until SIGTERM or SIGINT; return 0 if every job had ended by then, 1 if some were interrupted.

    Whoever calls it has set what a signal does until the server hears it.
    """
    parser = argparse.ArgumentParser(description=fastapi_service.__doc__)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104  # a container's own network
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=int(os.environ.get("WEB_CONCURRENCY") or 1))
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    settings = Settings.from_environ(os.environ)
    if told.workers > 1 and not settings.database:
        parser.error("several processes need a common store: set DATABASE to the path of a file")
    # The pools divide the container by it; the processes that uvicorn starts inherit it.
    os.environ["WEB_CONCURRENCY"] = str(told.workers)
    _see_deaths()
    begin = time.time()
    with _metrics_of_all(told.workers):
        store = _serve(settings, told)
    try:
        store.recover()  # of a worker that was killed
        jobs = store.latest(sys.maxsize)
        # Not those that a process before this one left: they are marked now, and were made then.
        return int(any(job.state is State.INTERRUPTED and job.created >= begin for job in jobs))
    finally:
        store.close()


def _serve(settings: Settings, told: argparse.Namespace) -> JobStore:
    """Serve until the end; return a store that knows what became of the jobs."""
    options: dict[str, Any] = {  # Any: each of a type of its own
        "host": told.host,
        "port": told.port,
        "workers": told.workers,
        "timeout_keep_alive": _KEEP_ALIVE_S,
        "timeout_graceful_shutdown": _CLOSE_S,
        "timeout_worker_healthcheck": _HEALTHCHECK_S,
        "access_log": False,
    }
    if told.workers > 1:
        uvicorn.run(_APP, factory=True, **options)
        return make_store(settings)
    # Not for the parent of several, which needs neither the application nor its memory.
    from fastapi_service.app import create_app

    app = create_app(settings)
    _run(uvicorn.Server(uvicorn.Config(app, **options)))
    store: JobStore = app.state.service.store
    # What is in memory can only be asked of the application itself; a file it has closed.
    return make_store(settings) if settings.database else store


def _run(server: uvicorn.Server) -> None:
    """Run the server, which hears signals from now on."""
    # uvicorn sets the same handler, only later. At its end it puts back what was there before and raises the signal
    # once more, which must not end the process before its status is known.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)


def _see_deaths() -> None:
    """
    Have uvicorn see at once that a process died from which it awaits an answer.

    It keeps the process's end of the pipe open beside its own, so nothing ends there: it would wait out the time above,
    replace nobody and pass no SIGTERM on.
    """
    start = Process.start

    def start_and_let_go(process: Process) -> None:
        start(process)
        process.child_conn.close()

    Process.start = start_and_let_go  # type: ignore[method-assign,assignment]  # there is no other way in


@contextmanager
def _metrics_of_all(workers: int) -> Iterator[None]:
    """Have several processes write their numbers into files, empty at the start: a scrape reaches one of them."""
    if workers == 1:
        yield
        return
    # Before prometheus-client is imported in them, which looks then. Within the folder that was told, if one was.
    name = "PROMETHEUS_MULTIPROC_DIR"
    with tempfile.TemporaryDirectory(prefix="metrics-", dir=os.environ.get(name), ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        yield
