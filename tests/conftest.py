"""What holds for every test: a clean environment, and no thread left behind."""

import os
import threading
from collections.abc import Iterator
from time import monotonic, sleep

import pytest

_OURS = ("CGEXEC_CPUS", "CGEXEC_MEMORY", "CGEXEC_CPU_REQUEST", "CGEXEC_MEMORY_REQUEST", "CGEXEC_PROCESSES")
_POOLS = ("CGEXEC_MODE", "CGEXEC_MAX_WORKERS", "CGEXEC_FORCE_MAX_WORKERS")
_OTHERS = (
    "CGEXEC_RESERVE",
    "CGEXEC_STATE_DIR",
    "CGEXEC_STATS_SOCKET",
    "WEB_CONCURRENCY",
    "PYTHON_CPU_COUNT",
    "NO_COLOR",
)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the caller's shell says must change an answer; CGEXEC_LAB alone is for the tests."""
    for name in (*_OURS, *_POOLS, *_OTHERS, *(name for name in os.environ if name.startswith(("AWS_", "KUBERNETES_")))):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    end = monotonic() + 5
    while left and monotonic() < end:  # those of a pool that was just dropped are on their way out
        sleep(0.001)
        there = threading.enumerate()  # and not join(): one of them may be just about to begin
        left = [thread for thread in left if thread in there]
    assert not left, f"threads left behind: {left}"
