"""Every example runs as it stands, in a fresh interpreter, and prints something."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
ARGUMENTS = {"watch_headroom.py": ["--count=1", "--seconds=0"]}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example_runs(path):
    command = [sys.executable, "-W", "error", str(path), *ARGUMENTS.get(path.name, [])]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout or result.stderr
