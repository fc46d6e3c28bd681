"""``python -m cgexec demo`` with real children, under the simulated limit or, as root, in real cgroups."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from cgexec._cli import main
from cgexec._demo import arena as arenas
from cgexec._demo import plot, show
from cgexec._demo.child import Job
from cgexec._demo.contest import _how as how_it_ended
from cgexec._demo.contest import contest
from cgexec._demo.work import Plan, specs
from cgexec._kernel.host import is_linux

pytestmark = pytest.mark.skipif(not is_linux(), reason="only Linux limits a process's memory")
MIB = 1 << 20
ROOM = 1 << 40
PLAN = Plan(96 * MIB, 1)
SHORT = ("demo", "--simulate", "--seconds=1", "--memory=96Mi")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(scope="module")
def simulated():
    arena = arenas.open_arena(simulate=True, room=ROOM, memory=PLAN.memory)
    return arena, contest(PLAN, arena, together=False, show=lambda runs: None)


def run(*words, out=None):
    out, err = out or io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(list(words))
        except SystemExit as exit_:
            status = exit_.code
    return status, out.getvalue(), err.getvalue()


def test_under_the_simulated_limit_the_stock_pool_runs_out_of_memory_and_ours_does_not():
    status, out, err = run(*SHORT, "--json")
    seen = json.loads(out)
    stock, ours = seen["pools"]["stock"], seen["pools"]["cgexec"]
    assert stock["how"] == "memory error", json.dumps(stock)
    assert ours["how"] == "completed", json.dumps(ours)
    assert stock["done"] < seen["tasks"] == ours["done"]
    assert ours["peak"] < seen["memory_bytes"]
    assert (status, seen["survived"], seen["limit"]["real"]) == (0, True, False)
    assert "SIMULATED" in err


@pytest.mark.parametrize("with_rich", [True, False], ids=["rich", "plain"])
def test_a_terminal_of_80_columns_gets_a_bar_each_and_no_colour_is_honoured(with_rich, monkeypatch):
    if with_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich", None)
        monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    status, text, _ = run(*SHORT, out=Terminal())
    assert status == 0
    assert "\033[" in text  # lines are written over
    assert not re.search(r"\033\[[0-9;]*m", text.replace("\033[0m", "")), "colour"
    lines = re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    for name, end in (("stock", "OUT OF MEMORY"), ("cgexec", "all results there")):
        assert any(line.startswith(name) and end in line and f"/{PLAN.tasks}" in line for line in lines), name
    assert "This was the simulated limit" in text


def test_without_a_terminal_there_is_a_line_for_each_quarter_and_no_escape(simulated):
    arena, runs = simulated
    out = io.StringIO()
    with show.progress(PLAN, out, bars=False) as follow:
        follow(runs)
        follow(runs)
    assert out.getvalue().count("\n") == 2
    assert "\033" not in out.getvalue()
    assert "OUT OF MEMORY" in out.getvalue()
    assert "SIMULATED" in show.headline(PLAN, arena)


def test_the_result_says_what_became_of_each(simulated):
    text = show.result(PLAN, *simulated)
    assert f"cgexec's returned all {PLAN.tasks} results" in text
    assert "In a container that is the kill" in text
    assert "This was the simulated limit" in text


def test_the_headline_says_whether_the_limit_is_real():
    assert "SIMULATED" in show.headline(PLAN, arenas.RlimitArena("--simulate"))
    text = show.headline(PLAN, SimpleNamespace(real=True, why="/sys/fs/cgroup/memory/x"))
    assert text.endswith("limit: real, a cgroup each; above it the kernel kills\n  /sys/fs/cgroup/memory/x")
    assert "SIMULATED" not in text


def test_the_tasks_grow_from_what_fits_side_by_side_to_what_does_not():
    batch = specs(Plan(256 * MIB, 20))
    assert sum(spec.size for spec in batch[:32]) < 256 * MIB < sum(spec.size for spec in batch[-32:])
    assert [spec.size for spec in batch] == sorted(spec.size for spec in batch)


@pytest.mark.parametrize("suffix", plot.SUFFIXES)
def test_the_picture_shows_the_limit_and_both_runs(simulated, suffix, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"out{suffix}"
    plot.check(str(file))
    plot.draw(str(file), PLAN, *simulated)
    if suffix == ".png":
        assert file.read_bytes().startswith(b"\x89PNG")
        return
    text = file.read_text()
    for part in ("limit, simulated with RLIMIT_DATA: 96 MiB", "stock: memory error", f"cgexec: {PLAN.tasks} of"):
        assert part in text


def test_a_picture_that_cannot_be_written_is_an_error(simulated, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(ValueError, match="cannot be written"):
        plot.draw(str(tmp_path / "folder.svg"), PLAN, *simulated)


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = run(*SHORT, "--plot=x.svg")
    assert (status, out) == (2, "")
    assert 'pip install "cgexec[plot]"' in err


class NoSeat(arenas.RlimitSeat):
    join = "/nonexistent/cgroup.procs"


class NoArena(arenas.RlimitArena):
    def seat(self, name, memory):
        return NoSeat()


def test_a_run_of_ours_that_fails_is_said_and_is_no_survival():
    arena = NoArena("a test")
    runs = contest(PLAN, arena, together=True, show=lambda runs: None)
    text = show.result(PLAN, arena, runs)
    assert not show.survived(runs)
    assert "did NOT come through (failed)" in text
    assert "cgexec said:" in text
    assert "FileNotFoundError" in text


@pytest.mark.parametrize("error", ["MemoryError", "RuntimeError", "SystemError"])
def test_memory_refused_to_the_pool_itself_is_a_memory_error_too(error):
    refuse = (
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor\nfrom cgexec._demo import child\n"
        f"def submit(*args): raise {error}('no thread')\n"
        "ThreadPoolExecutor.submit = submit\nchild.main(sys.argv[1])"
    )
    job = json.dumps(Job("stock", PLAN.memory, PLAN.seconds, None)._asdict())
    ran = subprocess.run([sys.executable, "-c", refuse, job], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert json.loads(ran.stdout.splitlines()[-1])["starved"] is True


class Seat(NoSeat):
    def __init__(self, join):
        self.join = join


@pytest.mark.parametrize(
    ("status", "join", "how"),
    [
        (-signal.SIGSEGV, None, "memory error"),
        (-signal.SIGSEGV, "cgroup.procs", "failed"),
        (-signal.SIGKILL, None, "failed"),
        (1, None, "failed"),
    ],
)
def test_an_interpreter_that_crashes_where_memory_is_refused_ran_out_of_memory(status, join, how):
    assert how_it_ended(status, {"done": 1, "running": 1}, Seat(join)) == how


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interrupt_ends_the_children_and_says_so(number):
    command = [sys.executable, "-m", "cgexec", "demo", "--simulate", "--seconds=100", "--memory=96Mi"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            children = []
            until = time.monotonic() + 30
            while not children and time.monotonic() < until:
                children = psutil.Process(process.pid).children(recursive=True)
                time.sleep(0.01)
            assert children
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "cgexec-py: interrupted; both runs were ended\n")
    assert not any(child.is_running() for child in children)


WRONG = {
    "no size": (("--memory=lots",), "--memory: expected a quantity"),
    "no suffix": (("--memory=192",), "for mebibytes"),
    "too small": (("--memory=64Mi",), "is 64 MiB; expected at least 96 MiB\n"),
    "more than there is": (("--memory=4096Ti",), "pass a smaller --memory"),
    "no number": (("--seconds=long",), "expected from 1 to 600 seconds, got 'long'"),
    "nan": (("--seconds=nan",), "expected from 1 to 600 seconds"),
    "no time": (("--seconds=0",), "expected from 1 to 600 seconds"),
    "format": (("--plot=x.pdf",), "ends in .svg or .png"),
    "folder": (("--plot=/nonexistent/x.svg",), "there is no folder /nonexistent"),
    "root": (("--root=/",), "unrecognized arguments"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_call_is_status_2_and_says_how(words, message):
    status, out, err = run("demo", *words)
    assert (status, out) == (2, "")
    assert message in err


def test_elsewhere_than_on_linux_a_container_is_pointed_to(monkeypatch):
    monkeypatch.setattr(arenas, "is_linux", lambda: False)  # the tests that run elsewhere would skip
    with pytest.raises(ValueError, match="docker run"):
        arenas.open_arena(simulate=False, room=ROOM, memory=PLAN.memory)


@pytest.fixture
def real_arena():
    arena = arenas.open_arena(simulate=False, room=ROOM, memory=PLAN.memory, prefix="cgxlab-demo")
    try:
        if not arena.real:
            pytest.skip(f"no real limit: {arena.why}")
        yield arena
    finally:
        arena.close()


def test_in_real_cgroups_the_kernel_kills_the_stock_pool_and_not_ours(real_arena):
    stock, ours = contest(PLAN, real_arena, together=True, show=lambda runs: None)
    assert stock.outcome.how == "killed", stock.outcome
    assert ours.outcome.how == "completed", ours.outcome
    assert ours.outcome.done == PLAN.tasks
    assert ours.seat.kills() == 0
    assert ours.outcome.peak <= PLAN.memory
    made = [Path(run.seat.join).parent for run in (stock, ours)]
    assert all(folder.is_dir() and folder.name.startswith(f"cgxlab-demo-{os.getpid()}-") for folder in made)
    real_arena.close()
    assert not any(folder.exists() for folder in made)


def test_an_interrupt_in_the_middle_leaves_no_cgroup_and_no_child(real_arena):
    seen = []

    def interrupt(runs):
        if all(run.used > 10 * MIB for run in runs):
            seen.extend(runs)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        contest(Plan(PLAN.memory, 100), real_arena, together=True, show=interrupt)
    assert [run.outcome.how for run in seen] == ["interrupted"] * 2
    real_arena.close()
    assert not any(Path(run.seat.join).parent.exists() for run in seen)


def test_a_cgroup_that_is_there_already_is_not_taken(real_arena):
    real_arena.seat("stock", PLAN.memory)
    with pytest.raises(FileExistsError):
        real_arena.seat("stock", PLAN.memory)
