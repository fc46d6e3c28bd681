"""``python -m cgexec watch`` as it is called: on a terminal, in a pipe, for a script."""

import argparse
import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios

import pytest

import cgexec
from cgexec._cli import main, watch
from cgexec._watch.draw import as_rich, as_text
from cgexec._watch.frame import Frame
from support.pools import SOON, holding


@pytest.fixture
def service(tmp_path):
    """A service with a busy pool, and its socket."""
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool, holding(pool, 2) as hold:
        hold.queue(3)
        with cgexec.serve_stats(tmp_path / "stats.sock") as server:
            yield server.path


def test_once_shows_the_pools_of_a_service(service, capsys):
    assert main(["watch", service, "--once"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith(f"cgexec  stats.sock, process {os.getpid()}  ")
    (row,) = (line for line in lines if line.startswith("jobs"))
    assert row.split()[1:5] == ["2", "of", "2", "3"]
    assert "Hold.task" in row


def test_without_a_socket_it_shows_this_container(capsys, monkeypatch):
    assert main(["watch", "--once"]) == 0
    text = capsys.readouterr().out
    assert "memory" in text
    assert f"CPUs {cgexec.limits().cpus:.4g}" in text


def test_json_for_scripts(service, capsys):
    assert main(["watch", service, "--once", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "jobs" in [pool["name"] for pool in said["pools"]]


def test_the_variable_names_the_socket(service, capsys, monkeypatch):
    monkeypatch.setenv("CGEXEC_STATS_SOCKET", service)
    assert main(["watch", "--once"]) == 0
    assert "jobs" in capsys.readouterr().out


def test_a_folder_shows_all_processes(service, capsys):
    assert main(["watch", os.path.dirname(service), "--once"]) == 0
    assert "jobs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x" * 5000], "too long"),
        (["/nowhere.sock"], "/nowhere.sock: No such file or directory; is the service running"),
    ],
)
def test_a_wrong_call_is_one_line(words, said, capsys):
    assert main(["watch", *words, "--once"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def looking(place):
    """What the command is told where it goes on looking, without a pause between two looks."""
    return argparse.Namespace(socket=str(place), once=False, interval=0)


def test_a_service_that_restarts_is_waited_for_with_its_last_numbers_in_view(tmp_path):
    place = tmp_path / "stats.sock"
    with cgexec.ThreadPoolExecutor(2, name="jobs"):
        with cgexec.serve_stats(place):
            frames = watch._frames(looking(place))
            before = next(frames)
        away, still_away = next(frames), next(frames)
        with cgexec.serve_stats(place):
            after = next(frames)
    assert as_text(away).split("\n")[1].startswith("not answering since ")
    assert still_away == away == before._replace(notice=away.notice)
    assert (after.notice, before.notice) == ("", "")
    assert "jobs" in [row.name for row in after.pools]


def test_the_last_numbers_on_a_terminal_are_marked_as_such():
    console = pytest.importorskip("rich.console", reason='needs rich: pip install "cgexec[rich]"')
    file = io.StringIO()
    console.Console(file=file).print(as_rich(Frame("title", (), (), (), "not answering since 12:00:00")))
    assert file.getvalue().startswith("title\nnot answering since 12:00:00\n")


def test_a_look_without_an_answer_is_no_line_of_json(monkeypatch, capsys):
    monkeypatch.setattr(watch, "_looks", lambda _: [[{"pid": 1}], [], [{"pid": 2}]])
    watch._print_json(looking("stats.sock"))
    assert capsys.readouterr().out == '{"pid": 1}\n{"pid": 2}\n'


def test_a_service_that_was_never_there_is_an_error_at_once(tmp_path):
    with pytest.raises(ValueError, match="is the service running"):
        next(watch._frames(looking(tmp_path / "stats.sock")))


COMMAND = [sys.executable, "-W", "error", "-m", "cgexec", "watch"]


def test_in_a_pipe_it_is_plain_and_goes_on_until_interrupted(service):
    with subprocess.Popen(
        [*COMMAND, service, "--interval", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        rows = 0
        while rows < 2:
            line = process.stdout.readline()
            assert "\x1b" not in line
            rows += line.startswith("jobs")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=SOON)
    assert (process.returncode, error) == (0, "")


def on_a_terminal(words, environ, enough):
    """Run the command on a terminal of 80 columns until *enough* is shown, then interrupt it; return all it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *words, "--interval", "0.1"], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", **environ},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while shown.count(enough) < 2:
            shown += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # it has ended
                break
        _, error = process.communicate(timeout=SOON)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=SOON)
        os.close(ours)
    return process.returncode, shown.decode(), error.decode()


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}], ids=["colour", "no-colour"])
def test_on_a_terminal_it_draws_and_puts_the_screen_back(service, environ):
    pytest.importorskip("rich", reason='needs rich: pip install "cgexec[rich]"')
    status, shown, error = on_a_terminal([service], environ, b"jobs")
    assert (status, error) == (0, "")
    assert shown.startswith("\x1b[?1049h")  # the alternate screen, and back
    assert "\x1b[?1049l" in shown
    assert ("\x1b[32m" in shown or "\x1b[33m" in shown or "\x1b[31m" in shown) == (environ == {})


def test_on_a_terminal_without_rich_it_is_plain_and_names_the_command(service, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None"
    )
    status, shown, error = on_a_terminal([service], {"PYTHONPATH": str(tmp_path)}, b"jobs")
    assert status == 0
    assert error == 'watch needs rich: pip install "cgexec[rich]" (going on without)\n'
    assert "\x1b" not in shown
