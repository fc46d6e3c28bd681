"""Nothing runs and memory is full: who holds it may be a submitter that waits for a place."""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

import cgexec
from cgexec._pool.watch import Watch
from cgexec.testing import Container, clock, inside
from support.pools import SOON, eventually, holding


def test_a_submitter_that_holds_the_results_is_let_in(tmp_path):
    """It takes its results in order, a few at a time; refused a place for good, it would never take the next."""
    box = Container(tmp_path, memory="1Gi", used="1020Mi")
    taken = []

    def feed(pool):
        waiting = deque()
        for number in range(6):
            waiting.append(pool.submit(int, number))
            if len(waiting) == 3:
                taken.append(waiting.popleft().result(SOON))
                box.change(used="64Mi")  # what it has taken was in the way

    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(1) as pool:
        feeder = threading.Thread(target=feed, args=(pool,))
        feeder.start()
        eventually(lambda: pool.stats().blocked == 1)
        assert (pool.stats().running, taken) == (0, [])
        now.advance(0.5)
        assert pool.stats().blocked == 1
        eventually(lambda: (now.advance(0.5), pool.stats().blocked == 0)[1])
        box.change(used="64Mi")
        feeder.join(SOON)
        assert not feeder.is_alive()
    assert taken == [0, 1, 2, 3]


def test_what_would_be_the_kill_is_not_started_for_a_minute(tmp_path, caplog):
    box = Container(tmp_path, memory="1Gi", used="1000Mi")
    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(1, memory_per_task="100Mi") as pool:
        future = pool.submit(int)
        eventually(lambda: pool.stats().held_for is not None)
        now.advance(50)
        now.advance(1)
        assert not future.done()
        box.change(used="923Mi")  # now it would fit, into the margin at least
        eventually(lambda: (now.advance(1), future.done())[1])
    assert "[memory-forced]" in caplog.text


def test_what_would_be_the_kill_waits_for_results_to_be_taken_though_nothing_runs_and_the_gate_is_open(tmp_path):
    box = Container(tmp_path, memory="1Gi", used="100Mi")
    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(1, memory_per_task="200Mi") as pool:
        with holding(pool, 1):
            future = pool.submit(int)
            box.change(used="900Mi")  # what the first is about to return
            eventually(lambda: (now.advance(1), pool.stats().memory_used == 900 << 20)[1])
        eventually(lambda: (now.advance(1), pool.stats().held_for is not None)[1])
        now.advance(10)
        assert not future.done()
        box.change(used="100Mi")
        eventually(lambda: (now.advance(1), future.done())[1])


@pytest.mark.parametrize("policy", [{"when_full": "block", "submit_timeout": SOON}, {"when_full": "raise"}], ids=repr)
def test_a_pool_without_places_opens_again_after_the_gate_was_closed(tmp_path, policy):
    """Nothing can wait in it, and without anything that waits or runs nobody would look at memory again."""
    box = Container(tmp_path, memory="1Gi", used="50Mi")
    with (
        clock() as now,
        inside(box),
        cgexec.ThreadPoolExecutor(2, queue_size=0, **policy) as pool,
        ThreadPoolExecutor(1) as submitter,
    ):
        with holding(pool, 1) as hold:
            box.change(used="980Mi")
            eventually(lambda: (now.advance(1), pool.stats().memory_used == 980 << 20)[1])
        hold.futures[0].result(SOON)
        eventually(lambda: pool.stats().running == 0)
        now.advance(1)
        box.change(used="50Mi")
        future = submitter.submit(pool.submit, pow, 2, 3)
        eventually(lambda: (now.advance(1), future.done())[1])
        assert future.result(SOON).result(SOON) == 8


def test_what_a_running_task_waits_for_goes_ahead_though_it_was_handed_in_while_there_was_room(tmp_path):
    box = Container(tmp_path, memory="1Gi", used="50Mi")
    handed_in = threading.Event()

    def parent():
        child = pool.submit(int)  # queued, as both workers are busy
        handed_in.set()
        return child.result(6 * SOON)

    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(2, memory_per_task="10Mi") as pool:
        with holding(pool, 1) as hold:
            future = pool.submit(parent)
            assert handed_in.wait(SOON)
            box.change(used="1000Mi")
            now.advance(2)
            hold.release()
        eventually(lambda: (now.advance(1), future.done())[1])


class Interrupted(BaseException):
    """What a signal's handler raises."""


class Interrupting:
    """The lock of a watch, left by an interruption right after it was taken, or right before it is given back."""

    def __init__(self, where):
        self.lock = threading.RLock()
        self.where = where
        self._is_owned = self.lock._is_owned

    def acquire(self, blocking):
        taken = self.lock.acquire(blocking)
        self.interrupt("acquire")
        return taken

    def release(self):
        self.interrupt("release")
        self.lock.release()

    def interrupt(self, here):
        if self.where == here:
            self.where = None
            raise Interrupted


@pytest.mark.parametrize("where", ["acquire", "release"])
def test_an_interrupted_look_keeps_nobody_from_looking(where):
    watch = Watch()
    watch._lock = Interrupting(where)
    with pytest.raises(Interrupted):
        watch.look()
    other = threading.Thread(target=watch.look)
    watch._looked = 0.0
    other.start()
    other.join(30)
    assert watch._looked, "another thread may look"
