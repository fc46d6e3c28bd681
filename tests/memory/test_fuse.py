"""The soft limit of a real process: each test has one of its own, as it is nobody's to share."""

import pytest

from cgexec._memory import fuse
from support.lab import run_alone

pytestmark = pytest.mark.skipif(fuse.why_no_fuse() is not None, reason=f"no fuse: {fuse.why_no_fuse()}")

START = """
import os, resource, sys, threading
import cgexec
from cgexec._memory.fuse import fuse
from cgexec._memory.gauge import Gauge, Reading
MIB = 1 << 20
own = Gauge().own()
def soft():
    return resource.getrlimit(resource.RLIMIT_DATA)[0]
def follow(rest=False):
    fuse().follow(Reading(own.private, 256 * MIB, "by hand", own, 1, 0, own.private), 30 * MIB, rest=rest)
before = soft()
follow(rest=True)
armed = soft()
def refused(mebibytes):
    try:
        return not bytearray(mebibytes * MIB)
    except MemoryError:
        return True
"""


def test_an_allocation_beyond_it_raises_and_none_below():
    seen = run_alone(START + "answer(below=refused(100), beyond=refused(300))")
    assert (seen.below, seen.beyond) == (False, True)


def test_it_is_put_back_as_it_was():
    seen = run_alone(START + "fuse().restore(); answer(before=before, armed=armed, after=soft())")
    assert seen.armed != seen.before == seen.after


def test_the_reserves_are_given_out_in_two_steps_and_taken_back_by_the_next_look():
    seen = run_alone(
        START
        + "fuse().give_out(); one = soft(); fuse().give_out(everything=True); two = soft(); follow()\n"
        + "answer(steps=[one - armed, two - one], after=soft() - armed)"
    )
    assert seen.steps == [10 << 20, 10 << 20]
    assert seen.after == 0


def test_unfused_nests_and_holds_for_the_process():
    seen = run_alone(
        START
        + """
inside = []
with cgexec.unfused():
    with cgexec.unfused():
        inside.append(soft())
    thread = threading.Thread(target=lambda: inside.append(soft()))
    thread.start(); thread.join()
    follow()
    inside.append(soft())
answer(before=before, armed=armed, inside=inside, after=soft())
"""
    )
    assert seen.inside == [seen.before] * 3
    assert seen.after == seen.armed


def test_a_limit_that_somebody_else_sets_meanwhile_is_what_is_put_back_and_is_kept_to():
    seen = run_alone(
        START
        + """
theirs = armed - 50 * MIB
resource.setrlimit(resource.RLIMIT_DATA, (theirs, resource.getrlimit(resource.RLIMIT_DATA)[1]))
follow()
kept = soft()
fuse().restore()
answer(theirs=theirs, kept=kept, after=soft())
"""
    )
    assert seen.kept == seen.after == seen.theirs


def test_a_fork_is_without_it():
    seen = run_alone(
        START
        + """
reader, writer = os.pipe()
if not (child := os.fork()):
    os.write(writer, str(soft()).encode())
    os._exit(0)
os.waitpid(child, 0)
answer(before=before, child=int(os.read(reader, 100)), parent=soft() == armed)
"""
    )
    assert seen.child == seen.before
    assert seen.parent


def test_a_fork_inside_unfused_is_as_any_other():
    seen = run_alone(
        START
        + """
reader, writer = os.pipe()
with cgexec.unfused():
    child = os.fork()
    if not child:  # as multiprocessing's, which goes on in here
        follow(rest=True)
        seen = [soft()]
if not child:
    follow()
    seen.append(soft())
    with cgexec.unfused():
        seen.append(soft())
    seen.append(soft())
    os.write(writer, repr(seen).encode())
    os._exit(0)
os.waitpid(child, 0)
answer(before=before, child=eval(os.read(reader, 1000)), parent=soft() == armed)
"""
    )
    inside, outside, paused, after = seen.child
    assert inside == outside == after != paused == seen.before
    assert seen.parent


@pytest.mark.parametrize("call", [1, 2], ids=["moved", "put-back"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fork_by_another_thread_while_it_is_set_is_without_it(call, when):
    seen = run_alone(
        START
        + f"""
from types import SimpleNamespace
from cgexec._memory import fuse as fusing
reader, writer = os.pipe()
calls = []

def fork():
    child = os.fork()
    if not child:
        os.write(writer, str(soft()).encode())
        os._exit(0)
    os.waitpid(child, 0)

def setrlimit(what, limits):
    # Between two lines is where another thread may come in and fork. The child's own calls are not counted.
    calls.append(what)
    here = len(calls) == {call}
    if here and {when!r} == "before":
        fork()
    resource.setrlimit(what, limits)
    if here and {when!r} == "after":
        fork()

fusing._resource = SimpleNamespace(**vars(resource) | {{"setrlimit": setrlimit}})
fuse().give_out()
fuse().restore()
answer(before=before, child=int(os.read(reader, 100)), after=soft(), calls=len(calls))
"""
    )
    assert seen.child == seen.after == seen.before
    assert seen.calls == 2


def test_a_thread_to_be_started_gets_room_for_its_stack():
    seen = run_alone(
        START
        + "threading.stack_size(1 * MIB)\nwith fuse().starting(): pass\nanswer(more=soft() - armed, stack=fuse()._cap.gap.stack)"
    )
    assert seen.more == seen.stack > 0


def test_a_thread_that_finds_no_memory_to_begin_is_not_waited_for():
    """It ends unseen, and `Thread.start` would wait for it for ever."""
    seen = run_alone(
        START
        + """
import faulthandler, logging
from cgexec._pool import beginning
faulthandler.dump_traceback_later(60, exit=True)
beginning.PATIENCE_S = 0.5
logging.disable()
sys.unraisablehook = lambda _: None
threading.stack_size(8 * MIB)
pool, gate = cgexec.ThreadPoolExecutor(2, memory_guard=False), threading.Lock()
gate.acquire()
pool.submit(int).result(60)
held = pool.submit(gate.acquire, True, 60)
own = Gauge().own()
fuse().follow(Reading(own.private, own.private - 8 * MIB, "by hand", own, 1, 0, own.private), 0, rest=True)
waiting = pool.submit(abs, -5)
fuse().restore()
threads = len([thread for thread in threading.enumerate() if "ThreadPool" in thread.name])
gate.release()
answer(held=held.result(60), waiting=waiting.result(60), threads=threads)
pool.shutdown()
"""
    )
    assert (seen.held, seen.waiting, seen.threads) == (True, 5, 1)


def test_it_leaves_the_size_that_was_set_for_threads_stacks():
    seen = run_alone(
        "import threading; threading.stack_size(512 << 10)\n" + START + "answer(size=threading.stack_size())"
    )
    assert seen.size == 512 << 10


def test_where_it_is_not_armed_nothing_is_touched():
    seen = run_alone(
        """
import resource, cgexec
from cgexec._memory.fuse import fuse
before = resource.getrlimit(resource.RLIMIT_DATA)
fuse().give_out(everything=True); fuse().restore()
with fuse().starting(): pass
with cgexec.unfused():
    inside = resource.getrlimit(resource.RLIMIT_DATA)
answer(same=before == inside == resource.getrlimit(resource.RLIMIT_DATA))
"""
    )
    assert seen.same
