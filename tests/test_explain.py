"""What people read: the reasons, and the warnings."""

import pytest

from cgexec import recommend
from cgexec._advice import Siblings, advice
from support.values import GIB, MIB, make_limits, make_usage

REQUESTS = make_limits(cpu_request=0.1, memory_request=GIB)


def explained(limits=REQUESTS, usage=None, **said):
    return recommend(limits=limits, usage=usage or make_usage(process_bytes=300 * MIB), **said).explain()


def line(text, start):
    return next(row for row in text.split("\n") if row.strip().startswith(start))


def test_first_line_is_the_verdict():
    assert explained().split("\n")[0] == "start 8 workers, may grow to 1000; 20 if jobs wait 90 % of their time"
    assert explained(processes=4).startswith("start 2 workers in each of 4 processes, may grow to 1000; 5 if")
    assert explained(io_ratio=0.9).startswith("start 20 workers, may grow to 1000\n")
    assert explained(memory_per_task="8Gi").startswith("start 1 worker, and even one task may not fit")


def test_every_term_stands_there_and_one_binds():
    text = explained(memory_per_task="200Mi", io_ratio=0.9)
    assert line(text, "CPU ").split()[1] == "20"
    assert line(text, "memory ").split()[1] == "15"
    assert line(text, "memory ").endswith("<- binds")
    assert line(text, "tasks (pids)").split()[2] == "none"
    assert line(text, "GIL").split()[1] == "10"
    assert line(text, "cap").split()[1] == "1000"
    assert text.count("<- binds") == 1


def test_what_each_worker_may_hold_of_limit_and_request():
    text = explained(memory_per_task="10Mi", io_ratio=0.9)
    rows = {
        row.split()[0]: row for row in text.split("\n") if row.strip()[:2].isdigit() or row.strip().startswith("8 ")
    }
    # (4096 - 614.4 - 300) / n and (1024 - 153.6 - 300) / n MiB
    assert "398 MiB" in rows["8"]
    assert "71.3 MiB" in rows["8"]
    assert "159 MiB" in rows["20"]
    assert "63.6 MiB" in rows["50"]


def test_requests_are_told_apart_from_limits():
    text = explained(memory_per_task="200Mi", io_ratio=0.9)
    assert "The requests cover 1 worker by CPU and 2 workers by memory; the limits allow 15 workers." in text
    assert "not what a task uses" in text
    assert "evicted when the node runs short" in text


def test_equal_numbers_that_mean_different_things_are_pointed_out():
    assert "are both 0.1 means nothing" in explained(cpu_per_task=0.1)
    assert "means nothing" not in explained(cpu_per_task=0.2)


def test_unknown_requests_are_said_to_be_unknown():
    text = explained(make_limits())
    assert "cannot see them" in text
    assert "CGEXEC_CPU_REQUEST" in text


def test_what_would_change_the_answer_is_computed():
    text = explained()
    assert "2 at 0 %, 4 at 50 %, 20 at 90 %, 50 at 96 % of waiting" in text
    assert 'memory_per_task="200Mi" would give 8' in text
    assert "(processes=4): 2 in each" in text
    text = explained(memory_per_task="200Mi", io_ratio=0.9)
    assert "half the memory per task: 20" in text
    assert "twice the memory limit: 20" in text


def test_a_floor_is_said_to_be_one():
    text = explained(make_limits(cpus=0.1, cpu_quota=0.1))
    assert "<- below what a pool can have" in line(text, "CPU ")


def test_process_workers_say_what_they_are():
    assert "each process has its own" in explained(kind="process")


def test_notes_are_repeated():
    assert "- something odd" in explained(make_limits(notes=("something odd",)))


def advised(limits=REQUESTS, siblings=(), **used):
    usage = make_usage(**used)
    answer = recommend(limits=limits, usage=usage)
    return list(advice(limits, usage, answer, answer.workload, siblings))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "the memory limit is 4 times the request"),
        ({}, "the CPU limit is 20 times the request: on a busy node this container may get 0.1 CPU of its 2 CPUs"),
        (
            {"limits": make_limits(cpus=0.1, cpu_quota=0.1)},
            "a quota of 0.1 CPU stops every thread once it has run 10 ms",
        ),
        ({"working_set_bytes": 2 * GIB}, "above the memory request of 1 GiB"),
        ({"oom_kills": 2}, "the kernel has killed 2"),
        ({"nr_periods": 100, "nr_throttled": 40}, "40% of the quota's periods were throttled"),
        ({"limits": make_limits(oom_group=True)}, "takes every process"),
        (
            {
                "limits": make_limits(pids_limit=50, sources={"pids_limit": "/x/pids.max"}),
                "pids": 20,
                "pids_headroom": 30,
            },
            "only 30 more tasks (threads count) may be started: /x/pids.max",
        ),
        ({"siblings": (Siblings(4, "gunicorn", 7),)}, "set CGEXEC_PROCESSES=4 to divide"),
    ],
)
def test_what_will_hurt_is_said(arguments, words):
    assert any(words in sentence for sentence in advised(**arguments))


def test_a_calm_container_gets_no_advice():
    assert advised(make_limits(cpu_request=2, memory_request=4 * GIB), nr_periods=100, nr_throttled=1) == []


def test_few_periods_say_nothing_about_throttling():
    assert not any("throttled" in sentence for sentence in advised(make_limits(), nr_periods=3, nr_throttled=3))


def test_tasks_that_are_used_up_are_none_and_not_a_negative_number():
    limits = make_limits(pids_limit=0, sources={"pids_limit": "/x/pids.max"})
    assert any(sentence.startswith("only 0 more tasks") for sentence in advised(limits, pids=9, pids_headroom=-9))
