"""gunicorn and Celery take the numbers that the command line prints, and a pool works in what they start."""

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.lab import IMPORT_FROM

pytest.importorskip("httpx", reason="needs the extras: pip install 'cgexec[service,recipes]'")

from support.service import free_port

SOON = 30


def printed(*options):
    """Return the arguments that the command line prints for a pod of two CPUs."""
    command = [sys.executable, "-m", "cgexec", "recommend", "--as", "cpu=2,memory=4Gi,held=100Mi", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SOON, check=True, env=environment())
    return shlex.split(done.stdout)


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(IMPORT_FROM), **more}


@contextmanager
def running(command, folder):
    """Run a server until the end of the block; yields what it has said."""
    log = Path(folder) / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(SOON)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(SOON)
            raise


WEB = """
import functools, threading
import cgexec
from flask import Flask, jsonify
app = Flask(__name__)
one_at_a_time = threading.Lock()

@functools.cache
def made():
    return cgexec.ThreadPoolExecutor(4, name="jobs")

def pool():
    with one_at_a_time:
        return made()

@app.get("/<int:number>")
def answer(number):
    return jsonify(result=pool().submit(pow, number, 2).result(20), thread=threading.current_thread().name)
"""


def test_gunicorn_with_preload_serves_with_the_threads_it_is_told(tmp_path):
    pytest.importorskip("gunicorn")
    pytest.importorskip("flask")
    arguments = printed("--io-ratio", "0.9", "--format", "gunicorn")
    assert "--threads=20" in arguments
    (tmp_path / "web.py").write_text(WEB)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", *arguments, "--preload", "-b", f"127.0.0.1:{port}", "web:app"]
    with running(command, tmp_path) as log:
        end = time.monotonic() + SOON
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/7", timeout=SOON) as answer:
                    found = json.load(answer)
                break
            except urllib.error.URLError:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
    assert found["result"] == 49
    assert "ThreadPoolExecutor" in found["thread"], "one of gunicorn's threads"


CELERY = """
import os, threading
from pathlib import Path
from celery import Celery
here = Path(__file__).parent
app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={"data_folder_in": f"{here}/queue", "data_folder_out": f"{here}/queue"},
    worker_hijack_root_logger=False, broker_connection_retry_on_startup=True,
)
barrier = threading.Barrier(int(os.environ.get("AT_ONCE", "1")))

@app.task
def together(number):
    barrier.wait(20)  # passed only by so many at the same time
    (here / f"done-{number}").touch()
"""


def test_celery_runs_as_many_at_once_as_it_is_told(tmp_path, monkeypatch):
    pytest.importorskip("celery")
    (concurrency,) = [each for each in printed("--io-ratio", "0.9", "--format", "celery") if "concurrency" in each]
    assert concurrency == "--concurrency=20"
    monkeypatch.setenv("AT_ONCE", "20")
    (tmp_path / "queue").mkdir()
    (tmp_path / "tasks.py").write_text(CELERY)
    send = "import tasks; [tasks.together.delay(number) for number in range(20)]"
    subprocess.run([sys.executable, "-c", send], cwd=tmp_path, env=environment(), timeout=SOON, check=True)
    arguments = printed("--io-ratio", "0.9", "--format", "celery")
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tasks",
        "worker",
        *arguments,
        "--without-gossip",
        "--without-mingle",
    ]
    with running(command, tmp_path) as log:
        end = time.monotonic() + 2 * SOON
        while len(list(tmp_path.glob("done-*"))) < 20:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
