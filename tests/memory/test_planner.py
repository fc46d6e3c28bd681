"""Whether one more task fits, on a container and a clock made by hand."""

import functools
import marshal
from contextvars import copy_context
from itertools import pairwise
from types import FunctionType

import pytest

from cgexec._memory.footprints import ASSUMED, Footprints
from cgexec._memory.functions import anchor_of, key_of, name_of
from cgexec._memory.gauge import Own, Reading
from cgexec._memory.learning import Running
from cgexec._memory.planner import Planner, margin_of

MIB = 1 << 20
FLOOR = 20 * MIB


def reading(used, limit=256 * MIB, processes=1, own=None, reusable=0):
    return Reading(used, limit, "memory.max", own, processes, 0, reusable=reusable)


class Container:
    """A planner with tasks of one function that hold *size* each; `look` says how many run now."""

    def __init__(self, limit=256 * MIB, processes=1):
        self.planner = Planner()
        self.limit = limit
        self.processes = processes
        self.function = self.planner.footprints.get("work", "work")
        self.now = 0.0
        self.ids = 0
        self.running = []

    def start(self, count, given=None):
        for _ in range(count):
            self.ids += 1
            self.running.append(Running(self.ids, self.function, self.now, given, None))

    def end(self, count):
        del self.running[:count]
        return count

    def look(self, used, ended=0, seconds=1.0, lately=(), own=None, reusable=0, **other):
        self.now += seconds
        margin = margin_of(self.limit, None)
        seen = reading(used, self.limit, self.processes, own, reusable)
        return self.planner.look(seen, self.running, ended, lately, 32, margin, self.now, **other)

    def starts(self, outlook, given=None):
        """Return how many may be started now."""
        price = self.planner.price(self.function, given)
        return int(outlook.available // price) if outlook.available > 0 else 0

    def generation(self, size, count):
        """Have so many run at once, hold *size* each, and end."""
        self.start(count)
        self.look(FLOOR)
        self.look(FLOOR + size * count)
        self.end(count)
        return self.look(FLOOR, ended=count)


@pytest.mark.parametrize(("limit", "starts"), [(256, 3), (1024, 3), (4096, 7)])
def test_with_nothing_known_a_few_start_and_as_many_when_these_have_shown_what_they_take(limit, starts):
    box = Container(limit * MIB)
    assert box.starts(box.look(FLOOR)) == starts
    box.start(starts)
    assert box.starts(box.look(FLOOR, seconds=0.1)) <= 1
    shown = box.look(FLOOR, seconds=0.3)
    assert box.planner.assumed == min(ASSUMED, (box.planner.plan - FLOOR) // 3)
    assert 1 <= box.starts(shown) <= starts if limit > 256 else box.starts(shown) == 0
    for _ in range(60):
        shown = box.look(FLOOR)
    assert box.starts(shown) >= 3, "by time alone, as long as use stays calm"


def test_first_calls_that_still_grow_have_not_shown_what_they_take():
    box = Container(1024 * MIB)
    box.look(FLOOR)
    box.start(3)
    for grown in (0, 15, 30, 45, 60, 75):
        growing = box.look(FLOOR + grown * MIB, seconds=0.2)
    assert box.starts(growing) <= 1
    assert box.starts(box.look(FLOOR + 75 * MIB, seconds=0.3)) >= 2


def test_with_a_fuse_as_many_start_at_first_since_it_does_not_see_what_children_take():
    box = Container(1024 * MIB)
    assert box.starts(box.look(FLOOR, bold=True)) == 3
    box.start(3)
    assert box.starts(box.look(FLOOR, seconds=0.1, bold=True)) <= 1


def test_for_a_new_function_nobody_has_to_end_where_what_is_assumed_is_free():
    box = many_equal(100 * MIB, limit=4096)
    box.start(30)
    for _ in range(60):
        left = box.look(FLOOR + 3000 * MIB)
    assert 64 * MIB <= box.planner.price(None, None) <= left.available / 3


def test_the_first_calls_are_known_by_what_they_have_taken_before_many_start():
    box = Container(1024 * MIB)
    box.look(FLOOR)
    box.start(3)
    box.look(FLOOR, seconds=0.001)
    shown = box.look(FLOOR + 3 * 85 * MIB, seconds=0.3)
    assert 85 * MIB * (3 + box.starts(shown)) <= box.planner.plan - FLOOR


def test_a_million_tasks_that_need_nothing_are_not_held():
    box = Container()
    for _ in range(10):
        outlook = box.generation(0, 3)
    assert box.planner.price(box.function, None) == 0
    assert outlook.available > 200 * MIB


def test_tasks_too_short_to_be_seen_running_are_known_by_their_end():
    box = Container()
    box.look(FLOOR)
    box.look(FLOOR, ended=3, lately=[box.function])
    assert box.planner.price(box.function, None) == 0


def test_calls_are_not_blamed_for_more_than_they_have_had_the_time_to_take():
    box = Container()

    def price(seconds, calls=0, ended=5000):
        """Return it after a look that finds 30 MiB, and that so many calls of 50 microseconds have ended."""
        lasted = {box.function: (calls, calls * 50e-6)}
        box.look(FLOOR + 30 * MIB, ended, seconds, [box.function], lasted=lasted, rested=False)
        return box.planner.price(box.function, None)

    box.look(FLOOR)
    assert price(0.1) > 0, "what submitters hold looks like theirs"
    assert price(0.1, calls=10) > 0
    assert price(0.1, calls=10) == 0
    assert box.function.learned().bytes < MIB
    box.start(1)
    assert price(0.1) > 0, "one has been running for long enough to have taken it"
    box.end(1)
    assert price(0.1, ended=1) == 0
    assert price(6) > 0, "that they are short was known long ago"


def test_calls_that_would_all_fit_at_once_cost_nothing_to_start():
    box = Container()
    for _ in range(40):
        box.generation(2 * MIB, 8)
    assert box.planner.price(box.function, None) == 0, "thirty-two of them take a third of what is free"
    box.look(FLOOR + 150 * MIB)
    assert box.planner.price(box.function, None) >= 2 * MIB, "now less is free"


def test_what_tasks_hold_is_learned_and_fills_the_container():
    box = Container()
    for _ in range(20):
        outlook = box.generation(20 * MIB, 8)
    assert box.function.share == 20 * MIB
    assert 8 <= box.starts(outlook) <= 10
    assert box.function.learned().confidence > 0.9


def test_promises_of_tasks_that_have_not_taken_their_memory_yet_are_kept():
    box = Container()
    for _ in range(20):
        box.generation(20 * MIB, 8)
    before = box.starts(box.look(FLOOR))
    box.start(4)
    assert box.starts(box.look(FLOOR, seconds=0.01)) == before - 4


def test_what_ended_calls_have_freed_hides_nothing_of_what_those_took_that_run():
    box = learned(20 * MIB)
    box.start(4)
    box.look(FLOOR)
    box.look(FLOOR + 80 * MIB)
    box.start(1)
    box.look(FLOOR + 80 * MIB, seconds=0.001)
    before = box.look(FLOOR + 100 * MIB, seconds=0.001).available
    after = box.look(FLOOR + 80 * MIB, ended=box.end(1), seconds=0.001).available
    assert after >= before + 20 * MIB, "the fifth has taken what it was promised"


def test_what_a_call_seemed_to_take_is_held_against_what_it_frees():
    box = learned(20 * MIB)
    box.start(1)
    box.look(FLOOR, seconds=0.01)
    box.look(FLOOR + 50 * MIB, seconds=0.001)
    assert box.function.largest == 50 * MIB, "it may be, while it runs"
    box.look(FLOOR + 30 * MIB, ended=box.end(1), seconds=0.01)
    assert box.function.largest == 20 * MIB, "thirty were somebody else's"


def test_memory_that_ended_tasks_left_behind_is_not_taken_for_the_last_one_s():
    box = Container()
    for _ in range(10):
        box.generation(20 * MIB, 8)
    box.start(8)
    box.look(FLOOR + 160 * MIB)
    box.end(7)
    box.look(FLOOR + 160 * MIB, ended=7)
    assert box.function.share == pytest.approx(20 * MIB, rel=0.1)


def learned(size, count=8):
    """Return a container of which it is known what a call needs."""
    box = Container()
    for _ in range(40):
        box.generation(size, count)
    return box


def test_what_is_reusable_is_the_next_tasks_and_is_not_learned_twice():
    box = learned(20 * MIB)
    box.start(4)
    left = box.look(FLOOR + 95 * MIB, reusable=15 * MIB)
    assert box.starts(left) == box.starts(box.look(FLOOR + 80 * MIB)) >= 5
    assert box.function.share == pytest.approx(20 * MIB, rel=0.1)
    assert left.surplus <= 0, "nothing would come of asking it back"


def test_what_calls_have_freed_is_what_they_held_though_it_stays_in_the_allocator():
    box = Container()
    box.start(8)
    box.look(FLOOR)
    box.end(4)
    box.look(FLOOR + 160 * MIB, ended=4, reusable=80 * MIB)
    box.end(4)
    box.look(FLOOR + 160 * MIB, ended=4, reusable=160 * MIB)
    assert box.function.share == pytest.approx(20 * MIB, rel=0.1)


def test_calls_that_grow_need_what_they_free_at_the_end_and_not_what_they_hold_on_average():
    box = Container()
    box.start(6)
    box.look(FLOOR)
    for _ in range(60):
        box.look(FLOOR + 80 * MIB)  # of six one each holds 4, 8, 12, 16 and 20 MiB, and one 20 to the end
        box.end(1)
        box.look(FLOOR + 60 * MIB, ended=1)
        box.start(1)
    assert box.function.share == pytest.approx(20 * MIB, rel=0.1)


def test_one_call_in_ten_that_is_larger_makes_the_others_no_larger():
    box = Container()
    for number in range(200):
        large = number % 10 == 9
        box.start(1)
        box.look(FLOOR + (80 * MIB if large else 10 * MIB))
        box.end(1)
        box.look(FLOOR, ended=1)
    assert box.function._most == 10 * MIB
    assert box.function.largest == 80 * MIB


def test_of_calls_that_end_together_none_has_freed_what_the_others_held():
    box = Container()
    for number in range(20):
        box.start(3)
        box.look(FLOOR)
        box.look(FLOOR + 60 * MIB)
        if number % 2:  # the memory of child processes is gone before their calls are seen to end
            box.look(FLOOR, ended=box.end(1), seconds=0.001)
            box.look(FLOOR, ended=box.end(1), seconds=0.001)
            box.look(FLOOR, ended=box.end(1), seconds=0.001)
        else:
            for left in (2, 1, 0):
                box.look(FLOOR + left * 20 * MIB, ended=box.end(1))
    assert {each.size for each in box.function._freed} == {20 * MIB}
    assert box.function.usual == box.function._most == 20 * MIB


def test_what_falls_for_another_that_ended_long_ago_is_left_to_it():
    box = Container()
    for size in (10, 10, 10, 80, 4):
        box.start(1)
        box.look(FLOOR + size * MIB)
        box.end(1)
        box.look(FLOOR, ended=1)
    assert [each.size // MIB for each in box.function._freed] == [10, 10, 10, 80, 4]


def test_calls_that_are_each_a_little_larger_than_most_make_the_last_one_no_larger():
    box = many_equal(20 * MIB)
    box.start(7)
    for _ in range(4):
        box.look(FLOOR + 7 * 19 * MIB)
    box.start(1)
    box.look(FLOOR + 7 * 19 * MIB, seconds=0.001)
    box.look(FLOOR + 8 * 21 * MIB, seconds=0.001)  # by 35 MiB since it began, of which 7 were due
    assert box.function.largest == pytest.approx(20 * MIB, rel=0.1)


def test_of_those_that_began_together_one_may_have_taken_what_the_others_have_not():
    box = many_equal(10 * MIB)
    box.start(2)
    box.look(FLOOR + 83 * MIB, seconds=0.001)
    assert box.function.largest == pytest.approx(73 * MIB, rel=0.1)
    equal = many_equal(20 * MIB)
    equal.start(3)
    equal.look(FLOOR + 60 * MIB, seconds=0.001)
    assert equal.function.largest == pytest.approx(20 * MIB, rel=0.1)


def test_what_grew_while_memory_was_read_is_the_ones_that_began_meanwhile():
    box = beside_three()
    box.look(FLOOR + 80 * MIB, seconds=0.001)
    box.start(1)
    late = [box.running.pop()]  # after the list of those that run was made
    box.look(FLOOR + 100 * MIB, seconds=0.01, late=late)
    assert box.function.largest == pytest.approx(20 * MIB, rel=0.1)
    box.running += late
    box.look(FLOOR + 100 * MIB, seconds=0.001)
    assert box.function.largest == pytest.approx(20 * MIB, rel=0.1)


def test_growth_hides_no_more_than_an_ended_call_held():
    box = beside_three()
    box.look(FLOOR + 60 * MIB, seconds=0.001)
    box.look(FLOOR + 60 * MIB, ended=box.end(1), seconds=0.001)  # which is what the last has taken
    assert box.planner.untaken([box.ids]) == pytest.approx(0, abs=1 * MIB)


def beside_three():
    """Return a container in which a call has just begun beside three of 20 MiB, as all were."""
    box = many_equal(20 * MIB)
    box.start(3)
    for _ in range(3):
        box.look(FLOOR + 60 * MIB)
    box.start(1)
    return box


def many_equal(size, limit=256):
    """Return a container in which fifty calls have freed that *size* each."""
    box = Container(limit * MIB)
    for _ in range(50):
        box.start(1)
        box.look(FLOOR + size)
        box.end(1)
        box.look(FLOOR, ended=1)
    return box


def test_where_what_is_reusable_might_not_suit_it_is_asked_back_before_use_comes_near_the_limit():
    box = learned(20 * MIB)
    box.start(4)
    room = box.look(FLOOR + 200 * MIB, reusable=120 * MIB)
    assert room.available <= 256 * MIB - FLOOR - 200 * MIB
    assert room.surplus > 0
    assert not box.look(FLOOR + 225 * MIB, reusable=145 * MIB).closed, "it does not depend on its being given back"
    assert box.look(FLOOR + 225 * MIB, reusable=10 * MIB).closed


@pytest.mark.parametrize("given", [None, 20 * MIB])
def test_what_starts_fits_below_the_limit_though_nothing_suits_of_what_is_reusable(given):
    box = learned(20 * MIB)
    box.start(5, given=given)
    left = 256 * MIB - FLOOR - 200 * MIB
    outlook = box.look(FLOOR + 200 * MIB, reusable=100 * MIB)
    assert left - 4 * MIB < outlook.available < left
    box.start(1, given=given)
    assert box.look(FLOOR + 200 * MIB, reusable=100 * MIB, seconds=0.001).available < left - 20 * MIB


def test_results_are_not_taken_for_what_those_hold_that_run_though_somebody_said_what_they_need():
    box = Container()
    box.look(FLOOR)
    for number in range(8):
        box.start(1, given=10 * MIB)
        box.look(FLOOR + 10 * MIB * number)
        box.look(FLOOR + 10 * MIB * (number + 1), ended=box.end(1))  # what it has returned stays
    nothing = box.look(FLOOR + 80 * MIB)
    box.start(8, given=10 * MIB)
    assert box.look(FLOOR + 80 * MIB).available <= nothing.available - 80 * MIB


def test_one_call_in_ten_that_is_larger_fits_below_the_limit_though_nothing_suits_of_what_is_reusable():
    box = many_equal(10 * MIB)
    box.function.see_one(80 * MIB)
    box.start(3)
    outlook = box.look(FLOOR + 130 * MIB, reusable=100 * MIB)
    assert outlook.available < 256 * MIB - FLOOR - 130 * MIB - 70 * MIB


def test_what_calls_do_not_free_goes_to_those_that_run():
    box = learned(20 * MIB)
    free = box.look(FLOOR + 20 * MIB, reusable=20 * MIB).available
    box.start(8)
    for _ in range(40):  # results that a consumer keeps, and lets go of at its own times
        box.look(FLOOR + 160 * MIB, reusable=60 * MIB, ended=box.end(1))
        box.start(1)
        box.look(FLOOR + 160 * MIB, reusable=60 * MIB)
    box.look(FLOOR + 160 * MIB, ended=box.end(8))
    assert box.look(FLOOR + 20 * MIB, reusable=20 * MIB).available < free - 15 * MIB


def test_with_nothing_running_what_is_reusable_is_asked_back():
    box = learned(20 * MIB)
    assert box.look(FLOOR + 40 * MIB, reusable=40 * MIB, rested=False).surplus == pytest.approx(40 * MIB)


def test_the_call_that_may_exceed_its_share_most_counts_though_those_of_another_function_are_larger():
    box = learned(10 * MIB)
    box.function.see_one(90 * MIB)
    equal = box.planner.footprints.get("equal", "equal")
    equal.see(100 * MIB)
    equal.ended(100)

    def kept():
        seen = reading(FLOOR + 110 * MIB)
        running = [Running(1, box.function, 0.0, None, 1.0), Running(2, equal, 0.0, None, 1.0)]
        return (
            256 * MIB
            - margin_of(256 * MIB, None)
            - seen.used
            - box.planner.look(seen, running, 0, (), 32, margin_of(256 * MIB, None), 1000.0).available
        )

    assert kept() >= 80 * MIB - margin_of(256 * MIB, None)


def test_those_that_have_just_started_may_all_be_as_large_as_the_largest_seen():
    box = Container(1024 * MIB)
    for _ in range(40):
        box.generation(10 * MIB, 8)
    box.start(1)
    box.look(FLOOR, seconds=0.01)
    box.look(FLOOR + 80 * MIB, seconds=0.01)
    box.end(1)
    box.look(FLOOR, ended=1)
    large = box.function.largest
    assert large > 4 * box.function.share
    assert box.planner.price(box.function, None) == large, "one starts where the largest would fit"
    before = box.look(FLOOR, seconds=0.01).available
    box.start(5)
    young = box.look(FLOOR, seconds=0.001).available
    assert before - young >= 5 * large - 120 * MIB, "less the margin"
    old = box.look(FLOOR + 50 * MIB, seconds=0.5).available
    assert old > young + 100 * MIB


def test_growth_that_was_due_from_others_is_not_taken_for_the_last_one_s():
    box = learned(20 * MIB)
    box.start(8)
    for _ in range(50):
        box.look(FLOOR + 160 * MIB)
    box.end(8)
    box.look(FLOOR, ended=8)
    for _ in range(3):
        box.start(1)
        box.look(FLOOR, seconds=0.001)
    box.look(FLOOR + 60 * MIB, seconds=0.01)
    assert box.function.largest == pytest.approx(20 * MIB, rel=0.1)


def beside_parents(child, each=30 * MIB, count=3):
    """Return a container in which so many calls hold *each* and do not end, with that function's turn to start."""
    box = Container()
    box.look(FLOOR, own=own(FLOOR))
    box.start(count)
    box.look(FLOOR + count * each, own=own(FLOOR + count * each))
    box.function = box.planner.footprints.get(child, child)
    return box


def own(used, peak=0):
    return Own(used, 0, used, max(used, peak), 0)


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "came and went"])
def test_what_a_child_takes_is_not_blamed_on_parents_that_wait_for_it(seen):
    box = beside_parents("child")
    waiting, most = FLOOR + 90 * MIB, FLOOR + 130 * MIB
    if seen:
        box.start(1)
        box.look(waiting, own=own(waiting))
        box.look(most, own=own(most))
        box.running.pop()
        box.look(waiting, ended=1, own=own(waiting, most))
    else:
        box.look(waiting, ended=1, lately=[box.function], own=own(waiting, most))
    assert box.function.samples == 1
    assert 25 * MIB < box.function.share < 45 * MIB
    assert box.running[0].footprint.share < 45 * MIB


def test_a_call_that_takes_nothing_does_not_share_what_one_that_never_ends_holds():
    box = beside_parents("small", each=90 * MIB, count=1)
    box.start(1)
    box.look(FLOOR + 90 * MIB)
    box.running.pop()
    box.look(FLOOR + 90 * MIB, ended=1)
    assert box.function.samples == 1
    assert box.function.share < 6 * MIB


def test_tasks_that_become_ten_times_larger_are_noticed():
    box = Container()
    for _ in range(20):
        box.generation(2 * MIB, 8)
    box.start(4)
    box.look(FLOOR)
    box.look(FLOOR + 80 * MIB)
    assert box.function.share >= 8 * MIB
    assert box.starts(box.look(FLOOR + 80 * MIB)) <= 12, "it was eighty"


@pytest.mark.parametrize(("limit", "seconds"), [(256, 20), (1024, 3), (4096, 1)])
def test_twenty_tasks_that_sleep_come_to_run_side_by_side_by_time_alone(limit, seconds):
    box = Container(limit * MIB)
    for _ in range(round(seconds / 0.05)):
        outlook = box.look(FLOOR + MIB * len(box.running) // 8, seconds=0.05)
        while box.planner.price(box.function, None) <= outlook.available and len(box.running) < 20:
            box.start(1)
            outlook = outlook._replace(available=outlook.available - box.planner.price(box.function, None))
    assert len(box.running) == 20


def test_time_does_not_count_while_use_grows():
    box = Container()
    box.start(3)
    used = FLOOR
    for _ in range(20):
        used += 4 * MIB
        outlook = box.look(used, seconds=0.5)
    assert box.starts(outlook) == 0


def test_a_given_estimate_counts_until_it_proves_too_small():
    box = Container()
    assert box.starts(box.look(FLOOR), given=50 * MIB) == 4
    box.start(2, given=50 * MIB)
    box.look(FLOOR + 160 * MIB)
    assert box.planner.price(box.function, 50 * MIB) > 60 * MIB
    assert box.planner.price(box.planner.footprints.get("other", "other"), 50 * MIB) == 50 * MIB


def test_what_grows_beside_a_small_estimate_is_blamed_on_it_step_by_step_and_not_for_good():
    box = Container(1024 * MIB)
    box.start(1, given=MIB)
    box.look(FLOOR)
    for _ in range(5):
        box.look(FLOOR + 300 * MIB)  # a cache of somebody else's, 250 times the estimate
    assert box.planner.price(box.function, MIB) == 8 * MIB
    box.look(FLOOR + 300 * MIB, ended=box.end(1))
    box.look(FLOOR + 300 * MIB)  # quiet for the second time: that is the floor now
    for _ in range(4):
        box.start(30, given=MIB)
        box.look(FLOOR + 300 * MIB)
        box.end(30)
        box.look(FLOOR + 300 * MIB, ended=30)
    assert box.planner.price(box.function, MIB) == MIB


def test_an_estimate_that_is_far_too_small_is_made_up_for_in_a_few_generations():
    box = Container(4096 * MIB)
    for _ in range(3):
        box.start(4, given=MIB)
        box.look(FLOOR)
        box.look(FLOOR + 4 * 48 * MIB)
        box.end(4)
        box.look(FLOOR, ended=4)
    assert box.planner.price(box.function, MIB) == pytest.approx(40 * MIB)


def test_an_expensive_first_call_is_forgotten():
    box = Container()
    cache = 120 * MIB
    box.start(1)
    box.look(FLOOR)
    box.look(FLOOR + cache)
    box.end(1)
    box.look(FLOOR + cache, ended=1)
    assert box.planner.price(box.function, None) > 100 * MIB
    box.look(FLOOR + cache)
    prices = [box.planner.price(box.function, None)]
    for _ in range(200):
        box.start(2)
        box.look(FLOOR + cache)
        box.end(2)
        box.look(FLOOR + cache, ended=2)
        prices.append(box.planner.price(box.function, None))
    assert prices[-1] < MIB
    assert all(after > before / 5 for before, after in pairwise(prices) if before > 8 * MIB), "by steps, not at once"


def test_fewer_that_run_now_are_not_taken_for_as_many_as_there_were():
    box = Container()
    for _ in range(6):
        box.generation(16 * MIB, 9)
    for _ in range(60):
        box.generation(16 * MIB, 3)
        assert box.planner.price(box.function, None) >= 16 * MIB


def test_the_allowance_for_a_surprise_shrinks_with_the_age_of_a_call():
    def free(age):
        box = Container(limit=1024 * MIB)
        box.generation(20 * MIB, 4)
        box.running = [Running(n, box.function, box.now + 1 - age, None, 10.0) for n in range(4)]
        return box.look(FLOOR + 80 * MIB).available

    young, half, old, beyond = map(free, (1.0, 5.0, 9.0, 60.0))
    assert young < half < old < beyond, "the last has shown what it takes, as if it had ended"
    assert beyond < (1024 - 102 - 20 - 80) * MIB, "something stays until it ends"


def beside_short_calls(box, seconds):
    """Have calls of another function end for so long, beside whatever runs."""
    short = box.planner.footprints.get("short", "short")
    for _ in range(round(seconds / 0.1)):
        box.look(FLOOR, ended=8, seconds=0.1, lately=[short])


def test_a_call_that_has_not_ended_teaches_nothing_by_the_ends_of_others():
    box = Container(1024 * MIB)
    box.look(FLOOR)
    box.start(1)
    beside_short_calls(box, 10)
    assert box.function.samples == 0
    assert box.planner.price(box.function, None) >= ASSUMED
    box.look(FLOOR, ended=8 + box.end(1))
    assert box.function.samples == 1


def test_what_was_seen_of_calls_that_have_not_ended_counts_where_it_is_more_than_is_assumed():
    box = Container(1024 * MIB)
    box.start(1)
    box.look(FLOOR)
    box.look(FLOOR + 400 * MIB)
    assert box.planner.price(box.function, None) == 400 * MIB


def test_a_call_that_has_been_running_for_long_has_shown_as_much_as_one_that_has_ended():
    def allowance(age):
        box = Container(1024 * MIB)
        box.generation(20 * MIB, 1)
        box.start(9)
        box.look(FLOOR + 180 * MIB, seconds=age)
        return box.planner.price(box.function, None) - box.function.share

    assert allowance(20.0) == pytest.approx(allowance(1.0) / 10)


def test_it_fits_beside_others_by_what_was_seen_whatever_may_come_as_a_surprise():
    box = Container(1000 << 20)  # 900 of it are planned with
    box.generation(100 * MIB, 1)
    box.start(1)
    outlook = box.look(FLOOR)
    assert box.planner.price(box.function, None) > outlook.available
    fits = functools.partial(box.planner.fits, box.function, None)
    assert fits(0.5), "20 in use, 100 promised, and 100 for one more"
    box.look(FLOOR + 300 * MIB)
    assert not fits(0.5)
    assert fits()
    box.look(FLOOR + 850 * MIB)
    assert not fits()
    assert not Planner().fits(None, None), "nothing is known yet"


def test_what_is_left_to_the_pages_of_files_is_not_left_free_in_the_allocator():
    box = learned(20 * MIB)
    free = box.look(FLOOR + 100 * MIB, reusable=90 * MIB).available
    less = box.look(FLOOR + 100 * MIB, reusable=90 * MIB, files=50 * MIB)
    assert less.available == pytest.approx(free - 50 * MIB)
    assert box.planner.plan == 256 * MIB - margin_of(256 * MIB, None) - 50 * MIB


@pytest.mark.parametrize("part", [0.5, 1.0])
def test_it_fits_only_below_the_limit_though_nothing_suits_of_what_is_reusable(part):
    box = learned(20 * MIB)
    box.start(2)
    for used, fits in [(200, True), (220, False)]:
        box.look(FLOOR + used * MIB, reusable=150 * MIB)
        assert box.planner.fits(box.function, None, part) == fits


def test_below_a_part_of_the_plan_the_largest_that_was_seen_has_to_fit():
    box = Container(1000 << 20)
    box.generation(50 * MIB, 8)
    box.start(1)
    box.look(FLOOR, seconds=0.01)
    box.look(FLOOR + 300 * MIB, seconds=0.01)
    assert (box.function.share, box.function.largest) == (50 * MIB, 300 * MIB)
    box.look(FLOOR, ended=box.end(1))
    box.look(FLOOR + 50 * MIB)
    assert not box.planner.fits(box.function, None, 0.4)
    assert box.planner.fits(box.function, None, 0.5)
    assert box.planner.fits(box.function, 40 * MIB, 0.2), "somebody has said that it needs less"


def known_calls(box, count=20):
    """Have calls of 5 MiB be known well, and nothing run; return what the process holds then."""
    own = Own(FLOOR, 0, 3 * FLOOR, 3 * FLOOR, 5 * FLOOR, 1, 2 * FLOOR)
    for _ in range(count):
        box.start(4)
        box.look(FLOOR, own=own)
        box.look(FLOOR + 20 * MIB, own=own)
        box.look(FLOOR, own=own, ended=box.end(4))
    assert box.function.share == 5 * MIB
    return own


def test_what_came_and_went_while_calls_ran_is_theirs():
    box = Container(1024 * MIB)
    own = known_calls(box)
    box.start(4)
    box.look(FLOOR, own=own)
    box.look(FLOOR, own=own._replace(most_resident=own.most_resident + 400 * MIB))
    assert box.function.share == 100 * MIB


@pytest.mark.parametrize("pause", [1.0, 3600.0])
def test_what_came_and_went_while_nothing_ran_is_not(pause):
    box = Container(1024 * MIB)
    own = known_calls(box)
    box.look(FLOOR, own=own)
    high = own._replace(most_resident=own.most_resident + 800 * MIB)
    if pause < 2:
        box.look(FLOOR, own=high)  # somebody else's, and it is noted
        box.start(1)
    box.look(FLOOR, own=high, seconds=pause, ended=1, lately=[box.function])
    assert box.function.share == 5 * MIB


def test_what_is_used_while_nothing_runs_is_not_theirs_either():
    box = Container(1024 * MIB)
    own = known_calls(box)
    box.look(FLOOR, own=own)
    for used in (FLOOR, FLOOR + 400 * MIB, FLOOR):
        box.look(used, own=own)
    assert box.function.share == 5 * MIB


def test_pages_of_files_that_were_seen_mapped_are_nobodys_memory():
    box = Container(1024 * MIB)
    own = known_calls(box)
    box.start(4)
    high = own.most_resident + 800 * MIB
    box.look(FLOOR, own=own._replace(resident=high, most_resident=high, file=own.file + 800 * MIB))
    box.look(FLOOR, own=own._replace(most_resident=high + 40 * MIB))
    assert box.function.share == 10 * MIB, "forty of them are explained by nothing else"


def test_what_is_free_and_not_given_back_is_no_floor():
    box = Container()
    box.generation(20 * MIB, 5)
    for _ in range(3):  # quiet, but tasks may take it again, and use would not grow by that
        box.look(FLOOR + 100 * MIB, rested=False)
    assert box.planner.floor == FLOOR
    box.look(FLOOR + 100 * MIB)  # given back what could be: the rest is somebody's
    assert box.planner.floor == FLOOR + 100 * MIB


def test_what_ended_calls_have_not_given_back_yet_is_no_floor():
    box = Container()
    box.generation(20 * MIB, 4)
    box.start(4)
    box.look(FLOOR + 80 * MIB)
    box.look(FLOOR + 80 * MIB, ended=box.end(4))  # still charged
    box.look(FLOOR)
    box.start(4)
    box.look(FLOOR + 80 * MIB)
    assert box.function.share == 20 * MIB


def test_the_gate_closes_at_the_margin_and_opens_some_way_below():
    box = Container()
    plan = 256 * MIB - margin_of(256 * MIB, None)
    assert not box.look(plan).closed
    assert box.look(plan + MIB).closed
    assert box.look(plan - MIB).closed
    assert not box.look(plan - 10 * MIB).closed


def test_processes_that_share_a_container_each_plan_with_their_part():
    alone, four = Container(1024 * MIB), Container(1024 * MIB, processes=4)
    own = Own(FLOOR, 0, FLOOR, FLOOR, FLOOR)
    one = alone.look(FLOOR, own=own).available
    assert four.look(FLOOR, own=own).available == pytest.approx(one / 4)


def test_a_process_with_less_than_its_part_takes_what_it_lacks_but_half_of_what_is_free_at_most():
    box = Container(1024 * MIB, processes=4)
    plan = 1024 * MIB - margin_of(1024 * MIB, None)

    def left(mine, used):
        return box.look(used, own=Own(mine, 0, mine, mine, mine)).available

    assert left(100 * MIB, 600 * MIB) == pytest.approx(plan / 4 - 100 * MIB), "the others have theirs"
    assert left(100 * MIB, 850 * MIB) == pytest.approx((plan - 850 * MIB) / 2), "the others have more"
    assert left(225 * MIB, 600 * MIB) == pytest.approx((plan - 600 * MIB) / 4), "the others leave some"
    assert box.planner.look(reading(600 * MIB, 1024 * MIB, 4), [], 0, (), 32, 1024 * MIB - plan, box.now).available == (
        pytest.approx((plan - 600 * MIB) / 4)
    ), "nobody knows what this one has"


@pytest.mark.parametrize("limit", [64 * MIB, 256 * MIB, 1024 * MIB, 64 << 30])
def test_the_margin_is_a_tenth_and_in_small_containers_24_mebibytes(limit):
    assert margin_of(limit, None) == max(limit // 10, 24 * MIB)


def work():
    pass


def decorated(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return fn(*args)

    return wrapper


class Job:
    def run(self):
        pass

    def __call__(self):
        pass


def test_a_function_is_known_again_however_it_is_called():
    code = work.__code__
    context = copy_context()
    for fn, args in (
        (work, ()),
        (decorated(work), ()),
        (functools.partial(work, 1), ()),
        (functools.partial(functools.partial(work, 1), 2), ()),
        (context.run, (work, 1)),
        (functools.partial(context.run, work, 1), ()),
    ):
        assert anchor_of(fn, args) is code
    assert anchor_of(Job().run, ()) is Job.run.__code__
    assert anchor_of(Job(), ()) is Job
    assert anchor_of(len, ()) == "len"
    assert name_of(code) == "work"
    assert name_of(Job) == "Job"


def test_a_function_that_is_loaded_anew_for_each_call_is_one_function():
    def work():
        return bytes(1)

    footprints, loaded = Footprints(), marshal.dumps(work.__code__)
    calls = [FunctionType(marshal.loads(loaded), {}) for _ in range(3)]
    known = {footprints.get(anchor_of(call, ()), "work") for call in (work, *calls)}
    assert len(known) == 1
    assert len(footprints.learned()) == 1


def test_two_functions_on_one_line_are_two():
    small, large = lambda: bytes(1), lambda: bytes(9)
    assert key_of(anchor_of(small, ())) != key_of(anchor_of(large, ()))


def test_more_functions_than_anybody_has_do_not_fill_memory():
    prints = Footprints()
    for number in range(5000):
        prints.get(str(number), str(number))
    assert len(list(prints)) <= 2000
