"""Asking memory back: when, by what, and that nobody waits for it."""

import gc
import threading

import pytest

import cgexec
from cgexec._memory.gauge import Reading
from cgexec._memory.relief import Relief, Relieved
from cgexec._pool import relieving
from cgexec._pool import watch as watching
from cgexec.testing import Container, clock, inside
from support.pools import SOON, Trap, eventually

GIB = 1 << 30
MIB = 1 << 20


def reading(used):
    return Reading(used, GIB, "by hand", None, 1, 0)


class Asking:
    """A relief that is asked by hand; what is asked for is done at once, and brings what it is said to."""

    def __init__(self):
        self.relief = Relief()

    def __call__(self, now, seconds=0.0, *, brings=0, done=True, at_rest=False):
        """Return whether the collector was asked, None if nobody was."""
        asked = self.relief.ask(900 * MIB, now, at_rest=at_rest)
        if asked is None:
            return None
        asked.done, asked.ended = done, now + seconds
        self.relief.measure(reading(900 * MIB - brings), now + seconds)
        return asked.collects


def test_the_collector_is_asked_where_the_allocator_gave_nothing_back():
    ask = Asking()
    assert [ask(0.0), ask(0.0)] == [False, True]


def test_what_helped_is_tried_again_soon_and_first():
    ask = Asking()
    assert [ask(0.0, brings=100 * MIB), ask(0.05), ask(0.2), ask(0.2, brings=100 * MIB)] == [False, None, False, True]
    assert ask(0.25) is None
    assert ask(0.4, brings=100 * MIB) is False
    assert (ask.relief.times, ask.relief.bytes) == (4, 300 * MIB)


def test_in_vain_it_is_tried_ever_more_seldom():
    ask = Asking()
    first, later = (sum(ask(60.0 * minute + second) is not None for second in range(60)) for minute in (0, 10))
    assert first > 8
    assert 0 < later <= 3


def test_at_rest_it_is_always_due_and_changes_nothing_for_those_who_are_held():
    ask, other = Asking(), Asking()
    for each in (ask, other):
        assert [each(0.0), each(0.0)] == [False, True]
    assert [ask(0.01, at_rest=True), ask(0.02, at_rest=True)] == [False, False]
    assert ask.relief.times == other.relief.times + 2
    times = [0.1 * n for n in range(1, 100)]
    assert [ask(now) for now in times] == [other(now) for now in times]


def test_work_that_came_meanwhile_has_left_something_of_its_own():
    relief, seen = Relief(), []
    for works in (False, True):
        asked = relief.ask(900 * MIB, 0.0, at_rest=True)
        relief.measure(reading(900 * MIB), 0.1, resting=not works)  # it has not ended yet
        asked.done, asked.ended = True, 0.2
        seen.append(relief.measure(reading(800 * MIB), 0.3).at_rest)
    assert seen == [True, False]


def test_it_takes_a_small_share_of_the_time():
    ask = Asking()
    assert ask(0.0, 1.0, brings=100 * MIB) is False
    assert ask(20.0) is None
    assert ask(21.5) is False


def test_the_collector_is_asked_every_two_seconds_at_most():
    ask = Asking()
    assert [ask(0.0), ask(0.0, brings=100 * MIB), ask(1.0), ask(1.5), ask(2.5)] == [False, True, False, False, True]


def test_what_was_seen_before_it_ended_does_not_tell_what_it_brought():
    relief = Relief()
    asked = relief.ask(900 * MIB, 1.0)
    assert relief.measure(reading(100 * MIB), 2.0) is None, "it is still being done"
    assert relief.ask(900 * MIB, 99.0) is None, "one at a time"
    asked.done, asked.ended = True, 100.0
    assert relief.measure(reading(100 * MIB), 99.9) is None
    assert relief.measure(reading(500 * MIB), 100.0) == Relieved(400 * MIB, 99.0, collected=False, at_rest=False)
    assert relief.measure(reading(100 * MIB), 101.0) is None
    assert (relief.times, relief.bytes) == (1, 400 * MIB)


def test_what_could_not_be_done_is_not_counted_and_tried_again_later():
    ask = Asking()
    assert [ask(0.0, done=False), ask(0.1), ask(0.3)] == [False, None, False]
    assert ask.relief.times == 1


def need_little(event):
    return event is None or event.wait(SOON)


def need_much(event):
    return event.wait(SOON)


@pytest.fixture
def surplus(tmp_path):
    """
    A clock, a pool, and what frees memory: the gate is closed, a small task runs, and nobody is known to need what is
    used. Only the pool looks for garbage.
    """
    small, large = threading.Event(), threading.Event()
    box = Container(tmp_path, memory="1Gi", used="50Mi")
    gc.collect()
    gc.disable()
    try:
        with clock() as now, inside(box), cgexec.ThreadPoolExecutor(4) as pool:
            list(pool.map(need_little, [None] * 200))
            pool.submit(need_little, small)
            much = pool.submit(need_much, large)
            eventually(lambda: pool.stats().running == 2)
            now.advance(1)
            box.change(used="980Mi")
            now.advance(1)
            large.set()
            assert much.result(SOON)

            def free():
                box.change(used="50Mi")
                small.set()

            yield now, pool, free
            free()
    finally:
        small.set()
        large.set()
        gc.enable()


def test_a_finalizer_that_waits_for_what_is_held_stops_nothing(surplus):
    now, pool, free = surplus
    begun, ended = threading.Event(), threading.Event()
    held = pool.submit(pow, 2, 3)

    def finalize():
        begun.set()
        if held.exception(SOON) is None:
            ended.set()

    Trap(finalize)
    eventually(lambda: (now.advance(1), begun.is_set())[1])
    free()
    eventually(lambda: (now.advance(1), held.done())[1])
    assert ended.wait(SOON)
    eventually(lambda: (now.advance(1), pool.stats().reliefs >= 2)[1])
    assert pool.stats().relieved_bytes == 930 << 20


def test_where_no_thread_can_be_had_for_a_collection_all_goes_on_without(surplus, monkeypatch):
    now, pool, free = surplus
    refused = []

    def refuse(thread):
        refused.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(relieving, "begin", refuse)
    held = pool.submit(int)
    eventually(lambda: (now.advance(1), len(refused) > 1)[1])
    assert pool.stats().reliefs > 0, "the allocator needs none"
    free()
    eventually(lambda: (now.advance(1), held.done())[1])


@pytest.mark.parametrize(
    ("mode", "reusable", "asks"), [("enforce", 500, True), ("enforce", 5, False), ("observe", 500, False)]
)
def test_above_the_plan_what_lies_free_is_asked_back_but_not_where_it_is_only_observed(
    tmp_path, monkeypatch, mode, reusable, asks
):
    monkeypatch.setenv("CGEXEC_MODE", mode)
    running = threading.Event()
    box = Container(tmp_path, memory="1Gi", used="50Mi")
    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr(watching.watch(), "_reusable", lambda *_: reusable << 20)
        task = pool.submit(running.wait, SOON)
        eventually(lambda: pool.stats().running == 1)
        box.change(used="1000Mi")
        eventually(lambda: (now.advance(1), pool.stats().memory_used == 1000 << 20)[1])
        assert watching.watch()._wants_relief is asks
        running.set()
        assert task.result(SOON)
