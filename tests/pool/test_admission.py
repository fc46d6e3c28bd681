"""The state machine, step by step and by one thread: who comes in, who runs, who waits."""

import math

import pytest

from cgexec._pool import endings, lines, mending, sizes
from cgexec._pool.admission import Admission
from cgexec._pool.records import Closed, Ticket, Verdict, Worker
from cgexec._pool.task import CANCELLED, COMPLETED, FAILED, GONE
from support.pools import hired, started, task

SHUT = Closed(RuntimeError, "shut")


def test_each_task_that_nobody_comes_for_starts_a_worker_as_in_the_standard_pool():
    state = Admission(2, 10)
    first, second = state.offer(task(state)), state.offer(task(state))
    assert isinstance(first, Worker)
    assert isinstance(second, Worker)
    assert state.offer(task(state)) is None  # both are on their way, and there may be no third


def test_an_idle_worker_gets_the_task_straight():
    state = Admission(2, 10)
    _, worker = hired(state)
    assert state.next(worker, 1.0, COMPLETED) is Verdict.PARK
    new = task(state)
    assert state.offer(new) is worker
    assert worker.task is new
    assert (state.running, state.waiting()) == (1, 0)


def test_the_worker_that_parked_last_is_called_first():
    state = Admission(2, 10)
    workers = [hired(state)[1] for _ in range(2)]
    for worker in workers:
        state.next(worker, 1.0, COMPLETED)
    assert state.offer(task(state)) is workers[1]


def test_one_is_woken_and_wakes_the_next():
    state = Admission(3, 10)
    workers = [hired(state)[1] for _ in range(3)]
    blocked = [task(state) for _ in range(3)]
    for worker in workers[:2]:
        state.next(worker, 1.0, COMPLETED)
    # Two are idle and nothing waits: the first goes straight, and with it running the rest follows in turn.
    assert state.offer(blocked[0]) is workers[1]
    assert state.offer(blocked[1]) is workers[0]
    assert state.offer(blocked[2]) is None


def test_the_queue_is_full_when_all_places_are_taken_and_no_worker_is_free():
    state = Admission(1, 2)
    hired(state)
    assert state.offer(task(state)) is None
    assert state.offer(task(state)) is None
    assert state.offer(task(state)) is Verdict.FULL
    assert state.waiting() == 2


def test_a_task_for_which_a_worker_is_free_takes_no_place():
    state = Admission(3, 0)
    assert [isinstance(state.offer(task(state)), Worker) for _ in range(3)] == [True] * 3
    assert state.offer(task(state)) is Verdict.FULL


def test_over_the_bound_is_counted():
    state = Admission(1, 0)
    hired(state)
    assert state.offer(task(state), over=True) is None
    assert state.tally.over_bound == 1
    assert state.waiting() == 1


def test_a_free_place_goes_to_the_head_of_the_line():
    state = Admission(1, 1)
    _, worker = hired(state)
    queued = task(state)
    state.offer(queued)
    first, second = task(state), task(state)
    tickets = [Ticket(), Ticket()]
    assert lines.line_up(state, first, tickets[0]) is Verdict.FULL
    assert lines.line_up(state, second, tickets[1]) is Verdict.FULL
    assert state.offer(task(state)) is Verdict.FULL  # nobody overtakes the line
    assert state.next(worker, 1.0, COMPLETED) is queued
    assert [ticket.verdict for ticket in tickets] == [None, Verdict.FULL]
    assert worker.chores == [tickets[0].gate.release]
    assert list(state.queue) == [first]


def test_a_withdrawn_ticket_leaves_the_line_and_loses_no_place():
    state = Admission(1, 0)
    _, worker = hired(state)
    first, second = task(state), task(state)
    lines.line_up(state, first, Ticket())
    lines.line_up(state, second, Ticket())
    assert lines.withdraw(state, first) is True
    assert state.next(worker, 1.0, COMPLETED) is second
    assert lines.withdraw(state, second) is False


def test_a_cancelled_task_gives_its_place_back_at_once():
    state = Admission(1, 1)
    hired(state)
    queued, lined = task(state), task(state)
    state.offer(queued)
    lines.line_up(state, lined, None)
    assert queued.cancel()
    assert queued.place == GONE
    assert lined in state.queue
    assert state.tally.cancelled == 1
    assert state.waiting() == 1


def test_many_cancelled_tasks_do_not_stay_in_memory():
    state = Admission(1, 10)
    hired(state)
    for _ in range(1000):
        new = task(state)
        state.offer(new)
        new.cancel()
    assert state.waiting() == 0
    assert len(state.queue) <= 130


def test_a_cancelled_task_that_a_worker_has_is_counted_once():
    state = Admission(1, 10)
    new, worker = hired(state)
    new.cancel()
    assert new.run() == CANCELLED
    state.next(worker, 1.0, CANCELLED)
    assert state.tally.cancelled == 1


def test_a_shrink_lets_running_tasks_finish_and_surplus_workers_leave():
    state = Admission(3, 10)
    workers = [hired(state)[1] for _ in range(3)]
    waiting = task(state)
    state.offer(waiting)
    sizes.resize(state, 1, 10, "test", 1.0)
    assert state.running == 3
    assert state.next(workers[0], 2.0, COMPLETED) is Verdict.LEAVE
    assert state.next(workers[1], 2.0, COMPLETED) is Verdict.LEAVE
    assert state.next(workers[2], 2.0, COMPLETED) is waiting
    assert state.change[:3] == (3, 1, "test")


def test_a_shrink_calls_idle_surplus_workers_so_that_they_leave():
    state = Admission(2, 10)
    workers = [hired(state)[1] for _ in range(2)]
    for worker in workers:
        state.next(worker, 1.0, COMPLETED)
    called, _, _ = sizes.resize(state, 1, 10, "test", 1.0)
    assert len(called) == 1
    assert state.next(called[0], 2.0, 0) is Verdict.LEAVE
    assert len(state.staff) == 1


def test_growing_brings_workers_for_what_waits_one_after_the_other():
    state = Admission(1, 10)
    hired(state)
    waiting = [task(state) for _ in range(3)]
    for new in waiting:
        state.offer(new)
    called, _, _ = sizes.resize(state, 4, 10, "test", 1.0)
    for new in waiting:
        (worker,) = called
        assert state.next(started(worker), 1.0, 0) is new
        called = [worker.errand] if worker.errand else []
    assert state.running == 4


def test_after_a_shrink_one_more_starts_if_nothing_ends_for_long():
    state = Admission(2, 10)
    (_, first), (_, second) = hired(state), hired(state)
    sizes.resize(state, 1, 10, "test", 0.0)
    assert state.next(first, 1.0, COMPLETED) is Verdict.LEAVE
    assert state.offer(task(state)) is Verdict.TICK
    assert sizes.stalled(state, 1.0) == ([], [], True)
    assert sizes.stalled(state, 1.0 + sizes.STALL_SECONDS - 1) == ([], [], True)
    (more,), _, again = sizes.stalled(state, 1.0 + sizes.STALL_SECONDS)
    assert isinstance(more, Worker)
    assert again
    assert state.allowed == 2
    # As soon as something ends, the pool is as small again as it was told to be.
    state.next(second, 40.0, COMPLETED)
    sizes.stalled(state, 41.0)
    assert state.allowed == 1


def test_a_shrink_by_which_tasks_wait_is_looked_after_though_nobody_submits_any_more():
    """The tasks that run may wait for those that wait."""
    state = Admission(2, 10)
    hired(state), hired(state)
    assert sizes.resize(state, 1, 10, "test", 0.0) == ([], [], False)
    sizes.resize(state, 2, 10, "test", 0.0)
    state.offer(task(state))
    assert sizes.resize(state, 1, 10, "test", 0.0) == ([], [], True)
    assert sizes.resize(state, 2, 10, "test", 0.0) == ([], [], False)


def test_a_pool_that_was_never_larger_does_not_grow_by_standing_still():
    state = Admission(1, 10)
    hired(state)
    assert state.offer(task(state)) is None
    assert sizes.stalled(state, 1000.0) == ([], [], False)


def standing_still():
    """Return a pool that was larger and in which nothing ends, its one busy worker, and the one that comes in the end."""
    state = Admission(2, 1)
    (_, first), (_, second) = hired(state), hired(state)
    sizes.resize(state, 1, 1, "test", 0.0)
    state.next(first, 1.0, COMPLETED)
    state.offer(task(state))
    lines.line_up(state, task(state), ticket := Ticket())
    assert ticket.verdict is Verdict.FULL
    sizes.stalled(state, 1.0)
    (more,), chores, _ = sizes.stalled(state, 1.0 + sizes.STALL_SECONDS)
    return state, second, started(more), ticket, chores


def test_one_worker_more_is_one_place_more_for_the_line():
    _, _, _, ticket, chores = standing_still()
    assert ticket.verdict is None
    assert chores == [ticket.gate.release]


def test_the_one_more_is_called_to_leave_where_it_is_idle():
    state, second, more, *_ = standing_still()
    state.next(more, 32.0, 0)
    state.next(second, 33.0, COMPLETED)
    for worker in (second, more):
        assert state.next(worker, 34.0, COMPLETED) is Verdict.PARK
    called, _, again = sizes.stalled(state, 35.0)
    assert called == [more]
    assert not again
    assert state.next(more, 36.0, 0) is Verdict.LEAVE
    assert state.staff == {second}


def test_a_refused_thread_leaves_its_task_to_the_others_and_lowers_the_limit():
    state = Admission(3, 10)
    hired(state)
    waiting = task(state)
    refused = state.offer(waiting)
    assert sizes.refused(state, refused) == []
    assert (state.allowed, state.waiting(), state.coming) == (1, 1, 0)
    more, _ = sizes.lift_cap(state)
    assert isinstance(more, Worker)
    assert state.allowed == 3


def test_a_refused_thread_takes_its_task_back_if_there_is_no_other():
    state = Admission(3, 10)
    new = task(state)
    assert sizes.refused(state, state.offer(new)) == [new]
    assert (state.waiting(), len(state.staff), new.place) == (0, 0, GONE)


def test_a_lost_worker_is_replaced():
    state = Admission(1, 10)
    had, worker = hired(state)
    waiting = task(state)
    state.offer(waiting)
    task_of_it, successor, _ = sizes.lost(state, worker)
    assert task_of_it is had
    assert state.next(started(successor), 1.0, 0) is waiting


def test_an_idle_worker_retires_down_to_the_least():
    state = Admission(2, 10, least=1)
    workers = [hired(state)[1] for _ in range(2)]
    for worker in workers:
        state.next(worker, 1.0, COMPLETED)
    assert sizes.retire(state, workers[0]) is True
    assert sizes.retire(state, workers[1]) is False
    assert state.parked == [workers[1]]


def test_a_worker_that_was_called_does_not_retire():
    state = Admission(1, 10, least=0)
    _, worker = hired(state)
    state.next(worker, 1.0, COMPLETED)
    state.offer(task(state))
    assert sizes.retire(state, worker) is False


def test_a_closed_pool_accepts_nothing_and_finishes_what_waits():
    state = Admission(1, 10)
    _, worker = hired(state)
    waiting, lined = task(state), task(state)
    state.offer(waiting)
    state.places = 1
    state.rebound()
    ticket = Ticket()
    assert lines.line_up(state, lined, ticket) is Verdict.FULL
    closing = endings.close(state, SHUT)
    assert (closing.dropped, closing.refused, ticket.verdict) == ([], [], Verdict.CLOSED)
    assert state.offer(task(state)) is Verdict.CLOSED
    assert state.next(worker, 1.0, COMPLETED) is waiting
    assert state.next(worker, 2.0, COMPLETED) is Verdict.LEAVE
    assert state.is_quiet()


def test_a_final_reason_beats_the_one_before_and_no_other():
    state = Admission(1, 10)
    broken = Closed(ValueError, "broken", final=True)
    endings.close(state, SHUT)
    endings.close(state, broken)
    endings.close(state, SHUT)
    assert state.closed is broken


def test_closing_may_take_out_what_waits():
    state = Admission(1, 10)
    hired(state)
    waiting = [task(state) for _ in range(3)]
    for new in waiting:
        state.offer(new)
    waiting[1].cancel()
    closing = endings.close(state, SHUT, drop="cancelled")
    assert closing.dropped == [waiting[0], waiting[2]]
    assert state.tally.cancelled == 3
    assert state.waiting() == 0


def test_quiet_is_told_when_the_last_worker_leaves():
    state = Admission(1, 10)
    _, worker = hired(state)
    endings.close(state, SHUT)
    assert endings.when_quiet(state, print) is False
    assert state.next(worker, 1.0, COMPLETED) is Verdict.LEAVE
    assert worker.chores == [print]
    assert endings.when_quiet(state, print) is True


def test_the_mean_is_of_what_ended_of_late():
    state = Admission(1, math.inf)
    _, worker = hired(state)
    assert state.tally.mean_seconds() is None
    now = 0.0
    for seconds, count in ((1.0, 40), (5.0, 40)):
        for _ in range(count):
            new = task(state)
            state.offer(new)
            now += seconds
            state.next(worker, now, COMPLETED if seconds == 1.0 else FAILED)
        assert state.tally.mean_seconds() == pytest.approx(seconds)


def test_what_an_exception_left_half_done_is_counted_again():
    state = Admission(2, 10)
    _, worker = hired(state)
    state.next(worker, 1.0, COMPLETED)

    def torn():
        state.parked.pop()
        worker.parked = False
        state.running += 5
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        state.enter(torn)
    lost = mending.mend(state, starter=-1)
    assert lost == [worker]  # neither parked nor running: it has to be woken
    assert state.running == 0
    assert state.next(worker, 2.0, 0) is Verdict.PARK


def test_who_interrupts_a_locked_part_leaves_a_note():
    state = Admission(1, 10)
    answers, noted = [], []

    def part():
        answers.append(state.offer(task(state)))
        state.later(lambda: noted.append(state.offer(task(state))))
        assert noted == []

    state.enter(part)
    assert answers == [Verdict.NESTED]
    assert isinstance(noted[0], Worker)


def test_a_forked_child_has_a_closed_pool_with_nothing_in_it():
    state = Admission(1, 1)
    hired(state)
    state.offer(task(state))
    lines.line_up(state, task(state), Ticket())
    mending.after_fork(state, SHUT, None)
    assert (state.running, state.waiting(), len(state.line), len(state.staff)) == (0, 0, 0, 0)
    assert state.offer(task(state)) is Verdict.CLOSED
    assert state.is_quiet()


def test_a_pool_that_shrank_does_not_count_the_time_before_anything_waited():
    state = Admission(2, 10)
    sizes.resize(state, 1, 10, "test", 1000.0)
    hired(state)
    state.offer(task(state))
    assert sizes.stalled(state, 1001.0) == ([], [], True)
    assert sizes.stalled(state, 1002.0) == ([], [], True)
    assert state.extra == 0
    assert sizes.stalled(state, 1001.0 + sizes.STALL_SECONDS)[0], "one more"
    assert state.extra == 1
