"""More interpreters than one in a process: each has pools of its own, and they end with it."""

import re
import subprocess
import sys

import pytest

import cgexec
from cgexec._memory import fuse
from cgexec._memory.fuse import why_no_fuse

INSIDE = """
import threading
import cgexec
with cgexec.ThreadPoolExecutor(2) as pool:
    assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))
    assert pool.options(queue_timeout=60).submit(pow, 2, 3).result(10) == 8
seen = pool.stats()
assert (seen.submitted, seen.completed, seen.workers) == (21, 21, 0)
print("inside", flush=True)
"""

# By version: the public module, and the private ones before it (whose interpreters share one lock: "legacy").
RUN = """
import sys
inside = {inside!r}
if sys.version_info >= (3, 14):
    from concurrent import interpreters
    def run():
        new = interpreters.create()
        new.exec(inside)
        new.close()
elif sys.version_info >= (3, 13):
    import _interpreters
    def run():
        new = _interpreters.create("legacy")
        failed = _interpreters.exec(new, inside)
        assert failed is None, failed
        _interpreters.destroy(new)
else:
    import _xxsubinterpreters
    def run():
        new = _xxsubinterpreters.create(isolated=False)
        failed = _xxsubinterpreters.run_string(new, inside)
        assert failed is None, failed
        _xxsubinterpreters.destroy(new)
{main}
print("fine", flush=True)
"""


def run(main, inside=INSIDE):
    code = RUN.format(inside=inside, main=main)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)


def told(stderr):
    """Return what was said, without what is the interpreter's own."""
    stderr = re.sub(".*libmpdec.*", "", stderr)  # 3.12's decimal, loaded a second time
    if (3, 13) <= sys.version_info < (3, 13, 3):  # the end of a thread that it did not start: CPython's issue 130522
        stderr = re.sub(
            r"Exception ignored in: <function _DeleteDummyThreadOnDel.*\n(.*\n){2}TypeError: .*", "", stderr
        )
    return stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.11 has one lock and one set of extension modules for all")
@pytest.mark.parametrize(
    "main",
    [
        "run(); run()",
        "import cgexec; cgexec.ThreadPoolExecutor(1).submit(int).result(10); run()",
        "import threading; t = threading.Thread(target=run); t.start(); t.join(); import cgexec; cgexec.ThreadPoolExecutor(1).submit(int).result(10)",
    ],
    ids=["one-after-the-other", "beside-a-pool-of-the-main-one", "in-a-thread"],
)
def test_pools_in_subinterpreters(main):
    done = run(main)
    said = [line for line in told(done.stderr).split("\n") if line]
    assert (said, done.returncode) == ([], 0)
    assert done.stdout.endswith("fine\n")
    assert done.stdout.count("inside\n") == main.count("run()") + ("target=run" in main)


FUSE = """
from cgexec._memory.fuse import why_no_fuse
print(f"inside: {why_no_fuse()}", flush=True)
"""


@pytest.mark.skipif(why_no_fuse() is not None, reason=f"no fuse: {why_no_fuse()}")
def test_the_fuse_is_the_main_interpreter_s():
    """The limit is the process's: two that move it would take each other's for the user's, and keep it for good."""
    done = run("from cgexec._memory.fuse import why_no_fuse; print(why_no_fuse()); run()", FUSE)
    assert done.returncode == 0, done.stderr
    outside, inside, _ = done.stdout.splitlines()
    assert outside == "None"
    assert inside == "inside: RLIMIT_DATA is the process's, and this is not its main interpreter"


def test_a_pool_with_a_fuse_is_refused_elsewhere(monkeypatch):
    monkeypatch.setattr(fuse, "is_linux", lambda: True)
    monkeypatch.setattr(fuse, "is_main_interpreter", lambda: False)
    with pytest.raises(ValueError, match="memory_fuse=True cannot work here: .* not its main interpreter"):
        cgexec.ThreadPoolExecutor(1, memory_fuse=True)
