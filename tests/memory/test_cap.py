"""How much the process may have mapped: by hand-made readings."""

from cgexec._memory.aimd import Aimd
from cgexec._memory.cap import Cap
from cgexec._memory.gauge import Own, Reading
from support.lab import MIB

LIMIT, MARGIN, STACK = 300 * MIB, 30 * MIB, 8 * MIB


def own(private, data, threads=1):
    return Own(private, 0, private, private, data, threads)


def reading(used, mine, *, before=None, limit=LIMIT, processes=1):
    return Reading(used, limit, "memory.max", mine, processes, 0, mine.private if before is None else before)


def plan(cap, used, mine, **more):
    return cap.follow(reading(used, mine, **more), mine, MARGIN).plan


def test_it_is_what_others_and_the_margin_leave_and_what_lies_idle():
    cap = Cap(STACK)
    cap.gap.rest(own(20 * MIB, 60 * MIB), 0)
    assert plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB)) == LIMIT - MARGIN - 30 * MIB + 40 * MIB


def test_own_growth_does_not_move_it():
    cap = Cap(STACK)
    before = plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB))
    assert plan(cap, 150 * MIB, own(120 * MIB, 170 * MIB)) == before


def test_memory_that_changed_while_use_was_read_is_taken_for_nobody_elses():
    cap = Cap(STACK)
    settled = plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB))
    assert plan(cap, 100 * MIB, own(100 * MIB, 160 * MIB), before=20 * MIB) == settled
    assert plan(cap, 100 * MIB, own(20 * MIB, 60 * MIB), before=100 * MIB) == settled


def test_others_are_followed_both_ways():
    cap = Cap(STACK)
    settled = plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB))
    assert plan(cap, 90 * MIB, own(20 * MIB, 60 * MIB)) == settled - 40 * MIB
    assert plan(cap, 30 * MIB, own(20 * MIB, 60 * MIB)) == settled + 20 * MIB


def test_a_lower_limit_lowers_it_at_once():
    cap = Cap(STACK)
    settled = plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB))
    assert plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB), limit=200 * MIB) == settled - 100 * MIB


def test_stacks_of_threads_started_later_come_on_top():
    cap = Cap(STACK)
    settled = plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB, threads=1))
    assert plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB, threads=33)) == settled + 32 * STACK


def test_what_the_allocator_keeps_mapped_may_be_touched_again_so_it_is_not_idle():
    cap = Cap(STACK)
    cap.gap.rest(own(20 * MIB, 260 * MIB), 200 * MIB)
    assert plan(cap, 20 * MIB, own(20 * MIB, 260 * MIB)) == LIMIT - MARGIN + 40 * MIB


def test_where_nobody_tells_what_the_allocator_keeps_the_gap_does_not_grow():
    cap = Cap(STACK)
    cap.gap.rest(own(20 * MIB, 60 * MIB), None)
    cap.gap.rest(own(20 * MIB, 260 * MIB), None)
    assert plan(cap, 20 * MIB, own(20 * MIB, 260 * MIB)) == LIMIT - MARGIN + 40 * MIB


def test_what_is_free_in_an_arena_that_is_used_no_more_is_idle_as_far_as_it_is_not_resident():
    cap = Cap(STACK)
    settled = plan(cap, 50 * MIB, own(20 * MIB, 60 * MIB))

    def with_free(private, data, free):
        mine = own(private, data)
        return cap.follow(reading(private + 30 * MIB, mine), mine, MARGIN, free).plan

    assert with_free(120 * MIB, 260 * MIB, 100 * MIB) == settled + 100 * MIB
    assert with_free(120 * MIB, 260 * MIB, 70 * MIB) == settled + 70 * MIB
    assert with_free(220 * MIB, 260 * MIB, 100 * MIB) == settled, "all of it is resident"


def test_processes_that_share_a_container_share_what_is_free():
    cap = Cap(STACK)
    cap.gap.rest(own(20 * MIB, 20 * MIB), 0)
    used = 80 * MIB  # four such processes
    free = LIMIT - MARGIN - used
    assert plan(cap, used, own(20 * MIB, 20 * MIB), processes=4) == 20 * MIB + free // 4


def test_the_reserves_are_thirds_of_the_margin():
    caps = Cap(STACK).follow(reading(50 * MIB, own(20 * MIB, 60 * MIB)), own(20 * MIB, 60 * MIB), MARGIN)
    assert (caps.workers - caps.plan, caps.everyone - caps.workers) == (10 * MIB, 10 * MIB)


def test_fewer_run_after_each_failure_and_more_after_each_round_that_went_well():
    crowd = Aimd()
    crowd.failed(32)
    assert crowd.limit == 25
    crowd.failed(31)
    assert crowd.limit == 24, "failures in a row count those still running"
    crowd.went_well(24, 0.0, 32)
    assert crowd.limit == 25
    crowd.went_well(0, 2.0, 32)
    assert crowd.limit == 26, "by time alone, too"
    for _ in range(8):
        crowd.went_well(32, 0.0, 32)
    assert crowd.limit == float("inf"), "all that are wanted may run again"
    for _ in range(20):
        crowd.failed(1)
    assert crowd.limit == 1, "one always may"
