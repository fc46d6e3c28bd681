"""Whether memory grows, or only goes up and down as it did before."""

import pytest

from cgexec._memory.growth import Growth


def last_growth(uses):
    """Return when use was last seen to grow by more than 10; one look a second."""
    growth = Growth()
    for now, used in enumerate(uses):
        growth.see(used, 10, float(now))
    return growth.since


def test_what_is_reached_for_the_first_time_is_growth_and_what_comes_back_is_none():
    assert last_growth([100] * 20) < 0
    assert last_growth([100] * 10 + [150] * 3 + [100] * 7) == 12
    up_and_down = [100, 150] * 20
    assert last_growth(up_and_down) < 10


@pytest.mark.parametrize("step", [3, 30])
def test_what_creeps_up_is_growth(step):
    assert last_growth(range(0, 40 * step, step)) >= 35


def test_the_first_look_after_a_pause_is_where_it_begins():
    growth = Growth()
    growth.see(100, 10, 0.0)
    growth.see(500, 10, 100.0)
    assert growth.since < 0
    growth.see(600, 10, 101.0)
    assert growth.since == 101
