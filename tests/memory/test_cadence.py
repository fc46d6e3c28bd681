"""When memory is looked at again."""

import pytest

from cgexec._memory.cadence import HELD_S, LEAST_S, MOST_S, SHARE, Cadence
from cgexec._memory.gauge import Reading

GIB = 1 << 30


def after(used, *, cadence=None, limit=8 * GIB, ended=0, fused=False, held=False):
    reading = Reading(used, limit, "", None, 1, 0)
    return (cadence or Cadence()).after(reading, limit - used, limit, ended, fused=fused, held=held)


@pytest.mark.parametrize(("left", "interval"), [(8 * GIB, MOST_S), (GIB, 0.5), (GIB // 4, 0.125), (0, LEAST_S)])
def test_the_less_is_left_the_sooner(left, interval):
    assert after(8 * GIB - left).interval == interval


def test_looks_may_take_more_of_the_time_where_room_is_scarce_or_something_is_held():
    assert after(0).share == after(6 * GIB).share == SHARE
    assert after(7 * GIB).share == after(0, held=True).share > SHARE


def test_while_something_is_held_the_later_the_longer_nothing_changes():
    cadence = Cadence()
    intervals = [after(GIB, cadence=cadence, held=True).interval for _ in range(7)]
    assert intervals[0] == HELD_S
    assert intervals == sorted(intervals)
    assert intervals[-1] == intervals[-2] < MOST_S
    assert after(2 * GIB, cadence=cadence, held=True).interval == HELD_S, "use has changed"
    after(2 * GIB, cadence=cadence, held=True)
    assert after(2 * GIB, cadence=cadence, held=True, ended=1).interval == HELD_S, "a task has ended"


def test_the_fuse_is_moved_ten_times_a_second():
    assert after(0, fused=True).interval == 0.1
    assert after(8 * GIB, fused=True).interval == LEAST_S
