"""A task that does not fit with all that is kept for a surprise, beside one that never ends."""

import math
import threading

import pytest

import cgexec
from cgexec._pool.lulls import Lulls
from cgexec._pool.watch import watch
from cgexec.testing import Container, clock, inside
from support.pools import SOON, eventually


class Scene:
    """A pool in a container of 1 GiB, with a task that never ends and a function of which one call was seen."""

    def __init__(self, box, now, pool):
        self.box, self.now, self.pool = box, now, pool
        self.stop = threading.Event()
        self.started, self.go = threading.Semaphore(0), threading.Event()

    def endless(self):
        self.started.release()
        assert self.stop.wait(6 * SOON)

    def large(self):
        self.started.release()
        assert self.go.wait(SOON)

    def begin(self, task):
        future = self.pool.submit(task)
        assert self.started.acquire(timeout=SOON)
        self.now.advance(1)
        return future

    def learn(self, peak, left):
        """Have one call of the large function take memory up to *peak* and leave so much in use."""
        self.begin(self.endless)
        first = self.begin(self.large)
        self.box.change(used=peak)
        self.now.advance(1)
        self.box.change(used=left)
        self.go.set()
        first.result(SOON)
        eventually(lambda: (self.now.advance(1), self.pool.stats().footprints["Scene.large"].samples)[1])

    def again(self):
        """Hand in another call of it, and one of something else behind it; both are held."""
        futures = self.pool.submit(self.large), self.pool.submit(int)
        eventually(lambda: self.pool.stats().held_for is not None)
        return futures

    def pass_by(self, seconds):
        for _ in range(seconds):
            self.now.advance(1)


@pytest.fixture
def scene(tmp_path):
    box = Container(tmp_path, memory="1Gi", used="50Mi")
    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(8) as pool:
        made = Scene(box, now, pool)
        try:
            yield made
        finally:
            made.stop.set()
            box.change(used="50Mi")
            eventually(lambda: (now.advance(30), pool.stats().waiting == 0)[1])


@pytest.mark.parametrize("peak", ["250Mi", "300Mi"])
def test_it_starts_after_a_while_where_use_is_far_below_the_plan(scene, peak):
    scene.learn(peak, "50Mi")
    large, other = scene.again()
    scene.pass_by(1)
    assert not large.done()
    eventually(lambda: (scene.now.advance(1), large.done() and other.done())[1])
    assert scene.pool.stats().running == 1, "the other has not ended"


def test_above_half_of_the_plan_it_starts_after_a_minute_if_its_estimate_fits(scene):
    scene.learn("550Mi", "550Mi")
    large, _ = scene.again()
    scene.pass_by(30)
    assert not large.done()
    eventually(lambda: (scene.now.advance(5), large.done())[1])


def test_what_does_not_fit_by_what_was_seen_waits(scene):
    scene.learn("750Mi", "750Mi")
    large, other = scene.again()
    scene.pass_by(300)
    assert not large.done()
    assert not other.done()


def test_while_use_grows_it_waits(scene):
    scene.learn("250Mi", "50Mi")
    large, _ = scene.again()
    growth = watch().planner.growth
    growth.since = math.inf  # as if each look saw more
    scene.pass_by(30)
    assert not large.done()
    growth.since = 0.0
    eventually(lambda: (scene.now.advance(1), large.done())[1])


def test_while_anything_ends_it_waits(scene, monkeypatch):
    scene.learn("250Mi", "50Mi")
    large, _ = scene.again()
    monkeypatch.setattr(Lulls, "since", lambda *_: math.inf)  # as if at each look something had ended
    scene.pass_by(30)
    assert not large.done()
    monkeypatch.undo()
    eventually(lambda: (scene.now.advance(1), large.done())[1])


def test_an_estimate_that_was_given_is_kept_to(scene):
    held = scene.pool.options(memory="600Mi")
    scene.pool.options(memory="500Mi").submit(scene.endless)
    assert scene.started.acquire(timeout=SOON)
    future = held.submit(int)
    eventually(lambda: scene.pool.stats().held_for is not None)
    scene.pass_by(120)
    assert not future.done()
