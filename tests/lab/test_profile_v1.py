"""The profiler under real limits: a level that the kernel kills ends the climb and not the command."""

import json
from pathlib import Path

import pytest

from support.lab import run_in

pytestmark = pytest.mark.lab

TESTS = Path(__file__).parents[1]
CLIMB = f"""
os.environ["PYTHONPATH"] += ":{TESTS}"
from cgexec._cli import main
import contextlib, io
out = io.StringIO()
with contextlib.redirect_stdout(out):
    status = main(["profile", "support.profiled:" + sys.argv[1], "--json", "--seconds", "0.3", "--most", "8"])
answer(status=status, said=out.getvalue())
"""


def test_a_level_that_is_killed_for_memory_is_the_last_and_the_others_count():
    seen = run_in(["v1", "--memory", "96M", "--"], CLIMB, "greedy_beside_others", timeout=120)
    said = json.loads(seen.said)
    assert seen.status == 0
    assert said["stopped"].endswith("workers: killed, most likely for memory")
    assert 1 <= len(said["levels"]) <= 3
    assert said["workers"] <= 3
    assert said["limits"]["memory_limit"] == 96 << 20


def test_throttling_is_seen():
    seen = run_in(["v1", "--memory", "256M", "--cpus", "0.2", "--"], CLIMB, "pure", timeout=120)
    assert max(level["throttled"] or 0.0 for level in json.loads(seen.said)["levels"]) > 0
