"""``python -m cgexec profile`` with real functions in real processes."""

import io
import json
import os
import select
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import psutil
import pytest

from cgexec._cli import main
from cgexec._cli.profile import _progress as progress
from cgexec._profile import measure
from cgexec._profile.evaluate import Level
from support.profiled import MIB

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def profiled(capsys, target, *words):
    """Return what the command finds out, and what it has said beside."""
    assert main(["profile", f"support.profiled:{target}", "--json", *words]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_memory_of_a_call_is_found_alone_and_beside_others(capsys):
    said = profiled(capsys, "holding", "--args", "32", "--seconds", "0.5", "--most", "3")
    assert [level["workers"] for level in said["levels"]] == [1, 2, 3]
    assert 32 * MIB <= said["memory_per_task"]["most"] <= 40 * MIB
    assert said["levels"][-1]["memory"] >= 64 * MIB
    assert said["recommendation"]["terms"]["memory"] is not None


def test_pure_python_and_native_code_are_told_apart(capsys):
    pure = profiled(capsys, "pure", "--seconds", "2", "--most", "1")
    native = profiled(capsys, "hashing", "--seconds", "2", "--most", "1")
    assert pure["gil_share"] > native["gil_share"]
    assert (pure["releases_gil"], native["releases_gil"]) == (False, True)


def test_what_waits_scales(capsys):
    said = profiled(capsys, "waiting", "--kwargs", '{"seconds": 0.02}', "--seconds", "0.3", "--most", "4")
    first, *_, last = said["levels"]
    assert last["throughput"] > 2 * first["throughput"]
    assert said["cpu_share"] < 0.5
    assert said["workers"] == 4


def test_what_the_function_prints_is_not_in_the_answer(capsys):
    said = profiled(capsys, "talking", "--args", '{"ready": true}', "--seconds", "0.05", "--most", "1")
    assert said["levels"][0]["calls"] > 0


@pytest.mark.parametrize(
    ("target", "words", "said"),
    [
        ("support.profiled:failing", [], "support.profiled:failing raised KeyError: 'no'"),
        ("support.profiled:failing", ["--args", "[1]"], "raised KeyError: [1]"),
        ("support.profiled:asking", [], "support.profiled:asking raised EOFError: EOF when reading a line"),
        ("support.profiled:ending", [], "support.profiled:ending, called alone: ended with status 7"),
        ("support.profiled:pure", ["--args", "3"], "raised TypeError: pure() takes 0 positional arguments"),
        ("support.profiled:none", [], "'support.profiled:none': module 'support.profiled' has no attribute 'none'"),
        ("support.nothing:none", [], "'support.nothing:none': No module named 'support.nothing'"),
        ("support.profiled", [], "expected module:function, such as app.reports:monthly"),
        ("support.profiled:NOT_CALLABLE", [], "is no function"),
        ("support.profiled:coroutine", [], "is a coroutine function"),
        ("support.profiled:pure", ["--kwargs", "[]"], "--kwargs []: expected a JSON object"),
        ("support.profiled:pure", ["--most", "0"], "--most 0: expected from 1 to 1000"),
        (
            "support.profiled:waiting",
            ["--most", "1", "--plot", "/nowhere/x.svg"],
            "--plot /nowhere/x.svg: there is no folder /nowhere",
        ),
        (
            "support.profiled:waiting",
            ["--most", "1", "--plot", "x.nothing"],
            "--plot x.nothing: expected a file that ends in .svg",
        ),
    ],
)
def test_what_cannot_be_profiled_is_one_line(capsys, target, words, said):
    if "--plot" in words:
        pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "cgexec[plot]"')
    assert main(["profile", target, *words, "--seconds", "0.05"]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")


def test_a_call_that_does_not_end_is_given_up_with_what_to_pass(capsys, monkeypatch):
    monkeypatch.setattr(measure, "_PATIENCE_S", 0)
    words = ["--args", "60", "--seconds", "0.05", "--budget", "0.001"]
    assert main(["profile", "support.profiled:waiting", *words]) == 2
    assert capsys.readouterr().err == (
        "cgexec-py: error: support.profiled:waiting, called alone: not over after 0 s; "
        "if a call takes longer, pass a larger --budget\n"
    )


@pytest.mark.parametrize(
    ("words", "raised"),
    [
        (["RuntimeError", '["too many\\nconnections"]'], "raised RuntimeError: too many connections"),
        (["MemoryError"], "raised MemoryError"),
        (["ValueError", f'["{"no " * 1000}"]'], f"raised ValueError: {'no ' * 48}..."),
    ],
    ids=["connections", "memory", "long"],
)
def test_an_error_beside_others_ends_the_climb_and_not_the_command(capsys, words, raised):
    said = profiled(capsys, "failing_beside_another", "--args", *words, "--seconds", "0.05", "--most", "3")
    assert [level["workers"] for level in said["levels"]] == [1]
    assert (said["workers"], said["stopped"]) == (1, f"2 workers: {raised}")
    assert said["why"] == f"more failed (2 workers: {raised})"


def test_an_odd_byte_on_standard_error_loses_nothing(capsys):
    said = profiled(capsys, "dying_beside_another", "--seconds", "0.05", "--most", "3")
    assert [level["workers"] for level in said["levels"]] == [1]
    assert said["stopped"] == "2 workers: ended with status 3 (caf\N{REPLACEMENT CHARACTER})"


def test_a_child_that_ends_before_it_is_told_to_begin_is_an_error(capsys, monkeypatch):
    look = measure._held

    def ended(pid):
        held = look(pid)
        os.kill(pid, signal.SIGTERM)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return held

    monkeypatch.setattr(measure, "_held", ended)
    assert main(["profile", "support.profiled:waiting", "--seconds", "0.05"]) == 2
    assert capsys.readouterr().err == (
        "cgexec-py: error: support.profiled:waiting, called alone: ended with status -15\n"
    )


def interrupted(tmp_path, number, callers):
    """Interrupt the command once so many call; return its status, what it has said, and whether a child is left."""
    path = tmp_path / "here"
    os.mkfifo(path)
    here = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    command = [sys.executable, "-m", "cgexec", "profile", "support.profiled:beckoning", "--json", "--seconds", "0.05"]
    words = ["--args", str(path), str(callers)]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert select.select([here], [], [], 60)[0]
            (child,) = psutil.Process(process.pid).children()
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            os.close(here)
            process.kill()
    return process.returncode, out, err, child.is_running()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_it_says_so_and_leaves_no_child(tmp_path, number):
    assert interrupted(tmp_path, number, 0) == (130, "", "cgexec-py: interrupted\n", False)


def test_what_was_measured_before_an_interruption_is_told(tmp_path):
    status, out, err, left = interrupted(tmp_path, signal.SIGINT, 2)
    assert (status, err, left) == (130, "", False)
    said = json.loads(out)
    assert [level["workers"] for level in said["levels"]] == [1]
    assert (said["stopped"], said["why"]) == ("interrupted", "more were not tried (interrupted)")


def test_the_picture_has_the_limits_and_the_answer(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "cgexec[plot]"')
    path = tmp_path / "out.svg"
    words = ["--args", "32", "--seconds", "0.3", "--most", "2", "--plot", str(path)]
    said = profiled(capsys, "holding", *words)
    text = " ".join(element.text or "" for element in ET.parse(path).iter() if element.tag.endswith("text"))
    for part in (
        "support.profiled:holding",
        f"use {said['workers']}",
        "calls a second",
        "peak memory, MiB",
        "limit",
        "throttled",
    ):
        assert part in text, part
    assert "fill: none" in path.read_text() or "opacity: 0" in path.read_text()  # no ground of its own


def test_without_matplotlib_the_command_is_named_before_anything_is_measured(tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; from cgexec._cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["profile", "support.profiled:waiting", "--seconds", "0.05", "--most", "1", "--plot", "x.svg"]
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert result.returncode == 2
    assert result.stderr == 'cgexec-py: error: profile --plot needs matplotlib: pip install "cgexec[plot]"\n'


def test_without_json_it_is_a_report(capsys):
    assert main(["profile", "support.profiled:waiting", "--seconds", "0.05", "--most", "1"]) == 0
    captured = capsys.readouterr()
    assert "use 1 worker for support.profiled:waiting" in " ".join(captured.out.split())
    assert captured.err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("with_rich", [True, False], ids=["rich", "plain"])
def test_a_terminal_is_told_how_far_it_is(monkeypatch, with_rich):
    if with_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress([1, 2]) as told:
        told(1, [])
        told(2, [Level(1, 10, 12.5, 0.1, 0.05, 0.0, None, 1, 1)])
    if not with_rich:
        assert sys.stderr.getvalue() == "1 worker\n2 workers, best so far 12.5 calls/s\n"
    else:
        assert "2 workers, best so far 12.5 calls/s" in sys.stderr.getvalue()
