"""The socket of a service: who may open it, what it tells, and what a client cannot do to it."""

import contextlib
import errno
import json
import math
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

import cgexec
from cgexec._pool import served
from cgexec._watch.source import MOST_BYTES, fetch, sockets
from support.pools import SOON, holding

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "stats.sock"


def test_it_tells_what_the_pools_do(place):
    with (
        cgexec.ThreadPoolExecutor(2, name="jobs", queue_size=math.inf) as pool,
        holding(pool, 2) as hold,
        cgexec.serve_stats(place),
    ):
        hold.queue(3)
        said = fetch(place)
        (jobs,) = (one for one in said["pools"] if one["name"] == "jobs")
        assert (jobs["running"], jobs["waiting"], jobs["queue_size"]) == (2, 3, None)
        assert jobs["longest_running_function"] == "support.pools.Hold.task"
        assert (said["pid"], said["limits"]["cpus"]) == (os.getpid(), cgexec.limits().cpus)
        assert said["usage"]["memory_bytes"] > 0
    assert not place.exists()


def test_a_pool_that_is_gone_is_told_of_no_longer(place):
    with cgexec.serve_stats(place):
        with cgexec.ThreadPoolExecutor(1, name="gone") as pool:
            pool.submit(int).result(SOON)
            assert "gone" in [one["name"] for one in fetch(place)["pools"]]
        assert "gone" not in [one["name"] for one in fetch(place)["pools"]]


def test_pools_of_one_name_are_told_apart_by_a_number_in_the_order_they_were_made(place):
    with (
        cgexec.ThreadPoolExecutor(2, name="twin"),
        cgexec.ThreadPoolExecutor(3, name="twin"),
        cgexec.serve_stats(place),
    ):
        twins = [one for one in fetch(place)["pools"] if one["name"] == "twin"]
    assert [one["limit"] for one in twins] == [2, 3]
    assert twins[0]["number"] < twins[1]["number"]


def test_only_its_user_may_open_it(place):
    before = os.umask(0)
    try:
        with cgexec.serve_stats(place):
            mode = place.stat().st_mode
    finally:
        os.umask(before)
    assert stat.S_ISSOCK(mode)
    assert mode & 0o777 == 0o600


def test_nothing_that_a_client_sends_matters(place):
    with cgexec.serve_stats(place):
        for garbage in (b"", b"\xff" * 1000, b'{"stop": true}\n', b"GET / HTTP/1.1\r\n\r\n"):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(SOON)
                client.connect(str(place))
                with contextlib.suppress(ConnectionError):  # it may have answered, and closed, before it was asked
                    client.sendall(garbage)
                    assert client.recv(1) == b"{"
        assert fetch(place)["pid"] == os.getpid()


def test_a_client_that_does_not_read_keeps_nobody_waiting_for_long(place, monkeypatch):
    monkeypatch.setattr(served, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(served, "snapshot", lambda: {"pools": [], "filler": "x" * MOST_BYTES})
    with cgexec.serve_stats(place), socket.socket(socket.AF_UNIX) as lazy:
        lazy.connect(str(place))
        with pytest.raises(ValueError, match="says more than 4 MiB"):
            fetch(place)


def test_numbers_that_cannot_be_had_lose_one_client_and_not_the_server(place, monkeypatch, caplog):
    answers = [MemoryError(), ZeroDivisionError(), {"pools": []}]

    def tell():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(served, "snapshot", tell)
    with cgexec.serve_stats(place):
        for _ in range(2):
            with pytest.raises(ValueError, match="closed without a word; the service's log says why"):
                fetch(place)
        assert fetch(place) == {"pools": []}
    (told,) = [record for record in caplog.records if "[stats-socket-failed]" in record.getMessage()]
    assert told.exc_info[0] is MemoryError


class Tired(socket.socket):
    """Accepts nobody at first."""

    errors = ()

    def accept(self):
        if self.errors:
            raise OSError(self.errors.pop(0), "not now")
        return super().accept()


def test_a_client_that_cannot_come_in_does_not_end_the_server(place, monkeypatch):
    monkeypatch.setattr(served, "_PAUSE_S", 0.01)
    monkeypatch.setattr(Tired, "errors", [errno.EMFILE, errno.ECONNABORTED])
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Tired)
        server = cgexec.serve_stats(place)
    with server:
        assert fetch(place)["pid"] == os.getpid()
    assert Tired.errors == []


def test_a_server_that_accepts_nobody_can_be_closed_at_once(place, monkeypatch):
    monkeypatch.setattr(served, "_PAUSE_S", 2 * SOON)
    waits = threading.Event()

    class Never(Tired):
        def accept(self):
            waits.set()
            raise OSError(errno.EMFILE, "not now")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Never)
        server = cgexec.serve_stats(place)
    assert waits.wait(SOON)
    server.close()
    server._thread.join(SOON)
    assert not server._thread.is_alive()


def test_a_folder_has_a_socket_for_each_process(tmp_path):
    with cgexec.serve_stats(tmp_path) as server:
        assert server.path == str(tmp_path / f"cgexec-{os.getpid()}.sock")
        assert [str(path) for path in sockets(str(tmp_path))] == [server.path]
    with pytest.raises(ValueError, match="no socket in this folder; does the service call"):
        sockets(str(tmp_path))


@contextlib.contextmanager
def living(place):
    """Have another process's socket there."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        other.listen()
        yield


def test_a_name_that_another_container_has_is_passed_over(tmp_path):
    """Both have a process 1."""
    name = f"cgexec-{os.getpid()}"
    with living(tmp_path / f"{name}.sock"), cgexec.serve_stats(tmp_path) as server:
        assert server.path == str(tmp_path / f"{name}-2.sock")
        assert fetch(tmp_path / f"{name}-2.sock")["pid"] == os.getpid()


def test_a_folder_without_a_free_name_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "_MOST_NAMES", 1)
    with (
        living(tmp_path / f"cgexec-{os.getpid()}.sock"),
        pytest.raises(FileExistsError, match="all of 1 names for process"),
    ):
        cgexec.serve_stats(tmp_path)


def test_the_sockets_of_processes_that_were_killed_are_removed_from_a_folder(tmp_path):
    dead, lives, other = (tmp_path / f"cgexec-{n}.sock" for n in (1, 3, 4))
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(dead))
    other.write_text("mine")
    with living(lives), cgexec.serve_stats(tmp_path) as server:
        assert {str(path) for path in tmp_path.iterdir()} == {str(lives), str(other), server.path}


def test_a_socket_has_no_name_in_a_folder_before_it_listens(tmp_path, monkeypatch):
    """One that does not listen looks as if its process had been killed, and the next to start would remove it."""
    seen = []

    class Slow(socket.socket):
        def listen(self, backlog):
            seen.extend(tmp_path.glob("cgexec-*"))
            super().listen(backlog)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Slow)
        server = cgexec.serve_stats(tmp_path)
    with server:
        assert seen == []
        assert fetch(server.path)["pid"] == os.getpid()


def test_a_file_system_without_links_has_a_name_for_it_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    with living(tmp_path / f"cgexec-{os.getpid()}.sock"), cgexec.serve_stats(tmp_path) as server:
        assert server.path.endswith(f"cgexec-{os.getpid()}-2.sock")
        assert fetch(server.path)["pid"] == os.getpid()
        assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_with_a_slash_is_made(tmp_path):
    with cgexec.serve_stats(f"{tmp_path}/new/folder/") as server:
        assert server.path == str(tmp_path / "new" / "folder" / f"cgexec-{os.getpid()}.sock")
        assert (tmp_path / "new" / "folder").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("ending", ["", "/own.sock"], ids=["folder", "socket"])
def test_who_asks_for_the_variables_place_gets_the_server_that_is_there(tmp_path, monkeypatch, ending):
    monkeypatch.setenv("CGEXEC_STATS_SOCKET", f"{tmp_path}{ending}")
    monkeypatch.setattr(served, "_asked", False)
    with cgexec.ThreadPoolExecutor(1), cgexec.serve_stats(f"{tmp_path}{ending}") as server:
        assert [str(path) for path in tmp_path.iterdir()] == [server.path]
        assert cgexec.serve_stats(f"{tmp_path}{ending}") is server


CHILDREN = """
import multiprocessing, os, sys, cgexec

def child():
    cgexec.serve_stats(sys.argv[1])
    assert os.listdir(sys.argv[1]) == [f"cgexec-{os.getpid()}.sock"]

process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
print(process.exitcode, os.listdir(sys.argv[1]))
"""


def test_a_child_of_multiprocessing_removes_its_socket(tmp_path):
    """It ends without atexit."""
    result = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "0 []\n"


def test_the_socket_of_a_dead_process_is_replaced_and_a_living_ones_is_not(place):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    cgexec.serve_stats(place).close()
    with living(place), pytest.raises(FileExistsError, match="served by another process already; .* name a folder"):
        cgexec.serve_stats(place)
    place.unlink()
    place.write_text("mine")
    with pytest.raises(FileExistsError, match="is there and is no socket"):
        cgexec.serve_stats(place)
    assert place.read_text() == "mine"


def test_a_path_that_is_too_long_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ValueError, match="a socket's path has at most 103 bytes, this one"):
        cgexec.serve_stats(tmp_path / ("x" * 120))


def test_closing_twice_is_harmless(place):
    server = cgexec.serve_stats(place)
    server.close()
    server.close()


SERVICE = """
import os, sys, warnings, cgexec
warnings.simplefilter("ignore")  # of forking with threads
pool = cgexec.ThreadPoolExecutor(1, name="jobs")
other = cgexec.ThreadPoolExecutor(1, name="more")
print(os.path.exists(sys.argv[1]), flush=True)
pid = os.fork() if sys.argv[2:] else None
if pid == 0:
    os._exit(0)
if pid:
    os.waitpid(pid, 0)
    print(os.path.exists(sys.argv[1]), flush=True)
"""


@pytest.mark.parametrize("fork", [(), ("fork",)], ids=["alone", "forked"])
def test_the_variable_opens_it_with_the_first_pool_and_the_end_removes_it(place, fork):
    result = subprocess.run(
        [sys.executable, "-c", SERVICE, str(place), *fork],
        capture_output=True, text=True, timeout=60, env={**os.environ, "CGEXEC_STATS_SOCKET": str(place)},
    )  # fmt: skip
    assert (result.stdout.split(), result.stderr) == (["True"] * (1 + len(fork)), "")
    assert not place.exists()


def test_the_end_removes_every_socket(tmp_path):
    places = [tmp_path / f"{number}.sock" for number in range(3)]
    code = """
import sys, cgexec
for place in sys.argv[1:]:
    cgexec.serve_stats(place)
"""
    result = subprocess.run([sys.executable, "-c", code, *places], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert not [place for place in places if place.exists()]


def test_one_that_cannot_be_closed_at_the_end_keeps_no_other_open(tmp_path, monkeypatch):
    first, second, third = (cgexec.serve_stats(tmp_path / f"{number}.sock") for number in range(3))
    with monkeypatch.context() as patched:
        patched.setattr(second, "close", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            served._at_exit()
    assert [os.path.exists(each.path) for each in (first, second, third)] == [False, True, False]
    second.close()


def test_a_variable_that_cannot_be_served_is_a_warning(place, monkeypatch, caplog):
    place.write_text("mine")
    monkeypatch.setenv("CGEXEC_STATS_SOCKET", str(place))
    monkeypatch.setattr(served, "_asked", False)
    with cgexec.ThreadPoolExecutor(1) as pool:
        assert pool.submit(int).result(SOON) == 0
    assert f"[stats-socket-off] CGEXEC_STATS_SOCKET={place} cannot be served: {place} is there" in caplog.text


def serve_once(place, answer):
    """Answer one client with these bytes."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(place))
    listening.listen()

    def run():
        with listening:
            client, _ = listening.accept()
            with client:
                client.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "answer", [b"", b"\n", b"[]\n", b"{}\n", b'{"pools": 3}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"{" * 9],
    ids=["nothing", "empty", "list", "object", "pools", "bytes", "deep", "cut"],
)  # fmt: skip
def test_another_program_behind_the_socket_is_an_error(place, answer):
    thread = serve_once(place, answer)
    with pytest.raises(ValueError, match="this is no socket of cgexec.serve_stats"):
        fetch(place)
    thread.join(SOON)


def test_nobody_behind_the_socket_is_an_error(place):
    with pytest.raises(ValueError, match="No such file or directory; is the service running, as this user"):
        fetch(place)


def test_what_is_told_is_json(place):
    with cgexec.ThreadPoolExecutor(1, name="jobs", queue_size=math.inf) as pool:
        pool.submit(int).result(SOON)
        text = json.dumps(served.snapshot(), allow_nan=False)
    assert json.loads(text)["cgexec"] == cgexec.__version__
