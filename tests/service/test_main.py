"""What the process tells uvicorn, and its exit status where the jobs were in memory."""

import multiprocessing
import operator
import os
import signal
import sys

import uvicorn
from uvicorn.supervisors.multiprocess import Process

from support.service import LONG, QUICK, SOON, serving


def test_a_process_that_is_busy_for_a_minute_is_not_killed(monkeypatch, tmp_path):
    """A job that holds the interpreter lock keeps its process from answering uvicorn, which is patient for 5 s."""
    import fastapi_service.__main__ as service

    def run(app, **told):
        told.pop("factory")
        configs.append(uvicorn.Config(app, **told))
        folders.append(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        assert os.listdir(folders[0]) == []

    configs, folders = [], []
    monkeypatch.setattr(uvicorn, "run", run)
    monkeypatch.setattr(Process, "start", Process.start)
    monkeypatch.setattr(sys, "argv", ["fastapi_service", "--workers", "2"])
    monkeypatch.setenv("DATABASE", str(tmp_path / "jobs.db"))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    former = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert service.main() == 0
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), former, strict=True):
            signal.signal(number, handler)
    assert configs[0].timeout_worker_healthcheck >= 60
    assert not os.path.exists(folders[0])


def test_the_pipe_of_a_process_that_died_ends(monkeypatch):
    """Or uvicorn would wait a minute for the answer of a process that dies while it is asked."""
    import fastapi_service.__main__ as service

    monkeypatch.setattr(Process, "start", Process.start)
    service._see_deaths()
    worker = Process(uvicorn.Config("no:app"), sockets=[])
    spawn = multiprocessing.get_context("spawn").Process
    worker.process = spawn(target=operator.methodcaller("close"), args=(worker.child_conn,))
    worker.start()
    worker.process.join(SOON)
    assert worker.process.exitcode == 0
    assert worker.parent_conn.poll(0)
    assert not worker.ping(SOON)
    worker.parent_conn.close()
    worker.process.close()


def test_the_status_tells_of_interrupted_jobs_in_memory_too():
    with serving(**LONG) as server:
        server.wait(server.start(), "running")
        server.terminate()
        assert server.status() == 1, server.said()
    with serving(**QUICK) as server:
        server.wait(server.start(), "completed")
        server.terminate()
        assert server.status() == 0, server.said()
