"""What the process tells uvicorn, and its exit status where the jobs were in memory."""

import multiprocessing
import operator
import os
import subprocess
import sys

import pytest
import uvicorn
from fastapi_service.settings import Settings
from uvicorn.supervisors.multiprocess import Process

from support.service import LONG, QUICK, SOON, environment, free_port, serving


def test_a_process_that_is_busy_for_a_minute_is_not_killed(monkeypatch, tmp_path):
    """A job that holds the interpreter lock keeps its process from answering uvicorn, which is patient for 5 s."""
    import fastapi_service.process as service

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
    assert service.main() == 0
    assert configs[0].timeout_worker_healthcheck >= 60
    assert not os.path.exists(folders[0])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("RETRY_AFTER", "inf", "a number, such as 10.0"),
        ("GRACE", "nan", "a number, such as 330.0"),
        ("BACKOFF", "soon", "a number, such as 2.0"),
        ("ATTEMPTS", "2.5", "a whole number, such as 5"),
    ],
)
def test_a_setting_that_is_no_such_number_is_named(name, text, expected):
    with pytest.raises(ValueError, match=f"^{name}='{text}': expected {expected}$"):
        Settings.from_environ({name: text})


def test_the_pipe_of_a_process_that_died_ends(monkeypatch):
    """Or uvicorn would wait a minute for the answer of a process that dies while it is asked."""
    import fastapi_service.process as service

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


AT = """
import os, runpy, signal, sys
moment = sys.argv.pop(1)
sys.argv[0] = "fastapi_service"

def signal_at(owner, name):
    def first(*arguments, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        return call(*arguments, **named)
    call = getattr(owner, name)
    setattr(owner, name, first)

class Importing:
    def find_spec(name, *_):
        if name == moment:
            os.kill(os.getpid(), signal.SIGTERM)
        if name == "fastapi_service.app":  # uvicorn has been imported
            signal_at(sys.modules["uvicorn"].Server, "run")
        if name == "uvicorn.supervisors.multiprocess" and moment == "bind":
            signal_at(sys.modules["uvicorn"].Config, "bind_socket")

sys.meta_path.insert(0, Importing)
runpy.run_module("fastapi_service", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("moment", "workers"), [("uvicorn", 1), ("fastapi_service.app", 1), ("run", 1), ("uvicorn", 2), ("bind", 2)]
)
def test_a_signal_that_comes_while_it_starts_is_heeded(tmp_path, moment, workers):
    """It would serve on until SIGKILL; as process 1 already from its first import on."""
    command = [sys.executable, "-c", AT, moment, "--host", "127.0.0.1", "--port", str(free_port())]
    variables = environment(**QUICK, database=tmp_path / "jobs.db", web_concurrency=workers)
    ended = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, timeout=SOON)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False), ended.stderr.decode()
