"""
CPython's own tests of the standard thread pool, and of asyncio, which runs on it, pass with our pool in its place.

They run as this Python ships them, in a throw-away virtual environment, so that the interpreters which they start have
our pool too.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

import cgexec

IN_PLACE = Path(__file__).with_name("cgexec_in_place.py")
SOURCE = Path(cgexec.__file__).parents[1]
SHOWN = 6000  # characters of a failed run's end: the summary, and tracebacks before it
# CPython's runner ends a file that hangs, and shows where; ours ends the runner if that has not worked.
FILE_SECONDS, RUN_SECONDS = 120, 570
LONG = os.environ.get("CGEXEC_LONG") == "1"


class Suite(NamedTuple):
    """A package below ``test``, the modules of it that are run (none: all), and how many tests that must be."""

    package: str
    modules: tuple[str, ...]
    least: int
    options: tuple[str, ...] = ()


POOL = Suite(
    "test_concurrent_futures",
    ("test_thread_pool", "test_shutdown", "test_init", "test_wait", "test_as_completed"),
    40,  # 3.13: 44, 3.14: 55
    # The process and interpreter pools are not ours. Our default size is meant to differ where a container has a limit.
    ("--match", "*Thread*", "--ignore", "test_default_workers"),
)
ASYNCIO = Suite(
    "test_asyncio",
    ("test_base_events", "test_events", "test_futures", "test_locks", "test_runners", "test_tasks", "test_threads",
     "test_unix_events"),
    1000,
)  # fmt: skip
ALL_OF_ASYNCIO = Suite("test_asyncio", (), 2000)
SUITES = [
    pytest.param(POOL, id="thread pool"),
    pytest.param(ALL_OF_ASYNCIO if LONG else ASYNCIO, id="asyncio"),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment in which the standard thread pool is ours."""
    home = tmp_path_factory.mktemp("cpython") / "venv"
    venv.EnvBuilder(symlinks=os.name != "nt").create(home)
    paths = sysconfig.get_paths("venv", vars={"base": str(home), "platbase": str(home)})
    packages = Path(paths["purelib"])
    shutil.copy(IN_PLACE, packages)
    (packages / "cgexec_in_place.pth").write_text(f"{SOURCE}\nimport {IN_PLACE.stem}\n")
    return Path(paths["scripts"]) / "python"


def find(name):
    """The spec of a module of the package ``test``; None where this Python was installed without it."""
    try:
        return importlib.util.find_spec(f"test.{name}")
    except ModuleNotFoundError:  # not even the package
        return None


def names(suite):
    """What CPython's runner is to run; skips where this Python does not ship it."""
    if find("support") is None:
        pytest.skip("this Python is installed without test.support, so none of CPython's tests can run")
    spec = find(suite.package)
    if spec is None:
        pytest.skip(f"this Python is installed without test.{suite.package}")
    if spec.submodule_search_locations is None:  # one file, not a package: some releases of 3.11
        return [suite.package]
    # A module that another version has not, or has under another name, is missed by the number of tests.
    there = [name for name in suite.modules if find(f"{suite.package}.{name}") is not None]
    return [f"{suite.package}.{name}" for name in there] or [suite.package]


def run(command, folder):
    """Run the command in an empty folder; return its exit status and what it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CGEXEC_"))}
    printed = folder / "printed"
    with printed.open("wb") as out:  # no pipe: a process that outlives the command would hold it open
        status = None
        try:
            status = subprocess.run(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=RUN_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            out.write(b"\nended after %d s\n" % RUN_SECONDS)
    return status, printed.read_text(errors="replace")


def count(text):
    """How many tests were run and not skipped, by the line "Total tests: run=2,854 failures=1 skipped=22"."""
    line = re.search(r"^Total tests: .*", text, re.MULTILINE)
    numbers = dict(re.findall(r"(\w+)=([\d,]+)", line.group())) if line is not None else {}
    run, skipped = (int(numbers.get(name, "0").replace(",", "")) for name in ("run", "skipped"))
    return run - skipped


def test_the_standard_thread_pool_is_ours_in_every_interpreter(python, tmp_path):
    ask = (
        "import concurrent.futures as f; print(f.ThreadPoolExecutor.__module__, f.thread.ThreadPoolExecutor.__module__)"
    )
    child = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-I', '-c', {ask!r}]))"
    assert run([python, "-c", child], tmp_path) == (0, "cgexec cgexec\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", SUITES)
def test_cpythons_own_tests_pass(suite, python, tmp_path):
    options = ["-u", "cpu,walltime", "--timeout", str(FILE_SECONDS), *suite.options]
    status, text = run([python, "-m", "test", *names(suite), *options], tmp_path)
    end = text[-SHOWN:]
    assert status == 0, end
    assert re.search(r"^(Result: SUCCESS|== Tests result: SUCCESS ==)$", text, re.MULTILINE), end
    assert count(text) >= suite.least, end
