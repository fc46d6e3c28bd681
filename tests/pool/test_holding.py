"""What memory holds back, on the state machine alone: budgets are given by hand."""

import math
import threading
import time

import pytest

from cgexec._pool import holding, lines
from cgexec._pool.admission import Admission
from cgexec._pool.holding import Funds
from cgexec._pool.price import Price
from cgexec._pool.records import Ticket, Verdict, Worker
from cgexec._pool.task import COMPLETED, STARVED, Extra
from support.pools import Prices, started, task

NONE = Funds(bounded=True)


def machine(limit=4, price=10.0):
    state = Admission(limit, math.inf)
    state.price = Prices(lambda _: price)
    return state


def fund(state, funds):
    worker, _ = holding.fund(state, funds, holding.need(state, None), 0.0)
    return worker


def test_without_a_bound_nothing_is_asked():
    state = machine()
    new = task(state)
    assert state.next(started(state.offer(new)), 0.0, 0) is new


def test_a_task_that_is_not_afforded_waits_and_its_worker_looks_once_then_parks():
    state = machine()
    fund(state, NONE)
    worker = started(state.offer(task(state)))
    assert state.next(worker, 1.0, 0) is Verdict.LOOK
    assert state.next(worker, 1.0, 0) is Verdict.PARK
    assert (state.held, state.held_since, state.waiting()) == (True, 1.0, 1)
    assert state.offer(task(state)) is None, "while something is held nobody is woken for more"


def test_a_budget_starts_as_much_as_it_covers_and_no_more():
    state = machine()
    fund(state, Funds(bounded=True, budget=25.0))
    workers = [started(state.offer(task(state)))]
    while isinstance(workers[-1], Worker) and state.next(workers[-1], 0.0, 0).__class__ is not Verdict:
        more = state.offer(task(state))
        assert isinstance(more, Worker)
        workers.append(started(more))
    assert state.running == 2


def test_a_new_budget_wakes_the_parked_worker():
    state = machine()
    fund(state, NONE)
    worker = started(state.offer(task(state)))
    state.next(worker, 0.0, 0)
    state.next(worker, 0.0, 0)
    assert fund(state, Funds(bounded=True, budget=9.0)) is None
    assert fund(state, Funds(bounded=True, budget=10.0)) is worker
    assert not isinstance(state.next(worker, 0.0, 0), Verdict)
    assert not state.held


def test_what_started_while_somebody_looked_is_taken_off():
    state = machine()
    fund(state, Funds(bounded=True, budget=15.0))
    seen = holding.need(state, None)
    worker = started(state.offer(task(state)))
    assert not isinstance(state.next(worker, 0.0, 0), Verdict)
    holding.fund(state, Funds(bounded=True, budget=15.0, spare=True), seen, 0.0)
    assert (state.budget, state.spare) == (5.0, False)


def test_a_price_is_asked_once_a_look_and_for_each_task_that_has_its_own():
    asked = []
    state = machine()
    state.price = Price(lambda each: asked.append(each) or 1.0)
    first, second, own = task(state), task(state), task(state)
    second.fn = first.fn
    own.fn, own.extra = first.fn, Extra(memory=5)
    assert [state.price(each) for each in (first, second, own, second)] == [1.0] * 4
    assert asked == [first, own]
    fund(state, NONE)
    state.price(second)
    assert asked == [first, own, second]


def test_what_waits_for_a_worker_has_not_been_held_since_memory_was_short():
    state = machine(limit=1)
    fund(state, NONE)
    worker = started(state.offer(task(state)))
    state.offer(task(state))
    state.next(worker, 1.0, 0)
    state.next(worker, 1.0, 0)
    assert state.held_since == 1.0
    fund(state, Funds(bounded=False))
    assert not isinstance(state.next(worker, 2.0, 0), Verdict)
    assert (state.held_since, state.waiting()) == (None, 1)


def test_of_those_that_may_run_submitters_take_their_part():
    state = machine()
    state.inline[task(state)] = 0.0
    fund(state, Funds(bounded=True, budget=50.0, most=3))
    assert state.most == 2, "what is left for workers"


def other():
    """Be another function."""


def test_what_was_started_last_is_known_and_not_what_was_held():
    state = machine()
    state.price = Price(lambda each: 100.0 if each.fn is other else 1.0)
    fund(state, Funds(bounded=True, budget=50.0))
    run(state, nothing)
    assert run(state, other)[1] is Verdict.LOOK
    assert state.price.asked
    assert state.begun is nothing.__code__


def test_how_long_calls_last_is_known_of_those_that_counted_with_something():
    state = machine()
    state.price = Price(lambda each: 0.0 if each.fn is other else 1.0)
    fund(state, Funds(bounded=True, budget=50.0))
    for fn in (nothing, nothing, other):
        worker, _ = run(state, fn)
        state.next(worker, 2.0, COMPLETED)
    ended, later = (holding.need(state, None).lasted for _ in range(2))
    assert list(ended) == [(nothing.__code__, 2, 4.0)]
    assert not later


def priced(state, prices):
    """Have the state machine ask for prices by function, and note whose it asked for."""
    asked = []
    state.price = Prices(lambda each: asked.append(each.fn) or prices[each.fn])
    return asked


def nothing():
    """Need nothing."""


def run(state, fn, extra=None):
    """Hand in a task and have a worker ask for it; return the answer."""
    new = task(state)
    new.fn, new.extra = fn, extra
    worker = state.offer(new)
    if worker.handed:
        worker.handed = False
        return worker, worker.task
    return worker, state.next(started(worker), 0.0, 0)


def test_the_price_of_a_function_that_needs_nothing_is_asked_once_a_look():
    state = machine(limit=9)
    asked = priced(state, {nothing: 0.0})
    fund(state, Funds(bounded=True, budget=5.0))
    for _ in range(3):
        assert run(state, nothing)[1].fn is nothing
    assert len(asked) == 1
    fund(state, Funds(bounded=True, budget=5.0))
    run(state, nothing)
    assert len(asked) == 2, "it may need more by now"


def test_a_call_with_an_estimate_of_its_own_is_asked_about_whatever_its_function_needs():
    state = machine()
    asked = priced(state, {nothing: 0.0})
    fund(state, Funds(bounded=True, budget=5.0))
    run(state, nothing)
    run(state, nothing, Extra(memory=1 << 30))
    assert len(asked) == 2


def test_what_needs_nothing_is_held_with_the_rest_once_memory_ran_out():
    state = machine()
    state.guarded = True
    priced(state, {nothing: 0.0})
    fund(state, Funds(bounded=True, budget=5.0))
    worker, _ = run(state, nothing)
    run(state, nothing)
    state.offer(task(state))
    state.queue[-1].fn = nothing
    assert state.next(worker, 0.0, STARVED) is Verdict.LOOK


def test_what_needs_nothing_keeps_to_the_number_that_may_run():
    state = machine()
    priced(state, {nothing: 0.0})
    fund(state, Funds(bounded=True, budget=5.0, most=2))
    assert [run(state, nothing)[1].__class__ is Verdict for _ in range(3)] == [False, False, True]


def test_one_may_start_whatever_it_needs_where_the_look_says_so():
    state = machine()
    fund(state, Funds(bounded=True, budget=-math.inf, spare=True))
    worker = started(state.offer(task(state)))
    assert not isinstance(state.next(worker, 0.0, 0), Verdict)
    second = started(state.offer(task(state)))
    assert state.next(second, 0.0, 0) is Verdict.LOOK


def test_an_idle_worker_is_not_handed_what_is_not_afforded():
    state = machine()
    first = task(state)
    worker = started(state.offer(first))
    state.next(worker, 0.0, 0)
    assert state.next(worker, 0.0, COMPLETED) is Verdict.PARK
    fund(state, NONE)
    assert state.offer(task(state)) is worker, "called to look, with no task in hand"
    assert worker.task is None


def test_with_the_gate_closed_no_more_is_accepted_than_runs():
    state = machine()
    worker = started(state.offer(task(state)))
    state.next(worker, 0.0, 0)
    fund(state, Funds(bounded=True, budget=-math.inf, shut=True))
    answers = [state.offer(task(state)) for _ in range(4)]
    assert answers[-1] is Verdict.FULL
    assert state.waiting() == state.running + 1
    fund(state, Funds(bounded=False))
    assert state.offer(task(state)) is not Verdict.FULL


def test_with_the_gate_closed_and_no_places_one_is_accepted_where_nothing_runs():
    state = Admission(4, 0)
    state.price = Prices(lambda _: 10.0)
    first, lined = task(state), task(state)
    worker = started(state.offer(first))
    assert state.next(worker, 0.0, 0) is first
    fund(state, Funds(bounded=True, budget=-math.inf, shut=True))
    assert state.offer(task(state)) is Verdict.FULL, "something runs"
    assert lines.line_up(state, lined, Ticket()) is Verdict.FULL
    assert state.next(worker, 1.0, COMPLETED) is Verdict.LOOK, "the head of the line has come in"
    assert (list(state.queue), len(state.line)) == ([lined], 0)
    assert state.offer(task(state)) is Verdict.FULL, "one is enough to have memory looked at"


def test_where_only_observed_it_starts_and_is_counted():
    state = machine()
    state.observe = True
    fund(state, NONE)
    worker = started(state.offer(task(state)))
    assert not isinstance(state.next(worker, 0.0, 0), Verdict)
    assert state.tally.would_hold == 1


def test_a_closed_pool_keeps_its_worker_for_what_is_held():
    from cgexec._pool import endings
    from cgexec._pool.hands import SHUT_DOWN

    state = machine()
    fund(state, NONE)
    worker = started(state.offer(task(state)))
    state.next(worker, 0.0, 0)
    state.next(worker, 0.0, 0)
    endings.close(state, SHUT_DOWN)
    assert state.next(worker, 0.0, 0) is Verdict.LOOK
    assert state.next(worker, 0.0, 0) is Verdict.PARK
    assert fund(state, Funds(bounded=False)) is worker
    assert not isinstance(state.next(worker, 0.0, 0), Verdict)
    assert state.next(worker, 0.0, COMPLETED) is Verdict.LEAVE


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_a_closed_pool_lets_its_workers_go_when_what_was_held_is_gone(how):
    from cgexec._pool import endings
    from cgexec._pool.hands import SHUT_DOWN

    state = machine()
    fund(state, NONE)
    held = task(state)
    worker = started(state.offer(held))
    endings.expect(state, held, 5.0)
    state.next(worker, 0.0, 0)
    assert state.next(worker, 0.0, 0) is Verdict.PARK
    endings.close(state, SHUT_DOWN)
    assert state.next(worker, 0.0, 0) is Verdict.LOOK
    assert state.next(worker, 0.0, 0) is Verdict.PARK
    if how == "cancelled":
        assert held.cancel()
    else:
        assert endings.find_late(state, 10.0, SHUT_DOWN.make).expired == [held]
    assert fund(state, NONE) is worker, "the next look calls it, though there is no memory"
    assert state.next(worker, 0.0, 0) is Verdict.LEAVE
    assert state.is_quiet()


def test_what_a_running_task_waits_for_comes_first():
    state = machine()
    fund(state, NONE)
    waiting = [task(state) for _ in range(3)]
    for each in waiting:
        state.offer(each)
    waiting[2].nested = True
    assert holding.bring_forward(state) is None, "nobody waits for it"
    waiter = threading.Thread(target=lambda: waiting[2].exception(60))
    waiter.start()
    try:
        end = time.monotonic() + 60
        while holding.bring_forward(state) is None:
            assert time.monotonic() < end
        assert list(state.queue) == [waiting[2], waiting[0], waiting[1]]
    finally:
        waiting[2].end(ValueError())
        waiter.join(60)


def test_a_hold_ends_with_each_start():
    state = machine()
    fund(state, NONE)
    worker = started(state.offer(task(state)))
    state.offer(task(state))
    state.next(worker, 1.0, 0)
    state.next(worker, 1.0, 0)
    assert state.held_since == 1.0
    fund(state, Funds(bounded=True, budget=-math.inf, spare=True))
    assert state.next(worker, 2.0, 0).__class__ is not Verdict
    assert state.held_since is None
