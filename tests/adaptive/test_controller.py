"""The controller step by step: what it answers to hand-made samples."""

import itertools

import pytest

from cgexec._adaptive.controller import SLOW_S, Controller
from cgexec._adaptive.pace import Pace
from cgexec._adaptive.samples import between
from support.steps import BASE, Bench


def test_the_first_sample_decides_nothing():
    assert Controller(8, gil=False).step(BASE) is None


def test_it_grows_at_once_while_tasks_wait_and_cpus_are_unused():
    bench = Bench()
    decision = bench.step(0.05, cpu=0.1)
    assert decision.size > 8
    assert decision.reason == "tasks wait, and CPU is left"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"waiting": 0}, "nothing waits", id="nothing-waits"),
        pytest.param({"idle": 1}, "workers are idle", id="idle"),
        pytest.param({"running": 5}, "not all workers have a task yet", id="starting"),
        pytest.param({"held": True}, "memory holds tasks back", id="held"),
        pytest.param({"cpu": 1.92}, "the CPUs are nearly used up", id="nearly-full"),
        pytest.param({"throttled": 0.8}, "the quota runs out in most periods, by others or in bursts", id="throttled"),
        pytest.param({"ceiling": 8}, "at the ceiling", id="ceiling"),
    ],
)
def test_it_does_not_grow(changes, reason):
    bench = Bench()
    decision = bench.step(**changes)
    assert (decision.size, decision.reason) == (8, reason)


def test_a_busy_node_never_makes_it_grow():
    """Ours use little because neighbours have the CPUs; that looks like waiting for a disk but for the run queue."""
    bench = Bench(periods=None, throttled=None, queued=0.0)
    for _ in range(50):
        decision = bench.step(cpu=0.2, queued=7.0, ended=2)
        assert decision.size == 8
        assert "node is busy" in decision.reason


def test_the_quota_of_which_others_use_most_does_not_make_it_shrink():
    bench = Bench()
    assert all(bench.step(cpu=0.3, throttled=1.0, ended=2).size == 8 for _ in range(20))


def test_a_larger_size_that_brings_nothing_is_taken_back_and_tried_ever_more_seldom():
    bench = Bench(gil=True)
    sizes = [bench.step(cpu=0.6, ended=20).size for _ in range(1200)]
    grown = [now for now, (a, b) in enumerate(itertools.pairwise(sizes)) if b > a]
    assert 2 <= len(grown) <= 12  # two minutes
    assert sizes[-1] <= 64  # eight times the first: where it was first seen how fast tasks end


def test_with_an_interpreter_lock_one_used_cpu_needs_evidence():
    bench = Bench(gil=True, locked=0.6)
    assert bench.step(cpu=1.0).reason == "too few tasks have ended at this size to tell"
    assert Bench(gil=False).step(cpu=1.0).size == 15  # two CPUs: half of them is left


def test_fewer_that_use_as_much_are_kept_and_for_long_one_worker_a_cpu():
    bench = Bench()
    sizes = [bench.step(cpu=2.0, throttled=1.0, ended=3).size for _ in range(290)]
    assert sorted(set(sizes), reverse=True) == [8, 4, 2]


def test_calls_with_threads_of_their_own_come_down_to_fewer_than_cpus():
    bench = Bench()
    for _ in range(400):
        bench.step(cpu=2.0, throttled=1.0, ended=3)
    assert bench.controller.size == 1


def test_fewer_that_use_less_are_taken_back():
    bench = Bench()
    for _ in range(30):
        bench.step(cpu=min(2.0, 0.25 * bench.controller.size), throttled=float(bench.controller.size >= 8), ended=3)
    assert bench.controller.size == 8


@pytest.mark.parametrize(
    ("cpu", "seconds", "size"),
    [
        pytest.param(2.0, 0.12, 2, id="as-much-at-once"),
        pytest.param(1.0, 0.12, 4, id="less-not-yet"),
        pytest.param(1.0, 0.22, 8, id="less"),
    ],
)
def test_that_fewer_do_as_much_shows_within_a_quota_period_that_they_do_less_does_not(cpu, seconds, size):
    bench = shrinking(8)
    bench.step(0.05, cpu=2.0, throttled=1.0, ended=3)
    bench.step(seconds, cpu=cpu, throttled=float(cpu == 2.0), ended=3)
    assert bench.controller.size == size


def test_running_surplus_tasks_are_waited_for():
    bench = Bench()
    while bench.controller.size == 8:
        bench.step(cpu=2.0, throttled=1.0)
    assert bench.step(cpu=2.0, throttled=1.0, running=8).reason == "waiting for surplus tasks to end"


def shrinking(size):
    """Return a bench whose CPUs are used up, right after half of the size was taken away on trial."""
    bench = Bench(size, ceiling=200)
    while bench.controller.size == size:
        bench.step(cpu=2.0, throttled=1.0, ended=3)
    return bench


def test_surplus_tasks_that_do_not_use_the_cpus_are_not_waited_for():
    """Forty of 64 workers wait for hours: with 32 no other task would ever start, and the CPUs would be idle."""
    bench = shrinking(64)
    decisions = [bench.step(cpu=0.01, running=40) for _ in range(15)]
    assert decisions[-1].size == 64
    assert "40 workers used 0.01 CPUs, 64 used 2.00" in {each.reason for each in decisions}
    bench.step(cpu=2.0, throttled=1.0, ended=3)
    assert bench.step(cpu=2.0, throttled=1.0, ended=3).reason == "the CPUs are used up, and fewer did less"


def test_surplus_tasks_that_use_the_cpus_are_waited_for():
    bench = shrinking(64)
    assert {bench.step(cpu=1.9, throttled=1.0, running=40).size for _ in range(100)} == {32}


@pytest.mark.parametrize(("ended", "size"), [pytest.param(1, 8, id="few tasks"), pytest.param(40, 16, id="many tasks")])
def test_one_quiet_look_is_other_work_only_where_it_cannot_be_chance(ended, size):
    """A database that serves few: in a tenth of a second one or three may end, and use as much more or less."""
    bench = Bench(gil=True)
    while not bench.controller._up.until:
        bench.step(cpu=0.06, ended=ended)
    for _ in range(6):
        bench.step(cpu=0.06, ended=ended)
    before = bench.controller.size
    assert before <= 64
    bench.step(cpu=0.01, ended=ended)
    assert (bench.controller.size > before) == (size > 8)


def test_what_was_idle_is_not_measured():
    """Computing tasks in bursts: the CPU time of a burst over the minute before it looks like nothing."""
    bench = Bench(2, ceiling=64)
    for _ in range(10):
        assert bench.step(cpu=2.0, throttled=1.0, ended=10).size <= 2
    for _ in range(5):
        bench.last = bench.last._replace(time=bench.last.time + 60)
        bench.controller.begin(bench.last)
        for _ in range(10):
            bench.step(0.05, cpu=2.0, throttled=1.0, ended=5)
            assert bench.controller.size == 2


def test_a_trial_ends_where_there_is_nothing_to_do():
    bench = shrinking(8)
    bench.controller.begin(bench.last._replace(time=bench.last.time + 1))
    assert bench.step(2.0, cpu=0.1, ended=3).reason == "tasks wait, and CPU is left"


def test_of_tasks_that_end_seldom_fewer_are_evidence_after_half_a_minute():
    bench = Bench(gil=True, ceiling=1000)
    sizes = [
        bench.step(cpu=0.02, ended=int(turn % 2 == 0)).size for turn in range(1200)
    ]  # 5 a second, whatever is asked
    assert max(sizes) <= 256


def test_long_tasks_have_as_long_for_evidence_as_they_take():
    pace = Pace(0.0, 5.0)
    for second in range(66):
        pace.feed(
            BASE._replace(time=float(second), ended=second, task_seconds=60.0 * second, running=100),
            pressed=True,
            clear=1.0,
        )
        assert (pace.seen is not None) == (second >= 65)
        assert pace.telling == (second >= 21)


def test_the_memory_gate_shrinks_below_the_floor_and_the_floor_comes_back():
    bench = Bench(floor=4)
    sizes = [bench.step(shut=True).size for _ in range(10)]
    assert sizes[0] == 5
    assert sizes[-1] == 1
    assert bench.step(shut=False).size == 4


def test_lower_limits_are_followed_at_once():
    bench = Bench()
    assert bench.step(ceiling=3).size == 3
    busy = Bench()
    busy.step(cpu=1.92)
    decision = busy.step(cpu=1.92, cpus=1.0)
    assert (decision.size, decision.reason) == (4, "the CPU limit fell")


def test_the_least_allowed_is_followed_at_once():
    assert Bench().step(floor=20).size == 20


def test_minutes_long_tasks_get_more_workers_though_none_has_ended():
    bench = Bench(2, cpus=0.5)
    for _ in range(20):
        bench.step(cpu=0.01)
    assert bench.controller.size >= 16


def test_tasks_that_take_minutes_and_compute_are_not_multiplied_blindly():
    bench = Bench(2, cpus=8.0, gil=False, ceiling=1000)
    for _ in range(20):
        bench.step(cpu=0.45 * 8)
    assert bench.controller.size <= 24


def test_work_that_uses_one_cpu_of_two_is_said_to_look_like_the_interpreter_lock():
    bench = Bench(gil=True)
    reasons = {bench.step(ended=40, cpu=1.0, queued=0.2).reason for _ in range(400)}
    assert "2 workers did 1.00 times what 8 did, about one CPU: as with the interpreter lock" in reasons
    assert bench.controller.plateau


@pytest.mark.parametrize(
    ("step", "some"),
    [
        pytest.param({"cpu": 1.5}, False, id="more than one CPU is used"),
        pytest.param({"cpu": 1.0, "queued": 0.95}, True, id="somebody always waits for a CPU"),
        pytest.param({"cpu": 1.0, "queued": 7.0}, False, id="many wait for a CPU"),
        pytest.param({"cpu": 1.0, "throttled": 0.3}, False, id="the quota runs out by others"),
    ],
)
def test_native_work_is_not_said_to_wait_for_the_interpreter_lock(step, some):
    bench = Bench(gil=True, some=some, queued=0.0)
    reasons = {bench.step(ended=40, **step).reason for _ in range(200)}
    assert not [reason for reason in reasons if "lock" in reason]
    assert not bench.controller.plateau


def test_more_are_tried_before_few_where_one_cpu_is_used():
    """Eight that mostly wait use one CPU of two, as the interpreter lock would have it; sixteen use both."""
    bench = Bench(gil=True)
    sizes = []
    for _ in range(60):
        size = bench.controller.size
        bench.step(cpu=min(1.95, size / 8), ended=5 * size, queued=0.2)
        sizes.append(bench.controller.size)
    assert min(sizes) == 8
    assert sizes[-1] >= 14


def test_few_that_do_many_times_as_much_do_other_work():
    bench = Bench(gil=True)
    while bench.controller.size != 2:
        bench.step(cpu=1.0, ended=20, queued=0.2)
    while bench.controller.size == 2:
        reason = bench.step(cpu=0.3, ended=200).reason
    assert reason == "2 workers did 10.00 times what 8 did: other work"
    assert bench.controller.size == 8
    assert not bench.controller.plateau


def test_what_other_work_did_is_no_measure_for_few():
    """Tasks that wait end a hundred times as often as those that compute in Python, whatever the size."""
    bench = Bench(gil=True, size=50, ceiling=50)
    for _ in range(40):
        bench.step(0.5, cpu=0.2, ended=500)
    reasons = {bench.step(cpu=1.0, ended=5, queued=0.2).reason for _ in range(100)}
    assert not [reason for reason in reasons if " did 0.0" in reason]
    assert bench.controller.size == 1


def test_used_up_cpus_are_seen_though_only_the_time_is_known_in_which_any_thread_waits():
    """Two CPUs used up without a quota that runs out; PSI says 1 of however many threads that wait."""
    bench = Bench(size=50, floor=20, ceiling=50, periods=None, throttled=None, queued=0.0, some=True)
    for _ in range(40):
        bench.step(cpu=1.99, ended=10, queued=0.95)
    assert bench.controller.size == 20
    assert bench.controller.ring.all()[-1].reason == "the CPUs are used up; at the least allowed"


@pytest.mark.parametrize(("ended", "size"), [(40, 25), (0, 50)], ids=["as many", "fewer"])
def test_at_the_most_half_are_kept_if_they_end_as_many_while_threads_wait_for_cpus(ended, size):
    """A busy node: neighbours use some of the CPUs, ours the rest, and no quota runs out."""
    bench = Bench(size=50, floor=20, ceiling=50, periods=None, throttled=None, queued=0.0, some=True)
    for _ in range(60):
        bench.step(cpu=1.3, ended=40 if bench.controller.size == 50 else ended, queued=0.9)
    tried = {each.size for each in bench.controller.ring.all()}
    assert 25 in tried
    assert bench.controller.size == size


def test_a_change_of_work_is_followed_though_more_brought_nothing():
    bench = Bench(gil=True)
    for _ in range(30):
        bench.step(cpu=1.0, ended=20)
    small = bench.controller.size
    for _ in range(10):
        bench.step(cpu=0.02, ended=bench.controller.size)
    assert bench.controller.size >= 4 * small


def test_no_more_threads_start_at_once_than_free_cpu_time_pays_for():
    bench = Bench(200, cpus=0.5, ceiling=1000)
    assert bench.step(cpu=0.3).size == 247  # 18.5 ms are free until the next look, 0.4 ms a thread


def periods(bench, throttled):
    """Step through so many quota periods, and return the decisions; *throttled* is in which the quota ran out."""
    decisions = []
    for ran_out in throttled:
        more = {"periods": bench.last.periods + 1, "throttled": 0.1 * ran_out}  # a tenth of the bench's ten
        decisions.append(bench.step(cpu=1.8, ended=300, **more))
    return decisions


def test_a_quota_that_ran_out_once_is_no_reason_for_fewer():
    assert {each.size for each in periods(Bench(100, ceiling=1000), [turn == 5 for turn in range(30)])} == {100}


def test_a_quota_that_runs_out_now_and_then_is_a_reason_for_a_few_less():
    decisions = periods(Bench(100, ceiling=1000), [turn % 4 == 0 for turn in range(14)])
    assert [each.size for each in decisions[:9]] == [100] * 9  # for a second since all were busy
    assert decisions[-1].size == 94
    assert "the quota runs out now and then" in {each.reason for each in decisions}


def test_of_few_none_is_given_up_for_it():
    assert {each.size for each in periods(Bench(2, ceiling=2), [turn % 4 == 0 for turn in range(30)])} == {2}


def test_steps_too_small_to_show_are_judged_together():
    bench = Bench(100, gil=True, ceiling=1000, periods=None, throttled=None)
    decisions = [bench.step(cpu=1.8, ended=400) for _ in range(30)]
    changes = [each for each in decisions if each.old != each.size]
    assert [(each.old, each.size) for each in changes[:3]] == [(100, 107), (107, 115), (115, 100)]
    assert changes[2].reason == "115 workers did 1.00 times what 100 did"


def test_a_small_step_is_kept_that_ends_more_for_less_cpu_time():
    bench = Bench(100, gil=True, ceiling=1000, periods=None, throttled=None)
    bench.step(cpu=1.8, ended=400)  # the CPUs may become faster, as neighbours on the machine end
    decisions = [bench.step(cpu=1.7, ended=4 * bench.controller.size) for _ in range(30)]
    assert bench.controller.size > 115
    assert all(each.size >= each.old for each in decisions)


def test_a_small_step_of_many_small_tasks_is_judged_by_cpu_time():
    """Else the quota would run out by it."""
    bench = Bench(100, gil=True, ceiling=1000)
    bench.step(cpu=1.7, ended=400)
    reasons = [bench.step(cpu=1.6, ended=4 * bench.controller.size).reason for _ in range(30)]
    assert any("times what 100 did" in reason for reason in reasons)


def test_how_many_the_cpus_need_is_not_remembered_for_ever():
    bench = Bench(100, ceiling=100)
    bench.step(cpu=1.6, ended=1000)
    decisions = [bench.step(cpu=2.0, ended=1000, throttled=1.0) for _ in range(110)]
    tried = [each for each in decisions if each.reason == "the CPUs are used up; do fewer do as much?"]
    assert 10 < tried[0].when < 10.5


def test_a_look_within_a_quota_period_does_not_tell_how_many_the_cpus_need():
    """The quota may have run out in it, which is counted only at the end of the period."""
    bench = Bench(2, cpus=0.5)
    bench.step(0.08, cpu=0.42, ended=2)
    for _ in range(2):
        bench.step(cpu=0.5, throttled=1.0, ended=7)
    assert bench.controller.size == 1


@pytest.mark.parametrize(
    ("ended", "size"), [pytest.param(1000, 100, id="such work"), pytest.param(100, 50, id="other")]
)
def test_how_many_the_cpus_need_is_remembered_for_such_work(ended, size):
    bench = Bench(100, ceiling=100)
    bench.step(cpu=1.6, ended=1000)
    for _ in range(3):
        bench.step(cpu=2.0, ended=ended, throttled=1.0)
    assert bench.controller.size == size


def test_a_rate_is_known_once_enough_have_ended_however_long_tasks_took_before():
    pace = Pace(0.0, 5.0)
    for turn in range(6):
        pace.feed(BASE._replace(time=0.1 * turn, ended=20 * turn), pressed=True, clear=1.0)
    assert pace.seen.rate == pytest.approx(200)


def test_it_waits_ever_more_seldom_for_surplus_tasks_that_take_minutes():
    bench = Bench()
    while bench.controller.size == 8:
        bench.step(cpu=2.0, throttled=1.0)
    intervals = []
    for _ in range(40):
        bench.step(intervals[-1] if intervals else 0.1, cpu=2.0, throttled=1.0, running=8)
        intervals.append(bench.controller.interval)
    assert intervals == sorted(intervals)
    assert intervals[0] <= 0.1
    assert intervals[-1] == SLOW_S


def test_decisions_are_kept_and_repeats_counted():
    bench = Bench()
    for _ in range(5):
        bench.step(waiting=0)
    (only,) = bench.controller.ring.all()
    assert (only.times, only.since, round(only.when, 1)) == (5, 0.1, 0.5)
    assert "0.00 of 2 CPUs" in only.facts


def test_the_ring_is_short():
    bench = Bench()
    for number in range(100):
        bench.step(waiting=number % 2, cpu=1.92)
    assert len(bench.controller.ring.all()) <= 32


def test_it_looks_quickly_while_there_is_something_to_find_and_seldom_later():
    bench = Bench()
    assert bench.controller.interval <= 0.05
    for _ in range(30):
        bench.step(cpu=1.92)
    assert bench.controller.interval == 0.5


def test_counters_that_start_again_do_no_harm():
    view = between(BASE._replace(periods=100, throttled=90, cpu_seconds=5.0, ended=9), BASE._replace(time=0.1))
    assert (view.throttled, view.cpu, view.ended) == (0.0, 0.0, 0)
