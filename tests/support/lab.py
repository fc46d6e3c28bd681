"""
Real kernels for the tests marked ``lab``: run a script under a limit that a kernel enforces, and get its answer.

The environment variable ``CGEXEC_LAB`` names a folder with the programs ``v1``, ``v2``, ``oci``, ``docker``, ``python`` and
``cgrun``, each of which runs the command behind its options and exits with its status, or with 125 when it could not make
the surroundings. Without the variable, and on 125, the test is skipped with the reason. Anything else that goes wrong is
a failure: a probe that dies under a limit is what these tests look for.

A script is Python source that runs behind `_PRELUDE` and calls ``answer(name=value, ...)`` once. The constants at the end
of this file are scripts that should answer alike on every kernel.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

import cgexec

__all__ = [
    "IMPORT_FROM",
    "MIB",
    "PROJECT",
    "Outcome",
    "cold_file",
    "in_turn",
    "interpreter_folders",
    "program",
    "run_alone",
    "run_each",
    "run_in",
]

MIB = 1 << 20
PROJECT = Path(__file__).resolve().parents[2]
# Where this interpreter has the package from: the working tree, or where it was installed.
IMPORT_FROM = Path(cgexec.__file__).resolve().parents[1]

_COULD_NOT = 125
_TIMED_OUT = 124
# Until then a program that was asked to end has removed its cgroup or halted its machine.
_CLEANUP_S = 20
# What would change the answers, or the interpreter that gives them.
_NOT_PASSED = ("CGEXEC_", "PYTHON", "WEB_CONCURRENCY", "AWS_", "KUBERNETES_")

_PRELUDE = """\
import dataclasses, json, os, sys
from pathlib import Path
from cgexec import limits, recommend, usage

def answer(**facts):
    print(json.dumps(facts, default=dataclasses.asdict))

def skip(reason):
    answer(skip=reason)
    sys.exit()

def ours(path):
    # A mistaken path must not change the limits of the machine that runs the tests.
    if "/cgxlab" not in path:
        sys.exit(f"{path} is in none of the laboratory's cgroups")
    return Path(path)

"""

# Runs inside a virtual machine, whose start costs more than everything else: many commands, one boot.
_EACH = """\
import json, subprocess, sys
outcomes = {}
for name, command in json.loads(sys.argv[1]).items():
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        outcomes[name] = [done.returncode, done.stdout, done.stderr]
    except subprocess.TimeoutExpired as error:
        outcomes[name] = [124, "", f"{error}; it had said: {error.stderr}"]
print(json.dumps(outcomes))
"""


class Outcome(NamedTuple):
    """How a script ended. *what* names it in messages."""

    what: str
    status: int
    stdout: str
    stderr: str

    def answer(self) -> SimpleNamespace:
        """Return what the script answered, as attributes (of attributes); skip the test if the laboratory or script says so."""
        if self.status == _COULD_NOT:
            pytest.skip(f"{self.what}: {_permission()}{self.stderr.strip() or 'exit status 125 without a reason'}")
        if self.status != 0:
            pytest.fail(f"{self.what}: exit status {self.status}\n{self.stderr}")
        try:
            found = json.loads(self.stdout, object_hook=lambda table: SimpleNamespace(**table))
        except ValueError:
            pytest.fail(f"{self.what}: expected one line of JSON, got {self.stdout!r}\n{self.stderr}")
        if hasattr(found, "skip"):
            pytest.skip(f"{self.what}: {found.skip}")
        return found


def _permission() -> str:
    return "" if os.geteuid() == 0 else f"no permission: the laboratory needs root, this is user {os.geteuid()}; "


def program(name: str) -> str:
    """Return the path of a program of the laboratory; skip the test if there is none."""
    folder = os.environ.get("CGEXEC_LAB")
    if not folder:
        pytest.skip("needs a real kernel limit: set CGEXEC_LAB to the folder of the laboratory's programs")
    path = Path(folder).resolve() / name
    if not path.is_file():
        pytest.skip(f"CGEXEC_LAB={folder}: there is no program {name!r}")
    return str(path)


def _command(lab_args: Sequence[str], script: str, arguments: Sequence[object], python: str) -> list[str]:
    name, *options = lab_args
    return [program(name), *options, python, "-c", _PRELUDE + textwrap.dedent(script), *map(str, arguments)]


def run_in(
    lab_args: Sequence[str], script: str, *arguments: object, python: str = sys.executable, timeout: float = 60
) -> SimpleNamespace:
    """
    Run *script* under ``lab_args``, such as ``["v1", "--memory", "64M", "--"]``, and return what it answered.

    Args:
        lab_args: a program of the laboratory and its options, up to where the command begins.
        script: Python source, see the module's docstring.
        arguments: the script's ``sys.argv[1:]``.
        python: the interpreter, by the name it has inside.
        timeout: in seconds; what has not ended by then is ended, and the test fails.
    """
    return _run(_command(lab_args, script, arguments, python), timeout).answer()


def run_alone(script: str, *, timeout: float = 60) -> SimpleNamespace:
    """Run *script* in a process of its own, without the laboratory, and return what it answered."""
    return _run([sys.executable, "-c", _PRELUDE + textwrap.dedent(script)], timeout).answer()


def run_each(
    lab_args: Sequence[str], scripts: Mapping[str, Sequence[Any]], *, timeout: float = 100
) -> dict[str, Outcome]:
    """
    Run several scripts in one machine made by *lab_args*, one after the other, and return how each ended.

    Args:
        lab_args: a program of the laboratory and its options, up to where the command begins.
        scripts: for each name the arguments of `run_in`: ``(lab_args, script, *arguments)``.
        timeout: for all of them and the machine, in seconds.
    """
    commands = {name: _command(args, script, rest, sys.executable) for name, (args, script, *rest) in scripts.items()}
    name, *options = lab_args
    all_of_them = _run([program(name), *options, sys.executable, "-c", _EACH, json.dumps(commands)], timeout)
    outcomes = vars(all_of_them.answer())
    return {name: Outcome(f"{Path(commands[name][0]).name} ({name})", *outcomes[name]) for name in scripts}


def in_turn(**scripts: Sequence[Any]) -> str:
    """
    Return a script that runs others in one process, and so in one cgroup; its answer has each one's under its name.

    Args:
        scripts: ``name=(script, *arguments)``.
    """
    sources = {name: [textwrap.dedent(script), *map(str, arguments)] for name, (script, *arguments) in scripts.items()}
    return f"""
        answers = {{}}

        def keep(name):
            return lambda **facts: answers.__setitem__(name, facts)

        for name, (source, *arguments) in json.loads({json.dumps(sources)!r}).items():
            sys.argv[1:] = arguments
            exec(source, {{**globals(), "answer": keep(name)}})
        answer(**answers)
    """


def _run(command: list[str], timeout: float) -> Outcome:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED)}
    environment["PYTHONPATH"] = str(IMPORT_FROM)
    what = " ".join([Path(command[0]).name, *command[1:]]).partition(" -c ")[0]
    try:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,  # lab/python asks whose project this is, lab/docker shows it inside
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except PermissionError as error:
        pytest.skip(f"no permission to run the laboratory: {error}")
    with process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return Outcome(what, _TIMED_OUT, "", f"no end after {timeout} s")
        except BaseException:  # an interrupt, or pytest-timeout's
            _end(process)
            raise
    return Outcome(what, process.returncode, stdout, stderr)


def _end(process: subprocess.Popen[str]) -> None:
    """End a program of the laboratory: it is asked first, since killed it would leave its cgroup behind."""
    process.terminate()
    try:
        process.communicate(timeout=_CLEANUP_S)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def cold_file(folder: Path, size: int) -> Iterator[Path]:
    """Make a file of *size* bytes that is on the disk and not in the page cache; remove it in the end."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
    if kind in ("tmpfs", "ramfs"):
        pytest.skip(f"{folder} is in memory ({kind}), so its files are no page cache: pass --basetemp on a disk")
    path = folder / "cold"
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(0, size, MIB):
                file.write(bytes(MIB))
            os.fsync(file.fileno())
            # Whoever reads a page first is charged for it, so it must not be here any more.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        yield path
    finally:
        path.unlink(missing_ok=True)


def interpreter_folders() -> list[str]:
    """Return the folders a container must show for this interpreter to start and import the package there."""
    folders = [sys.prefix, sys.base_prefix, str(IMPORT_FROM)]
    executable = shutil.which(sys.executable)
    if executable is not None:
        folders.append(str(Path(executable).resolve().parents[1]))
    shown_anyway = {"/usr", str(Path.home()), str(PROJECT)}  # by lab/docker, which refuses a mount point named twice
    return [folder for folder in dict.fromkeys(folders) if folder not in shown_anyway]


# The scripts below are given sizes in bytes.

LOOK = "answer(limits=limits(), usage=usage())"

READ_FILE = """
    before = usage()
    with open(sys.argv[1], "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    answer(before=before, after=usage())
"""

SHARED = """
    before = usage()
    with open(f"/dev/shm/cgxlab-{os.getpid()}", "xb", buffering=0) as file:
        os.unlink(file.name)  # gone with the process, however that ends
        for _ in range(0, int(sys.argv[1]), 1 << 20):
            file.write(bytes(1 << 20))
        answer(before=before, after=usage())
"""

ANONYMOUS = """
    before = usage()
    block = bytearray(b"x") * int(sys.argv[1])
    answer(before=before, after=usage())
"""

THREADS = """
    import threading

    count = int(sys.argv[1])
    started, release = threading.Barrier(count + 1), threading.Event()

    def worker():
        started.wait(30)
        release.wait(30)

    before = usage()
    threads = [threading.Thread(target=worker) for _ in range(count)]
    for thread in threads:
        thread.start()
    started.wait(30)
    after = usage()
    release.set()
    for thread in threads:
        thread.join(30)
    answer(before=before, after=after)
"""

# Bounded by CPU time, of which a throttled process gets little: how busy the machine is decides nothing.
THROTTLED = """
    import time

    def count(seen):
        return seen.nr_throttled, seen.throttled_seconds

    before = after = usage()
    end = time.process_time() + 3
    while time.process_time() < end and not all(new > old for new, old in zip(count(after), count(before))):
        for _ in range(20_000):
            pass
        after = usage()
    answer(before=before, after=after)
"""

# The child asks to be the one that is killed.
OOM_KILL = """
    import subprocess

    greedy = (
        "open('/proc/self/oom_score_adj', 'w').write('1000')\\n"
        "blocks = [bytearray(b'x') * (1 << 20) for _ in range(256)]"
    )
    before = usage()
    child = subprocess.run([sys.executable, "-c", greedy], timeout=50)
    answer(before=before, after=usage(), status=child.returncode)
"""

# Under --view host: the files that were named as sources are written.
CHANGED_IN_PLACE = """
    before, used_before = limits(), usage()
    for name, text in zip(("memory_limit", "cpu_quota", "pids_limit"), sys.argv[1:]):
        ours(before.sources[name]).write_text(text)
    answer(before=before, used_before=used_before, after=limits(), used_after=usage())
"""

# Under --view host and with a parent: a sibling of our own cgroup, with another limit, takes this process in.
MOVED = """
    before, used_before = limits(), usage()
    file = ours(before.sources["memory_limit"])
    other = file.parent.parent / "other"
    other.mkdir()
    (other / file.name).write_text(sys.argv[1])
    (other / "cgroup.procs").write_text("0")
    answer(before=before, used_before=used_before, after=limits(), used_after=usage())
"""

# Under --view host and with a parent: somebody else in the parent uses memory.
SIBLING = """
    import subprocess

    greedy = (
        "import sys\\n"
        "from pathlib import Path\\n"
        "Path(sys.argv[1], 'cgroup.procs').write_text('0')\\n"
        "block = bytearray(b'x') * int(sys.argv[2])\\n"
        "print('ready', flush=True)\\n"
        "sys.stdin.read()"
    )
    file = ours(limits().sources["memory_limit"])
    other = file.parent.parent / "other"
    other.mkdir()
    before = usage()
    command = [sys.executable, "-c", greedy, other, sys.argv[1]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\\n"
        after = usage()
        child.stdin.close()
        child.wait(30)
    answer(before=before, after=after, parent=str(file.parent.parent))
"""

# v1 kernels with RT_GROUP_SCHED let nobody into a real-time policy whose cgroup has no real-time budget.
REAL_TIME = """
    before = limits()
    budget = Path(before.sources["cpu_quota"]).parent / "cpu.rt_runtime_us"
    try:
        if budget.exists():
            ours(str(budget)).write_text("10000")
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        skip(f"no permission for real-time scheduling here ({error})")
    during = limits()
    # The threads of a pool that is made here would be ordinary ones.
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    reset = limits()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    answer(before=before, during=during, reset=reset, after=limits())
"""
