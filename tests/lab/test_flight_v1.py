"""The flight recorder outlives a real OOM kill under a real limit of cgroup v1."""

import pytest

from support.lab import run_in

pytestmark = pytest.mark.lab

GREEDY = """
import time
from cgexec import ThreadPoolExecutor

def greedy():
    blocks = []
    for _ in range(100):
        blocks.append(bytearray(b"x") * (2 << 20))
        time.sleep(0.02)

pool = ThreadPoolExecutor(2, name="jobs", memory_per_task="1Mi")
[pool.submit(greedy) for _ in range(6)]
pool.shutdown()
"""
NEXT = """
import logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
from cgexec import ThreadPoolExecutor
ThreadPoolExecutor(1).shutdown()
"""
# The killed process and the next one, as a container's restart would start them; this one is not to be taken instead.
BOTH = f"""
import subprocess, tempfile
with tempfile.TemporaryDirectory() as folder:
    environ = {{**os.environ, "CGEXEC_STATE_DIR": folder}}
    greedy = "open('/proc/self/oom_score_adj', 'w').write('1000')\\n" + {GREEDY!r}
    killed = subprocess.run([sys.executable, "-c", greedy], env=environ, capture_output=True, timeout=60)
    after = subprocess.run([sys.executable, "-c", {NEXT!r}], env=environ, capture_output=True, text=True, timeout=60)
    answer(status=killed.returncode, said=after.stdout, error=after.stderr, left=os.listdir(folder))
"""


def test_what_ran_when_the_kernel_killed_is_told_at_the_next_start():
    seen = run_in(["v1", "--memory", "96M", "--"], BOTH, timeout=120)
    assert (seen.status, seen.error, seen.left) == (-9, "", [])
    assert seen.said.startswith("[last-ended-badly] a process with pools ended without saying so")
    assert "the kernel has killed in this container for memory since" in seen.said
    assert "of 96 MiB in use (" in seen.said
    assert "; longest __main__.greedy for " in seen.said


def test_a_new_container_counts_from_zero_and_is_told_what_is_most_likely(tmp_path):
    folder = f"import os; os.environ['CGEXEC_STATE_DIR'] = {str(tmp_path)!r}\n"
    first = f"""
        import subprocess
        killed = subprocess.run([sys.executable, "-c", {folder + GREEDY!r}], timeout=60, capture_output=True)
        answer(status=killed.returncode)
    """
    second = f"""
        import subprocess
        after = subprocess.run(
            [sys.executable, "-c", {folder + NEXT!r}], timeout=60, capture_output=True, text=True, check=True
        )
        answer(said=after.stdout)
    """
    assert run_in(["v1", "--memory", "96M", "--"], first, timeout=120).status == -9
    said = run_in(["v1", "--memory", "96M", "--"], second).said
    assert "most likely killed by the kernel for memory" in said
    assert "; longest __main__.greedy for " in said
