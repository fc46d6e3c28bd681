"""Lines of the log that somebody reads at three in the morning: event, pool, numbers, names, what to do."""

import functools
import logging
import math
import re
from contextvars import copy_context
from types import SimpleNamespace

import pytest

import cgexec
from cgexec._memory.gauge import Reading
from cgexec._memory.planner import Planner
from cgexec._pool.holding import need
from cgexec._pool.overdue import function_name
from cgexec._pool.reports import Reports
from cgexec._pool.saturation import Saturation, places_taken
from cgexec._pool.task import Task
from support.pools import holding

MIB = 1 << 20
MEMORY = Reading(900 * MIB, 1024 * MIB, "/sys/fs/cgroup/memory.max", None, 1, 0)


def test_refusals_are_logged_at_once_and_then_once_a_minute(caplog):
    with cgexec.ThreadPoolExecutor(1, name="jobs", queue_size=1, when_full="raise") as pool, holding(pool, 1) as hold:
        hold.queue(1)

        def refuse():
            with pytest.raises(cgexec.QueueFull):
                pool.submit(int)

        refuse()
        refuse()
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert re.match(
            r"\[pool-saturated\] pool 'jobs' refuses tasks \(1 for queue since this was last said\): "
            r"1 of 1 places taken, 1 of 1 workers busy, the oldest has waited for \S+ s, "
            r"support.pools.Hold.task has been running for \S+ s. Hand in less",
            record.getMessage(),
        )
        pool._cgexec_pool.door._saturation._next = 0.0  # a minute later
        refuse()
        assert "(2 for queue since this was last said)" in caplog.records[-1].getMessage()


def test_a_hold_that_comes_and_goes_is_one_hold(caplog):
    planner = Planner()
    planner.reading = MEMORY
    reports = Reports()
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool, holding(pool, 1) as hold:
        hold.queue(1)
        seen = need(pool._cgexec_pool.state, None)
        for now in range(10, 70, 3):  # each time held for ten seconds again, with a start in between
            reports.held([("jobs", seen._replace(held_since=now - 10.0))], planner, now)
            reports.held([("jobs", seen._replace(held_since=None))], planner, now + 1)
    assert len(caplog.records) == 1


def test_what_would_be_held_is_said_as_often_as_it_doubles(caplog):
    caplog.set_level(logging.INFO, "cgexec")
    reports = Reports()
    for count in range(1, 10):
        reports.observed("jobs", count)
    assert [line.partition("enforced, ")[2].split()[0] for line in caplog.messages] == ["1", "2", "4", "8"]


def test_a_pool_that_memory_holds_is_not_told_to_have_more_workers(caplog):
    with cgexec.ThreadPoolExecutor(2, name="jobs", queue_size=1) as pool, holding(pool, 2) as hold:
        hold.queue(1)
        state = pool._cgexec_pool.state
        Saturation().refused("jobs", state, "memory", MEMORY, 0.0)
        assert caplog.messages[-1].endswith(
            ", 900 MiB of 1 GiB of memory in use. Hand in less, make tasks shorter, or have more workers or replicas."
        )
        state.held_since = 0.0
        Saturation().refused("jobs", state, "memory", MEMORY, 0.0)
        state.held_since = None
        assert caplog.messages[-1].endswith("Lower the memory of a task, raise the limit, or have more replicas.")


def test_what_takes_no_place_is_not_counted_among_the_places():
    assert places_taken(1, 1) == "1 of 1 places taken"
    assert places_taken(17, 10) == "10 of 10 places taken and 7 more waiting"
    assert places_taken(17, math.inf) == "17 of inf places taken"


def test_the_function_is_named_that_somebody_would_look_for():
    def task(fn, *args):
        made = Task()
        made.fn, made.args = fn, args
        return made

    here = f"{__name__}.test_the_function_is_named_that_somebody_would_look_for.<locals>.task"
    assert function_name(task(task)) == here
    assert function_name(task(functools.partial(copy_context().run, task))) == here  # asyncio.to_thread
    assert function_name(task(pow)) == "pow"
    assert function_name(task(functools.lru_cache(task))) == here
    assert function_name(task(pytest.raises)) == "_pytest.raises.raises"


def test_a_long_hold_is_a_warning_and_again_when_it_has_doubled(caplog):
    planner = Planner()
    planner.reading = MEMORY
    reports = Reports()
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool, holding(pool, 1) as hold:
        hold.queue(2)
        state = pool._cgexec_pool.state
        seen = need(state, None)._replace(held_since=100.0)
        waiting_since = seen.head.since
        for seconds, said in ((9, 0), (10, 1), (15, 1), (20, 2)):
            now = 100.0 + seconds
            shifted = seen._replace(busy=[(seen.busy[0][0], now - 60)])
            seen.head.since = now - 30
            reports.held([("jobs", shifted)], planner, now)
            assert len(caplog.records) == said
        seen.head.since = waiting_since
    record = caplog.records[0]
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "[memory-held] pool 'jobs': 2 waiting have been held back for 10 s by memory: 900 MiB of 1 GiB in use "
        "(/sys/fs/cgroup/memory.max), 1 running, the longest support.pools.Hold.task for 60 s; the oldest has waited "
        "for 30 s. Lower max_workers or the memory of a task, or raise the limit."
    )


def test_a_change_of_size_is_information(caplog):
    caplog.set_level(logging.INFO, "cgexec")
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool:
        pool.resize(5)
        pool.resize(5)
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (logging.INFO, "[size-changed] pool 'jobs': 2 -> 5, resize(5)")
    ]


def said(caplog):
    texts = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return texts


def test_what_the_container_has_been_through_is_said_once(caplog):
    caplog.set_level(logging.INFO)
    reports = Reports()
    for processes in (3, 3, 2, 4):
        reports.start(MEMORY._replace(oom_kills=2, processes=processes))
    killed, shared, more = said(caplog)
    assert killed.startswith("[memory-oom-kills] the kernel has killed 2 process(es) of this container for memory")
    assert shared.startswith("[memory-shared] 3 processes share the memory limit of 1 GiB")
    assert more.startswith("[memory-shared] 4 processes share")


def test_a_task_that_does_not_fit_even_alone_is_said_once_a_function(caplog):
    planner = Planner()
    reports = Reports()
    with cgexec.ThreadPoolExecutor(1, name="jobs") as pool, holding(pool, 1) as hold:
        task = hold.queue(1)[0]
        reports.alone("jobs", task, 1e12, planner)  # nothing is known yet
        planner.reading = MEMORY
        reports.alone("jobs", task, 100 * MIB, planner)  # it fits
        assert said(caplog) == []
        for _ in range(2):
            reports.alone("jobs", task, 200 * MIB, planner)
    (text,) = said(caplog)
    assert text.startswith(
        "[memory-too-large] pool 'jobs': support.pools.Hold.task needs about 200 MiB, and only 124 MiB of 1 GiB are"
    )


def test_estimates_that_are_too_small_are_said_as_they_turn_out_worse(caplog):
    reports = Reports()
    for correction in (1.2, 1.3, 1.5, 2.0):
        reports.held([], SimpleNamespace(reading=MEMORY, correction=correction), 0.0)
    assert [re.search(r"tasks take (\S+) times", text)[1] for text in said(caplog)] == ["1.3", "2.0"]


def test_memory_that_cannot_be_read_is_said_until_it_can(caplog):
    reports = Reports()
    for _ in range(2):
        reports.blind(["memory.max: Permission denied"])
    (text,) = said(caplog)
    assert text.startswith("[memory-unreadable]")
    assert text.endswith("(memory.max: Permission denied)")
    reports.sighted()
    reports.blind(["memory.max: Permission denied"])
    assert said(caplog) == [text]


def test_memory_that_cannot_be_read_is_said_though_no_file_is_there_to_refuse(caplog):
    Reports().blind([])
    (text,) = said(caplog)
    assert text.endswith("(the files are not there)")


def test_looks_that_fail_are_said_ever_more_rarely(caplog):
    reports = Reports()
    for _ in range(9):
        reports.trouble(OSError("no"))
    assert [re.search(r"(\d+) times so far", text)[1] for text in said(caplog)] == ["1", "2", "4", "8"]
