"""What the example service needs to be tested."""

import importlib.util
import sys
from pathlib import Path

import pytest

NEEDED = ("fastapi", "uvicorn", "websockets", "tenacity", "httpx", "prometheus_client")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
EXAMPLES = str(Path(__file__).parents[2] / "examples")

if EXAMPLES not in sys.path:
    sys.path.append(EXAMPLES)


def pytest_ignore_collect(collection_path, config):
    # They import what is missing; a skip inside each of them would come too late.
    return (
        True if MISSING and collection_path.name.startswith("test_") and "needs" not in collection_path.name else None
    )


@pytest.fixture
def does(monkeypatch):
    """Have every job do something: a function of its id, the number of its attempt, and where it reports to."""
    from fastapi_service import execution

    def does(work):
        monkeypatch.setattr(execution, "simulate", lambda _, job_id, attempt, report: work(job_id, attempt, report))

    return does
