"""The example service as a real process: uvicorn, its port, and what a client does with it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psutil

from support.lab import IMPORT_FROM, PROJECT

__all__ = ["FINAL", "LONG", "QUICK", "SOON", "Server", "check_whole", "environment", "free_port", "read_all", "serving"]

FINAL = {"cancelled", "completed", "failed", "interrupted"}
# For whatever should take no time, on a loaded machine under a CPU quota, in seconds.
SOON = 30.0
QUICK = {
    "job_seconds": 0.2,
    "job_steps": 4,
    "job_memory": "1Mi",
    "backoff": 0.01,
    "poll": 0.05,
    "progress_every": 0,
}
# A job that ends only when it is told to, within the time of a test.
LONG = {**QUICK, "job_seconds": 600, "job_steps": 6000, "grace": 5}
_NOT_PASSED = ("CGEXEC_", "WEB_CONCURRENCY", "AWS_", "KUBERNETES_", "DATABASE")


class Server:
    """A running service. *log* has what it said."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}"

    def get(self, path: str, **arguments: object) -> httpx.Response:
        return httpx.get(self.http + path, timeout=SOON, **arguments)

    def post(self, path: str) -> httpx.Response:
        return httpx.post(self.http + path, timeout=SOON)

    def delete(self, path: str) -> httpx.Response:
        return httpx.delete(self.http + path, timeout=SOON)

    def start(self) -> str:
        answer = self.post("/jobs")
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def wait(self, job_id: str, *states: str) -> dict:
        """Wait until the job is in one of the states, and return it."""
        end = time.monotonic() + SOON
        while time.monotonic() < end:
            job = self.get(f"/jobs/{job_id}").json()
            if job["state"] in states:
                return job
            time.sleep(0.01)
        raise AssertionError(f"{job_id} is {job}, not {states}\n{self.said()}")

    def said(self) -> str:
        return self.log.read_text()

    def terminate(self) -> None:
        """Send SIGTERM to the service, which may stand behind another command."""
        inner = psutil.Process(self.process.pid)
        while not any("fastapi_service" in word for word in inner.cmdline()[:4]):
            (inner,) = inner.children()
        inner.send_signal(signal.SIGTERM)

    def status(self) -> int:
        """Return with which status it ended."""
        return self.process.wait(SOON)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def environment(**settings: object) -> dict[str, str]:
    """Return the variables of a service with these settings."""
    passed = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED)}
    passed |= {"PYTHONPATH": f"{IMPORT_FROM}:{PROJECT / 'examples'}", "PYTHONUNBUFFERED": "1"}
    return passed | {name.upper(): str(value) for name, value in settings.items()}


@contextlib.contextmanager
def serving(
    *options: str, before: Sequence[str] = (), after: Sequence[str] = (), **settings: object
) -> Iterator[Server]:
    """
    Run the service until the end of the block.

    Args:
        *options: of ``python -m fastapi_service``.
        before: a command in front of it: the laboratory's, tini's.
        after: what is run instead of it.
        **settings: its environment variables, in lower case.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        service = after or [sys.executable, "-m", "fastapi_service"]
        command = [*before, *service, "--host", "127.0.0.1", "--port", str(port), *options]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, env=environment(**settings), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        server = Server(process, port, log)
        try:
            _wait_until_alive(server)
            yield server
        finally:
            _end(process)


def _wait_until_alive(server: Server) -> None:
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if server.get("/livez").status_code == 200:
                return
        time.sleep(0.02)
    raise AssertionError(f"it does not serve, status {server.process.poll()}:\n{server.said()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(SOON)
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait(SOON)
            for child in children:  # they would serve on
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            raise


async def read_all(socket: object, *, until_event: int | None = None) -> list[dict]:
    """Return the events that a WebSocket brings until it is closed, without the heartbeats."""
    events = []
    async for text in socket:
        message = json.loads(text)
        if message["type"] == "event":
            events.append(message)
            if until_event is not None and len(events) >= until_event:
                break
    return events


def check_whole(events: list[dict]) -> None:
    """Assert that these are all events of a job that was completed: of the progress the latest wins, the last is there."""
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    states, progress = [event["state"] for event in events], [event["progress"] for event in events]
    assert states == ["queued", *["running"] * (len(events) - 2), "completed"]
    assert progress[:2] == [0, 0]
    assert progress[-2:] == [100, 100]
    assert progress[1:-1] == sorted(set(progress))
