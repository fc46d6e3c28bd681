"""A process that lies above the plan by itself, and stays there: its tasks need not wait five seconds each."""

from types import SimpleNamespace

import pytest

import cgexec
from cgexec._memory.gauge import Own, Reading
from cgexec._pool.patience import Patience
from cgexec.testing import Container, clock, inside
from support.pools import SOON, eventually

MIB = 1 << 20
KNOWN = SimpleNamespace(samples=9)


def reading(used, peak=0):
    own = Own(used * MIB, 0, used * MIB, peak * MIB, used * MIB)
    return Reading(used * MIB, 1000 * MIB, "by hand", own, 1, 0)


@pytest.fixture
def calm():
    """One that has seen many such starts, and use did not move."""
    patience = Patience(5.0)
    for hold in range(20):
        patience.see(reading(930 + hold % 9, peak=940))
        patience.started(hold)
    assert patience.seconds(KNOWN, 0.0) == 0.1
    return patience


def test_it_shrinks_by_and_by_from_the_third_start_on():
    patience, seen = Patience(5.0), []
    patience.see(reading(930))
    for hold in range(6):
        patience.started(hold)
        patience.started(hold)  # that was seen before its task had begun
        seen.append(patience.seconds(KNOWN, 0.0))
    assert seen == [5.0, 5.0, 5.0, 2.5, 1.25, 0.625]


@pytest.mark.parametrize("moved", [(945, 940), (915, 940), (930, 960)], ids=["up", "down", "peak"])
def test_it_is_long_again_as_soon_as_use_moves(calm, moved):
    calm.see(reading(*moved))
    assert calm.seconds(KNOWN, 0.0) == 5.0


def test_use_that_creeps_has_moved_in_the_end(calm):
    for used in range(931, 945):
        calm.see(reading(used, peak=940))
    assert calm.seconds(KNOWN, 0.0) == 5.0


def test_it_is_short_only_for_what_is_known_to_need_next_to_nothing(calm):
    assert calm.seconds(None, 0.0) == 5.0
    assert calm.seconds(SimpleNamespace(samples=2), 0.0) == 5.0
    assert calm.seconds(KNOWN, 11.0 * MIB) == 5.0
    assert calm.seconds(KNOWN, 9.0 * MIB) == 0.1


@pytest.mark.parametrize(("memory", "used"), [("1Gi", "955Mi"), ("64Mi", "45Mi")])
def test_a_baseline_above_the_plan_does_not_cost_each_task_five_seconds(tmp_path, memory, used):
    box = Container(tmp_path, memory=memory, used=used)
    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            future = pool.submit(int)
            eventually(lambda future=future: (now.advance(0.25), future.done())[1])
        assert future.result(SOON) == 0
        assert 15 <= pool.stats().held_seconds < 100, "at five seconds each it were 250"
