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
    assert "The requests cover 1 worker by CPU and 2 workers by memory; the recommendation is 15 workers." in text
    assert "not what a task uses" in text
    assert "evicted when the node runs short" in text


FREE = {"cpu_quota": None, "memory_limit": None}
HOST = {"cpus": "host", "memory_bytes": "/proc/meminfo (MemTotal)"}
HIGH = {"memory_high": 4 * GIB, "sources": {"memory_bytes": "/x/memory.high"}}
TOLD = {"cpus": 3.0, "memory_bytes": 2 * GIB, "sources": {"cpus": "CGEXEC_CPUS", "memory_bytes": "CGEXEC_MEMORY"}}


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        pytest.param(
            {},
            [
                "The limit of 2 CPUs is what the kernel enforces, by throttling.",
                "The limit of 4 GiB is where the kernel kills.",
            ],
            id="limits",
        ),
        pytest.param(
            {**FREE, "sources": HOST},
            [
                "No CPU limit is visible: beyond the request there is what others leave. cgexec plans with the 2 CPUs of the machine.",
                "No memory limit is visible; without one the kernel kills when the machine's memory is used up.",
                "used up. cgexec plans with 4 GiB (/proc/meminfo (MemTotal)).",
            ],
            id="requests-alone",
        ),
        pytest.param(
            {**FREE, **TOLD},
            [
                "No CPU limit is visible: beyond the request there is what others leave. cgexec plans with 3 CPUs (CGEXEC_CPUS).",
                "the machine's memory is used up. cgexec plans with 2 GiB (CGEXEC_MEMORY).",
            ],
            id="told",
        ),
        pytest.param(
            TOLD,
            [
                "The limit of 2 CPUs is what the kernel enforces, by throttling. cgexec plans with 3 CPUs (CGEXEC_CPUS).",
                "The limit of 4 GiB is where the kernel kills. cgexec plans with 2 GiB (CGEXEC_MEMORY).",
            ],
            id="told-beside-limits",
        ),
        pytest.param(
            {**HIGH, "memory_limit": None},
            ["memory.high, 4 GiB, the kernel throttles every allocation; no limit at which it kills is visible."],
            id="memory.high",
        ),
        pytest.param(
            {**HIGH, "memory_limit": 8 * GIB},
            ["Above memory.high, 4 GiB, the kernel throttles every allocation; it kills at 8 GiB."],
            id="memory.high-below-the-limit",
        ),
        pytest.param(
            {"memory_high": 8 * GIB},
            ["The limit of 4 GiB is where the kernel kills."],
            id="memory.high-above-the-limit",
        ),
    ],
)
def test_what_the_kernel_does_is_said_of_what_is_set(changes, sentences):
    text = explained(make_limits(**{"cpu_request": 0.1, "memory_request": GIB, **changes}))
    for sentence in sentences:
        assert sentence in text
    assert ("is where the kernel kills" in text) == any("where the kernel kills" in each for each in sentences)
    assert ("by throttling" in text) == (changes.get("cpu_quota", 2.0) is not None)


def test_a_limit_that_is_not_seen_is_not_said_to_be_none():
    text = explained(make_limits(**FREE, sources=HOST, cpu_request=0.1))
    assert "no limit on CPUs is visible, nothing is said about I/O: min(32, CPUs + 4)" in text
    realtime = make_limits(**FREE, sources={**HOST, "cpu_quota": "ignored under SCHED_FIFO"}, cpu_request=0.1)
    assert "No CPU limit applies: beyond the request" in explained(realtime)


def test_a_number_that_is_no_limit_is_not_called_one():
    text = explained(make_limits(**FREE, sources=HOST), memory_per_task="200Mi", io_ratio=0.9)
    assert "the limit" not in text.lower()
    assert "twice the machine's memory: 20" in text
    assert "of the memory" in text
    assert "twice CGEXEC_MEMORY: 15" in explained(make_limits(**FREE, **TOLD), memory_per_task="200Mi", io_ratio=0.9)


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


def test_headroom_of_now_is_explained_and_grows_with_the_limit():
    usage = make_usage(headroom_bytes=4 * GIB)
    text = explained(make_limits(), usage, basis="now", processes=4)
    assert "headroom now 4 GiB less reserve 614 MiB, / 4 processes = 870 MiB, / 256 KiB per worker" in text
    text = explained(make_limits(cpus=8), usage, basis="now", memory_per_task="200Mi", io_ratio=0.9)
    assert line(text, "memory ").split()[1] == "17"
    assert "twice the memory limit: 34" in text


def test_a_floor_is_said_to_be_one():
    text = explained(make_limits(cpus=0.1, cpu_quota=0.1))
    assert line(text, "CPU ").endswith("at least 2   <- the least where nothing is said")
    assert text.split("\n")[0] == "start 2 workers, may grow to 1000"  # and not fewer for jobs that wait more
    text = explained(make_limits(memory_bytes=16 * MIB))
    assert line(text, "memory ").endswith("<- below what a pool can have")


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
        ({"limits": make_limits(memory_request=MIB)}, "the memory limit is 4096 times the request"),
        ({"limits": make_limits(cpu_request=0.001)}, "the CPU limit is 2000 times the request"),
        ({}, "the CPU limit is 20 times the request: on a busy node this container may get 0.1 CPU of its 2 CPUs"),
        (
            {"limits": make_limits(**FREE, sources=HOST, cpu_request=0.1)},
            "the machine's number of CPUs is 20 times the request",
        ),
        (
            {"limits": make_limits(cpus=1, sources={"cpus": "CPU affinity"}, cpu_request=0.1)},
            "the number of CPUs (CPU affinity) is 10 times the request",
        ),
        (
            {"limits": make_limits(**FREE, sources=HOST, memory_request=GIB)},
            "the machine's memory is 4 times the request",
        ),
        ({"limits": make_limits(**FREE, **HIGH, memory_request=GIB)}, "memory.high is 4 times the request"),
        ({"limits": make_limits(**{**FREE, **TOLD}, memory_request=GIB // 2)}, "CGEXEC_MEMORY is 4 times the request"),
        (
            {"limits": make_limits(cpus=0.1, cpu_quota=0.1)},
            "a quota of 0.1 CPU stops every thread once together they have run for 10 % of a period",
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


def test_what_others_use_in_a_level_above_is_no_use_of_this_pods_request():
    assert not any("evicted" in each for each in advised(make_limits(memory_request=4 * GIB), working_set_bytes=GIB))
    limits = make_limits(memory_request=GIB, memory_bytes=2 * GIB)
    assert any("evicted" in each for each in advised(limits, working_set_bytes=3 * GIB))
    assert not any("evicted" in each for each in advised(limits, working_set_bytes=3 * GIB, level_is_own=False))


def test_tasks_are_counted_against_the_level_with_the_least_room():
    limits = make_limits(pids_limit=40, sources={"pids_limit": "/x/own/pids.max"})
    used = {"pids": 51, "pids_headroom": 9, "sources": {"pids_headroom": "/x/pids.max"}}
    assert "60 tasks allowed, 51 in use, 8 kept   <- binds" in explained(limits, make_usage(**used))
    assert "only 9 more tasks (threads count) may be started: /x/pids.max" in advised(limits, **used)


def test_few_periods_say_nothing_about_throttling():
    assert not any("throttled" in sentence for sentence in advised(make_limits(), nr_periods=3, nr_throttled=3))


def test_tasks_that_are_used_up_are_none_and_not_a_negative_number():
    limits = make_limits(pids_limit=0, sources={"pids_limit": "/x/pids.max"})
    assert any(sentence.startswith("only 0 more tasks") for sentence in advised(limits, pids=9, pids_headroom=-9))
