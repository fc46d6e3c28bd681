"""The flight recorder with real processes, which are killed, end, fork and replace themselves."""

import os
import subprocess
import sys
import textwrap

import pytest

from cgexec._flight.layout import FILE_BYTES, Doing, Record, pack
from cgexec._flight.recorder import Recorder, take_leftovers
from cgexec._kernel.files import Files
from cgexec._pool.recording import _cgroup
from cgexec._snapshot import locate_own

pytest.importorskip("fcntl", reason="needs flock()")

RECORD = Record(1e9, 1, 77, None, None, None, 8, 3, 20)

WORK = """
import logging, os, signal, sys, threading
import cgexec
logging.basicConfig(format="%(message)s")
started, release = threading.Semaphore(0), threading.Event()

def report():
    started.release()
    release.wait(60)

def looked():  # one more look, which the recorder writes whatever the time
    from cgexec._pool.flight import flight
    from cgexec._pool.watch import watch
    if (recording := flight()._recording) is not None:
        recording._due = 0.0
    watch().look()
"""
BUSY = """
pool = cgexec.ThreadPoolExecutor(2, name="jobs")
futures = [pool.submit(report) for _ in range(5)]
for _ in range(2):
    assert started.acquire(timeout=60)
looked()
"""
KILLED = BUSY + "os.kill(os.getpid(), signal.SIGKILL)"
ENDED = BUSY + "release.set()"


def run(folder, script, **environ):
    """Run a process with the recorder on; return its exit status and what it logged."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", WORK + textwrap.dedent(script)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "CGEXEC_STATE_DIR": str(folder), **environ},
    )  # fmt: skip
    return result.returncode, result.stderr


LOOK = "cgexec.ThreadPoolExecutor(1).shutdown()"


def test_the_next_start_says_how_a_killed_one_ended_and_says_it_once(tmp_path):
    assert run(tmp_path, KILLED, CGEXEC_MEMORY="64Gi") == (-9, "")
    status, said = run(tmp_path, LOOK)
    assert status == 0
    assert said.startswith("[last-ended-badly] a process with pools ended without saying so (pid ")
    assert "2 of 2 running, 3 waiting; longest __main__.report for " in said
    assert said.count("\n") == 1
    assert run(tmp_path, LOOK) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_is_started_and_left_alone_is_in_it_without_a_memory_limit_too(tmp_path):
    script = """
        from cgexec._pool.recording import Recording
        record, seen = Recording.record, threading.Event()

        def noticed(self, reading, needs, now):
            record(self, reading, needs, now)
            if any(need.busy for need in needs):
                seen.set()

        Recording.record = noticed
        pool = cgexec.ThreadPoolExecutor(2, name="jobs")
        pool.submit(report)
        assert started.acquire(timeout=60)
        seen.clear()
        assert seen.wait(30)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(tmp_path, script) == (-9, "")
    assert "1 of 2 running, 0 waiting; longest __main__.report for " in run(tmp_path, LOOK)[1]


def test_one_that_ended_well_leaves_nothing(tmp_path):
    assert run(tmp_path, ENDED) == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert run(tmp_path, LOOK) == (0, "")


def test_a_traceback_is_an_end_that_said_so(tmp_path):
    status, _ = run(tmp_path, BUSY + "release.set(); raise SystemExit(3)")
    assert status == 3
    assert list(tmp_path.iterdir()) == []


def test_several_that_were_killed_are_one_warning(tmp_path):
    for pid in (1, 2, 3):
        recorder = Recorder(tmp_path, pid, 77)
        recorder.write(RECORD._replace(pid=pid, when=1e9 + pid, functions=(Doing(f"app.f{pid}", 9.0 - pid),)))
        recorder.let_go()
    _, said = run(tmp_path, LOOK)
    assert "(pid 3)" in said
    assert said.count("[last-ended-badly]") == 1
    assert (
        "longest of all app.f1 for 8 s (pid 1), app.f2 for 7 s (pid 2), app.f3 for 6 s (pid 3). 2 more: pid 2 at "
        in said
    )


@pytest.mark.parametrize("room", [0, FILE_BYTES // 2])
def test_without_room_for_a_file_the_last_one_is_told_all_the_same(tmp_path, room):
    """A full disk takes nothing or, in the middle of it, a part."""
    recorder = Recorder(tmp_path, 1, 77)
    recorder.write(RECORD)
    recorder.let_go()
    script = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
        with cgexec.ThreadPoolExecutor(1) as pool:
            assert pool.submit(abs, -1).result(60) == 1
    """
    status, said = run(tmp_path, script)
    assert status == 0
    told, off = said.splitlines()
    assert told.startswith("[last-ended-badly] a process with pools ended without saying so (pid 1)")
    assert off == f"[flight-recorder-off] CGEXEC_STATE_DIR={tmp_path} cannot be used: File too large"
    assert list(tmp_path.iterdir()) == []


def test_the_record_says_in_which_cgroup_kills_are_counted():
    if locate_own(Files("/")).chains.get("memory") is None:
        pytest.skip("needs a cgroup with memory")
    assert _cgroup() == _cgroup() != 0


def test_one_that_lives_is_left_alone(tmp_path):
    living = Recorder(tmp_path, 1, 77)  # another container's process 1, say
    try:
        living.write(RECORD)
        assert run(tmp_path, LOOK) == (0, "")
        assert list(tmp_path.iterdir()) == [living.path]
    finally:
        living.close()
    assert list(tmp_path.iterdir()) == []


def test_children_have_files_of_their_own(tmp_path):
    script = """
        import warnings
        warnings.simplefilter("ignore")  # of forking with threads
        release.set()
        pid = os.fork()
        if not pid:
            pool = cgexec.ThreadPoolExecutor(1)
            release.clear()
            pool.submit(report)
            assert started.acquire(timeout=60)
            looked()
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == 9
    """
    assert run(tmp_path, BUSY + textwrap.dedent(script)) == (0, "")
    (record,) = take_leftovers(tmp_path)  # the child's; the parent ended well
    assert (record.running, record.size, record.cgroup) == (1, 1, _cgroup())


def test_a_child_of_multiprocessing_that_ends_leaves_nothing(tmp_path):
    script = """
        import multiprocessing, warnings
        warnings.simplefilter("ignore")

        def child():
            with cgexec.ThreadPoolExecutor(1) as pool:
                pool.submit(abs, 1).result()

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(60)
        assert process.exitcode == 0
    """
    assert run(tmp_path, script) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_one_that_replaces_itself_has_not_ended(tmp_path):
    script = BUSY + f"os.execv(sys.executable, [sys.executable, '-c', {WORK + LOOK!r}])"
    assert run(tmp_path, script) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", bytes(FILE_BYTES), b"cgx1" * 2000, pack(RECORD, 1)[:-1], os.urandom(FILE_BYTES)],
    ids=["empty", "short", "zeros", "magic", "cut", "random"],
)  # fmt: skip
def test_garbage_in_the_folder_is_passed_over(tmp_path, content):
    (tmp_path / "cgexec-1-2.flight").write_bytes(content)
    assert run(tmp_path, LOOK) == (0, "")


def test_what_is_no_file_is_left_alone(tmp_path):
    (tmp_path / "cgexec-1-2.flight").mkdir()
    os.mkfifo(tmp_path / "cgexec-3-4.flight")
    other = tmp_path / "other"
    other.write_bytes(pack(RECORD, 1))
    (tmp_path / "cgexec-5-6.flight").symlink_to(other)
    before = set(tmp_path.iterdir())
    assert run(tmp_path, LOOK) == (0, "")
    assert set(tmp_path.iterdir()) == before
    assert other.exists()


def test_a_folder_that_cannot_be_used_is_a_warning_and_the_pool_works(tmp_path):
    (tmp_path / "file").write_text("")
    status, said = run(tmp_path / "file", ENDED)
    assert status == 0
    assert said == f"[flight-recorder-off] CGEXEC_STATE_DIR={tmp_path / 'file'} cannot be used: Not a directory\n"


def test_it_is_off_unless_asked_for(tmp_path):
    assert run("", ENDED) == (0, "")


def test_files_are_for_their_owner(tmp_path):
    recorder = Recorder(tmp_path / "made", 1, 2)
    assert recorder.path.stat().st_mode & 0o777 == 0o600
    recorder.close()
