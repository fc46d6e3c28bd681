"""The newest Pythons, as far as the laboratory has them: they see the same container and size it alike."""

import os
from pathlib import Path

import pytest

from support.lab import program, run_in

pytestmark = pytest.mark.lab

ANSWERS = "answer(version=list(sys.version_info[:2]), limits=limits(), workers=recommend(io_ratio=0.9).max_workers)"


@pytest.fixture
def lab_python() -> str:
    """The laboratory's program, where it has been told to fetch its Pythons: that is hundreds of megabytes."""
    path = program("python")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not (cache / "cgxlab" / "sid-python").is_dir():
        pytest.skip("the laboratory has no newer Python yet: run its program with `python fetch 3.14 3.15`")
    return path


@pytest.mark.timeout(300)  # an environment may have to be made
@pytest.mark.parametrize("version", ["3.14", "3.15"])
def test_a_newer_python_agrees(version: str, lab_python: str) -> None:
    limited = ["cgrun", "--memory", "256M", "--cpus", "0.5", "--view", "ns"]
    here = run_in([*limited, "--"], ANSWERS)
    # Once outside the limit: the first run for a project makes its environment.
    run_in(["python", version, "--"], ANSWERS, python="python", timeout=180)
    there = run_in([*limited, "--", lab_python, version, "--"], ANSWERS, python="python")
    assert there.version == [int(part) for part in version.split(".")]
    assert there.limits == here.limits
    assert (there.limits.cpus, there.limits.memory_bytes) == (here.limits.cpus, here.limits.memory_bytes)
    assert there.workers == here.workers == 5
