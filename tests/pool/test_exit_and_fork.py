"""The end of the interpreter and its doubling: each in an interpreter of its own, whose standard error must stay empty."""

import os
import subprocess
import sys

import pytest

PRELUDE = """
import atexit, os, sys, threading, time, weakref
import cgexec
from cgexec import ThreadPoolExecutor
ends = threading.Event()  # set when the interpreter begins to end, before the pools that were made by then are told
def at_end(what):
    if ends.wait(10):
        sys.stdout.write(f"{what}\\n")
        sys.stdout.flush()
"""
ENDS = "threading._register_atexit(ends.set)\n"  # after the first pool: what is registered last is called first


def run(code, *, stderr="", **environ):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
    )
    if stderr is not None:
        assert done.stderr == stderr
    return done


def test_work_pending_at_exit_is_finished():
    done = run(
        """
pool = ThreadPoolExecutor(1)
for n in range(3):
    pool.submit(at_end, n)
"""
        + ENDS
    )
    assert (done.stdout, done.returncode) == ("0\n1\n2\n", 0)


def test_so_is_that_of_an_abandoned_pool_and_of_one_shut_down_without_waiting():
    done = run(
        """
ThreadPoolExecutor(1).submit(at_end, "abandoned")
pool = ThreadPoolExecutor(1)
pool.submit(at_end, "shut")
pool.shutdown(wait=False)
"""
        + ENDS
    )
    assert sorted(done.stdout.split()) == ["abandoned", "shut"]


def test_a_submit_from_a_daemon_thread_makes_no_daemon_worker():
    # The standard pool's threads inherit the flag, and are joined by a private hook; ours would be cut off.
    done = run(
        """
pool = ThreadPoolExecutor(1)
t = threading.Thread(target=lambda: pool.submit(at_end, "done"), daemon=True)
t.start(); t.join()
"""
        + ENDS
    )
    assert done.stdout == "done\n"


@pytest.mark.parametrize("used", [True, False])
def test_a_submit_after_the_end_is_refused(used):
    done = run(f"""
@atexit.register
def late():
    try:
        pool.submit(int)
    except RuntimeError as error:
        print(error)
pool = ThreadPoolExecutor(1)
if {used}: pool.submit(int).result()
""")
    assert done.stdout == "cannot schedule new futures after interpreter shutdown\n"


def test_a_task_that_submits_at_the_end_is_told_and_ends():
    done = run("""
pool = ThreadPoolExecutor(1)
def again():
    try:
        pool.submit(again)
    except RuntimeError as error:
        print(error, flush=True)
pool.submit(again)
""")
    assert done.stdout == "cannot schedule new futures after interpreter shutdown\n"


def test_a_blocked_submitter_does_not_hold_up_the_end():
    done = run("""
pool = ThreadPoolExecutor(1, queue_size=0)
started, told = threading.Event(), threading.Event()
pool.submit(lambda: (started.set(), told.wait(10)))
def block():
    try:
        pool.submit(int)
    except RuntimeError as error:
        print(error, flush=True)
    told.set()
assert started.wait(10)
threading.Thread(target=block).start()
end = time.monotonic() + 10
while not pool.stats().blocked:
    assert time.monotonic() < end
    time.sleep(0.001)
""")
    assert done.stdout == "cannot schedule new futures after interpreter shutdown\n"


def test_idle_pools_end_at_once():
    done = run("""
pools = [ThreadPoolExecutor(4, idle_timeout=3600) for _ in range(20)]
for pool in pools: list(pool.map(abs, range(20)))
print("end")
""")
    assert done.stdout == "end\n"


def test_importing_and_making_a_pool_starts_no_thread():
    done = run("""
pool = ThreadPoolExecutor(4)
print(sorted(t.name for t in threading.enumerate()))
""")
    assert done.stdout == "['MainThread']\n"


def test_without_the_standard_librarys_hook_a_thread_sees_the_end():
    # No Python at hand lacks it; so it is taken away.
    done = run("""
threading._register_atexit(ends.set)
del threading._register_atexit
pool = ThreadPoolExecutor(1)
pool.submit(at_end, "done")
print(sorted(t.name for t in threading.enumerate() if t.name.startswith("cgexec")), flush=True)
""")
    assert done.stdout == "['cgexec-exit']\ndone\n"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="subinterpreters are public since 3.14")
@pytest.mark.parametrize("close", ["pool.shutdown()", "pass"])
def test_in_a_subinterpreter_it_works_and_ends(close):
    done = run(f"""
from concurrent.futures import InterpreterPoolExecutor
def inside():
    import cgexec
    pool = cgexec.ThreadPoolExecutor(2)
    result = pool.submit(pow, 2, 3).result(10)
    pool.options(run_timeout=3600).submit(int).result(10)
    {close}
    return result
with InterpreterPoolExecutor(1) as interpreters:
    print(interpreters.submit(inside).result(30))
""")
    assert done.stdout == "8\n"


FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later warn of any fork beside threads
def in_child(check):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
@pytest.mark.parametrize("used", [True, False])
def test_in_a_forked_child_an_inherited_pool_refuses_and_a_new_one_works(used):
    done = run(
        FORK
        + f"""
pool = ThreadPoolExecutor(2)
if {used}: pool.submit(int).result()
def check():
    try:
        pool.submit(int)
    except RuntimeError as error:
        assert "made before a fork" in str(error) and "make a new pool in the child" in str(error)
    else:
        raise AssertionError("accepted")
    pool.shutdown()
    assert not pool.drain(1)
    assert pool.stats().running == 0
    with ThreadPoolExecutor(2) as new:
        assert new.submit(pow, 2, 3).result(10) == 8
in_child(check)
assert pool.submit(pow, 2, 3).result(10) == 8
print("fine")
"""
    )
    assert done.stdout == "fine\n"


@needs_fork
def test_a_fork_in_the_middle_of_work_leaves_the_parents_work_alone():
    done = run(
        FORK
        + """
pool = ThreadPoolExecutor(4, queue_size=10)
stop, done = threading.Event(), []
def feed():
    while not stop.is_set():
        pool.submit(done.append, 1)
feeders = [threading.Thread(target=feed) for _ in range(2)]
for feeder in feeders: feeder.start()
def check():
    pool.shutdown()
    with ThreadPoolExecutor(2) as new:
        assert list(new.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
for _ in range(20):
    in_child(check)
stop.set()
for feeder in feeders: feeder.join()
pool.shutdown()
seen = pool.stats()
assert seen.completed == len(done) == seen.submitted
print("fine")
"""
    )
    assert done.stdout == "fine\n"


@needs_fork
def test_a_task_that_forks_runs_nothing_twice():
    done = run(
        FORK
        + """
pool = ThreadPoolExecutor(1)
def task():
    in_child(lambda: pool.shutdown(wait=False))
    return "parent"
def forking():
    # No os._exit: the child goes on as a worker whose pool is not there, and ends.
    pid = os.fork()
    return pid and os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
first, forked = pool.submit(task), pool.submit(forking)
rest = [pool.submit(print, n, flush=True) for n in range(3)]
assert first.result(30) == "parent"
assert forked.result(30) == 0
for future in rest: future.result(30)
"""
    )
    assert done.stdout == "0\n1\n2\n"


@needs_fork
def test_in_a_child_that_a_task_forked_the_pools_end_is_not_waited_for():
    done = run(
        FORK
        + """
pool = ThreadPoolExecutor(2)
def check():
    for end in (pool.shutdown, pool.drain):
        try:
            end()
        except RuntimeError as error:
            assert "would wait for itself" in str(error), error
        else:
            raise AssertionError("it returned")
pool.submit(in_child, check).result(30)
pool.shutdown()
print("fine")
"""
    )
    assert done.stdout == "fine\n"


@needs_fork
def test_a_child_forked_on_the_clocks_thread_or_in_a_hand_over_is_as_any_other():
    """As by a process pool that starts its processes one by one, as calls come."""
    done = run(
        FORK
        + """
from concurrent.futures import Executor, Future
from cgexec.testing import clock
class Handed(Executor):
    def __init__(self, then):
        self.then = then
    def submit(self, fn, /, *args):
        self.then()
        future = Future()
        future.set_result(threading.current_thread())
        return future
def check():
    with cgexec.wrap(Handed(lambda: None)) as new:
        assert new.submit(int).result(10) is threading.current_thread()  # not left to the clock
with cgexec.wrap(Handed(lambda: in_child(check))) as pool:
    pool.submit(int).result(10)
    print("handed over", flush=True)
hold = threading.Event()
with clock() as moved, ThreadPoolExecutor(1) as pool:
    pool.submit(hold.wait)
    late = pool.options(queue_timeout=60).submit(int)
    late.add_done_callback(lambda _: (in_child(check), print("expired", flush=True)))
    moved.advance(60)
    hold.set()
"""
    )
    assert done.stdout == "handed over\nexpired\n"


@needs_fork
def test_a_forked_child_ends_as_ever():
    done = run("""
import multiprocessing, warnings
warnings.simplefilter("ignore", DeprecationWarning)
pool = ThreadPoolExecutor(1)
pool.submit(int).result()
def child():
    with ThreadPoolExecutor(1) as new:
        new.submit(print, "child", flush=True).result()
    ThreadPoolExecutor(1).submit(at_end, "late")
    threading._register_atexit(ends.set)
process = multiprocessing.get_context("fork").Process(target=child)
process.start(); process.join(30)
print(process.exitcode, flush=True)
""")
    assert done.stdout == "child\nlate\n0\n"
