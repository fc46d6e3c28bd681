"""What a running task waits for, where memory does not suffice for it with all that is kept for a surprise."""

import asyncio
import functools
import threading
from types import SimpleNamespace

import pytest

import cgexec
from cgexec._memory.functions import anchor_of
from cgexec._memory.gauge import Reading
from cgexec._memory.learning import Running
from cgexec._memory.planner import Planner, margin_of
from cgexec._pool import holding
from cgexec._pool.admission import Admission
from cgexec._pool.holding import Funds
from cgexec._pool.lulls import Lulls
from cgexec._pool.reports import Reports
from cgexec._pool.shares import HOLD_LIMIT_FULL_S, STUCK_S, Claim, Shares
from cgexec._pool.task import Extra, Task
from cgexec._settings import Care
from cgexec.testing import Container, clock, inside
from support.pools import SOON, eventually, hired, task

MIB = 1 << 20
LIMIT = 256 * MIB


class Family:
    """
    A pool in a container of 256 MiB, 103 of them in use, of which one call runs and waits for a child that is held.

    Args:
        size: what one call of the child's function was seen to need, in MiB; None: none was seen.
        ahead: so many like the child have been let in before it.
        taken: so many of these have taken that much since.
    """

    def __init__(self, monkeypatch, size=None, ahead=0, taken=0):
        monkeypatch.setattr(Task, "is_awaited", lambda _: True)
        self.state, self.planner = Admission(8, 10), Planner()
        parent = hired(self.state)[0]
        for _ in range(ahead):
            hired(self.state)[0].nested = True
        self.child = task(self.state)
        self.child.nested = self.state.nesting = True
        self.state.queue.append(self.child)
        if size is not None:
            known = self.planner.footprints.get(anchor_of(self.child.fn, ()), "child")
            known.see(size * MIB)
            known.ended(1)
        self.look(12)
        self.look(103, parent)
        self.need = holding.need(self.state, None)._replace(held_since=0.0)
        running = [each for each, _ in self.need.busy]
        self.look(103, *running)
        self.look(103 + taken * (size or 0), *running)

    def look(self, used, *running):
        reading = Reading(used * MIB, LIMIT, "by hand", None, 1, 0)
        functions = {each: self.planner.footprints.get(each.nested and anchor_of(each.fn, ()), "") for each in running}
        running = [Running((id(each), 0.0), functions[each], 0.0, None, None) for each in running]
        self.planner.look(reading, running, 0, [], 8, margin_of(LIMIT, None), 1.0)

    def starts(self, held):
        """Return whether it is let go ahead once it has been held for so long."""
        claim = Claim(SimpleNamespace(state=self.state), Care(), self.need)
        return Shares(self.planner, Reports(), Lulls()).owe(claim, Funds(bounded=True), held).spare


@pytest.mark.parametrize(("size", "after"), [(35, STUCK_S), (153, STUCK_S), (154, HOLD_LIMIT_FULL_S)])
def test_a_child_is_known_not_to_fit_by_what_was_seen_alone(monkeypatch, size, after):
    family = Family(monkeypatch, size)
    assert not family.starts(after - 0.1)
    assert family.starts(after)


@pytest.mark.parametrize(
    ("ahead", "taken", "after"),
    [
        (1, 0, STUCK_S),
        (1, 1, STUCK_S),
        (2, 0, HOLD_LIMIT_FULL_S),
        (2, 1, HOLD_LIMIT_FULL_S),
        (2, 2, HOLD_LIMIT_FULL_S),
    ],
)
def test_a_child_is_known_not_to_fit_beside_those_that_have_yet_to_take_theirs(monkeypatch, ahead, taken, after):
    family = Family(monkeypatch, 60, ahead, taken)
    assert not family.starts(after - 0.1)
    assert family.starts(after)


@pytest.mark.parametrize(("given", "after"), [(153, STUCK_S), (154, HOLD_LIMIT_FULL_S)])
def test_a_child_is_known_not_to_fit_by_what_was_said(monkeypatch, given, after):
    family = Family(monkeypatch)
    family.child.extra = Extra(memory=given * MIB)
    assert not family.starts(after - 0.1)
    assert family.starts(after)


def test_a_child_of_which_one_call_was_seen_does_not_wait_for_a_minute(tmp_path):
    box = Container(tmp_path, memory="256Mi", used="12Mi")
    running, learned, handed_in = threading.Event(), threading.Event(), threading.Event()

    def child():
        running.set()
        assert learned.wait(6 * SOON)

    def parent():
        box.change(used="103Mi")
        made = pool.submit(child)
        handed_in.set()
        return made.result(6 * SOON)

    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(4) as pool:
        first = pool.submit(child)
        assert running.wait(SOON)
        box.change(used="47Mi")
        now.advance(1)
        box.change(used="12Mi")
        learned.set()
        first.result(SOON)
        eventually(lambda: (now.advance(1), [each.samples for each in pool.stats().footprints.values()] == [1])[1])
        future = pool.submit(parent)
        assert handed_in.wait(SOON)
        eventually(lambda: (now.advance(0.5), future.done())[1])
        future.result(SOON)
        assert 0 < pool.stats().held_seconds < 30


async def by_run(pool):
    return await pool.run(int)


async def by_stream(pool):
    return sum([each async for each in pool.stream(int, ["0"])])


async def by_loop(pool):
    return await asyncio.get_running_loop().run_in_executor(pool, int)


async def by_wrapping(pool):
    return await asyncio.wrap_future(pool.submit(int))


@pytest.mark.parametrize("way", [by_run, by_stream, by_loop, by_wrapping])
def test_what_a_coroutine_in_a_running_task_waits_for_goes_ahead(tmp_path, way):
    box = Container(tmp_path, memory="1Gi", used="50Mi")
    running, full = threading.Event(), threading.Event()

    def parent():
        running.set()
        assert full.wait(SOON)
        return asyncio.run(way(pool))

    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(2, memory_per_task="10Mi") as pool:
        future = pool.submit(parent)
        try:
            assert running.wait(SOON)
            box.change(used="1000Mi")  # above the plan; what is left suffices for the child
            eventually(lambda: (now.advance(1), pool.stats().memory_used == 1000 * MIB)[1])
            full.set()
            eventually(lambda: (now.advance(1), future.done())[1])
        finally:
            full.set()
            box.change(used="50Mi")
            eventually(lambda: (now.advance(1), future.done())[1])
        assert future.result(SOON) == 0


class Strange:
    """A callback of somebody's, whose code must not run under a lock."""

    def __getattribute__(self, name):
        assert name != "__module__"
        return super().__getattribute__(name)

    def __call__(self, future):
        """Do nothing."""


@pytest.mark.parametrize(
    "callback", [lambda _: None, threading.Event().set, functools.partial(int, 0), Strange()], ids=range(4)
)
def test_a_callback_that_may_only_count_is_no_waiter(callback):
    child = task(Admission(1, 1))
    child.add_done_callback(callback)
    assert not child.is_awaited()
