"""What a pool takes from its arguments and from the environment, and what it refuses."""

import asyncio
import inspect
import json
import os
import subprocess
import sys
from concurrent.futures import wait
from contextvars import ContextVar

import pytest

import cgexec
from support.pools import SOON, holding
from support.values import make_limits, make_usage

POD = {
    "limits": make_limits(cpus=2.0, cpu_quota=2.0, memory_bytes=4 << 30, memory_limit=4 << 30),
    "usage": make_usage(),
}


def limit_of(**arguments):
    with cgexec.ThreadPoolExecutor(**arguments) as pool:
        return pool.stats().limit


def test_it_takes_all_that_recommend_takes():
    ours = inspect.signature(cgexec.ThreadPoolExecutor).parameters
    for name, parameter in inspect.signature(cgexec.recommend).parameters.items():
        assert ours[name].default == parameter.default
        assert ours[name].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_standard_pools_parameters_come_first_and_in_order():
    names = list(inspect.signature(cgexec.ThreadPoolExecutor).parameters)
    assert names[:4] == ["max_workers", "thread_name_prefix", "initializer", "initargs"]


@pytest.mark.parametrize(
    ("told", "limit"),
    [
        ({}, 8),
        ({"cpu_per_task": 0.1}, 20),
        ({"io_ratio": 0.96}, 50),
        ({"io_ratio": 0.9, "memory_per_task": "500Mi"}, 6),
        ({"io_ratio": 0.9, "releases_gil": False}, 10),
    ],
)
def test_none_is_what_recommend_gives_for_the_same_arguments(told, limit):
    assert limit_of(**told, **POD) == cgexec.recommend(**told, **POD).max_workers == limit


def test_a_number_is_kept():
    assert limit_of(max_workers=3, cpu_per_task=0.1, **POD) == 3


class Count:
    """An integer of another library, such as ``numpy.int64``, which is no `int`."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value

    def __le__(self, other):
        return self.value <= other


@pytest.mark.parametrize("mode", ["enforce", "observe", "off"])
def test_integers_of_other_libraries_are_numbers_too(monkeypatch, mode):
    monkeypatch.setenv("CGEXEC_MODE", mode)
    with cgexec.ThreadPoolExecutor(Count(3), queue_size=Count(7), min_workers=Count(2)) as pool:
        assert pool.submit(int).result(SOON) == 0
        assert type(pool._max_workers) is int
        assert pool.stats().limit == 3
        pool.resize(Count(4))
        if mode == "enforce":
            assert (pool.stats().limit, pool.stats().queue_size) == (4, 7)


def test_the_variable_is_the_default_and_an_argument_beats_it(monkeypatch):
    monkeypatch.setenv("CGEXEC_MAX_WORKERS", "7")
    assert limit_of() == 7
    assert limit_of(max_workers=3) == 3


def test_who_runs_the_service_beats_every_argument(monkeypatch, caplog):
    caplog.set_level("INFO", "cgexec")
    monkeypatch.setenv("CGEXEC_FORCE_MAX_WORKERS", "5")
    with cgexec.ThreadPoolExecutor(3, min_workers=2) as pool:
        assert pool.stats().limit == 5
        pool.resize(9)
        assert pool.stats().limit == 5
        assert "by CGEXEC_FORCE_MAX_WORKERS=5" in pool.explain()
    assert "resize(9) is passed over because of CGEXEC_FORCE_MAX_WORKERS=5" in caplog.text


@pytest.mark.parametrize("name", ["CGEXEC_MAX_WORKERS", "CGEXEC_FORCE_MAX_WORKERS"])
@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5", "²", "00000000000", "12345678901"])
def test_nonsense_in_a_variable_names_it_and_shows_what_is_right(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(ValueError, match=f"{name}='{text}': expected a whole number of workers.*{name}=20"):
        cgexec.ThreadPoolExecutor(1)


@pytest.mark.parametrize("name", ["CGEXEC_MAX_WORKERS", "CGEXEC_FORCE_MAX_WORKERS"])
def test_a_number_of_workers_is_read_to_its_end(monkeypatch, name):
    monkeypatch.setenv(name, "00000000020")
    with cgexec.ThreadPoolExecutor() as pool:
        assert pool.stats().limit == 20


def test_nonsense_in_the_mode_too(monkeypatch):
    monkeypatch.setenv("CGEXEC_MODE", "on")
    with pytest.raises(ValueError, match="CGEXEC_MODE='on': expected off, observe or enforce.*CGEXEC_MODE=observe"):
        cgexec.ThreadPoolExecutor(1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_workers": 2.5}, "max_workers=2.5: expected a whole number of workers, at least 1"),
        ({"max_workers": 2.0}, "max_workers=2.0: .* no float, though the standard pool takes it"),
        ({"max_workers": True}, "max_workers=True"),
        ({"max_workers": Count(0)}, "max_workers must be greater than 0"),
        ({"queue_size": -1}, "queue_size=-1: expected a whole number of places from 0"),
        ({"queue_size": 2.5}, "queue_size=2.5"),
        ({"queue_size": "5"}, "queue_size='5'"),
        ({"when_full": "wait"}, "when_full='wait': expected one of 'block', 'raise', 'caller_runs'"),
        ({"submit_timeout": -1}, "submit_timeout=-1: expected seconds, at least 0, or None"),
        (
            {"submit_timeout": 1, "when_full": "raise"},
            "submit_timeout=1 is how long .* with when_full='raise' nothing waits",
        ),
        ({"max_wait": "5"}, "max_wait='5'"),
        ({"idle_timeout": -1}, "idle_timeout=-1"),
        ({"min_workers": 0}, "min_workers must be greater than 0"),
        ({"min_workers": 5}, "min_workers=5 is more than the 2 workers of the pool"),
        ({"io_ratio": 1}, "io_ratio=1: a task that never computes"),
        ({"memory_per_task": 200}, "memory_per_task"),
        ({"processes": 0}, "processes=0"),
    ],
)
def test_a_wrong_argument_says_what_was_found_and_what_is_right(wrong, words):
    with pytest.raises(ValueError, match=words):
        cgexec.ThreadPoolExecutor(**{"max_workers": 2, **wrong})


SCRIPT = """
import concurrent.futures, json, threading, cgexec
pool = cgexec.ThreadPoolExecutor({arguments})
release, started = threading.Event(), threading.Semaphore(0)
def hold():
    started.release()
    return release.wait(30)
held = [pool.submit(hold) for _ in range(20)]
for _ in range(min(20, pool._max_workers)):
    assert started.acquire(timeout=30)
pool.resize(3)
seen = pool.stats()
facts = dict(limit=seen.limit, mode=seen.mode, waiting=seen.waiting, would=dict(seen.would), max_workers=pool._max_workers,
             rejected=dict(seen.rejected), names=sorted(t.name for t in threading.enumerate() if t.name.startswith("cgexec")),
             queue=type(pool._work_queue).__name__, future=type(held[0]).__name__, explain=pool.explain())
release.set()
assert all(future.result(30) for future in held)
assert list(pool.map(abs, range(-5, 0), buffersize=2)) == [5, 4, 3, 2, 1]
assert pool.options(queue_timeout=3600, run_timeout=3600).submit(pow, 2, 3).result(30) == 8
import asyncio
async def main():
    assert await pool.run(pow, 2, 3) == 8
    assert [x async for x in pool.stream(abs, [-1, -2])] == [1, 2]
    return not await pool.adrain(30)
assert asyncio.run(main())
print(json.dumps(facts))
"""


def in_mode(mode, arguments, **more):
    environ = {**os.environ, "CGEXEC_MODE": mode, **more}
    command = [sys.executable, "-W", "error", "-c", SCRIPT.format(arguments=arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def stock_default():
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor()._max_workers


def test_off_is_the_standard_pool():
    seen = in_mode("off", "cpu_per_task=0.1, queue_size=1, when_full='raise'")
    assert seen["limit"] == seen["max_workers"] == stock_default()
    assert (seen["mode"], seen["queue"], seen["future"]) == ("off", "SimpleQueue", "Future")
    assert seen["names"] == []
    assert seen["waiting"] == 20 - stock_default()
    assert "the standard pool, nothing is held or counted" in seen["explain"]


def test_off_keeps_an_explicit_number_and_a_forced_one():
    assert in_mode("off", "4, queue_size=1")["limit"] == 4
    assert in_mode("off", "4", CGEXEC_FORCE_MAX_WORKERS="5")["limit"] == 5


def test_off_answers_for_a_view_and_for_the_end(monkeypatch):
    async def main():
        assert await view.run(pow, 2, 3) == 8
        assert [each async for each in view.stream(abs, [-1, -2])] == [1, 2]

    monkeypatch.setenv("CGEXEC_MODE", "off")
    with cgexec.ThreadPoolExecutor(2, name="jobs") as pool:
        view = pool.options(queue_timeout=3600)
        assert list(view.map(abs, [-1, -2])) == list(pool.map(abs, [-1, -2])) == [1, 2]
        asyncio.run(main())
        assert repr(pool) == "<cgexec.ThreadPoolExecutor 'jobs': CGEXEC_MODE=off, 2 workers, 0 waiting>"
        assert not pool.drain(30)
        with pytest.raises(RuntimeError, match="shutdown"):
            pool.submit(int)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("how", ["drain", "adrain"])
def test_off_returns_what_it_did_not_start(monkeypatch, how, copied):
    monkeypatch.setenv("CGEXEC_MODE", "off")
    pool = cgexec.ThreadPoolExecutor(1, copy_context=copied)
    with holding(pool, 1) as hold:
        cancelled = pool.submit(int)
        cancelled.cancel()
        waiting = pool.submit(int, "ff", base=16)
        left = pool.drain(0.01) if how == "drain" else asyncio.run(pool.adrain(0.01))
        (unstarted,) = left.unstarted
        assert (unstarted.fn, unstarted.args, unstarted.kwargs) == (int, ("ff",), {"base": 16})
        assert unstarted.future is waiting
        assert waiting.cancelled()
        assert not wait([waiting], timeout=SOON).not_done
        assert not hold.futures[0].done()
    pool.shutdown()


def test_off_copies_the_context_where_that_was_asked_for(monkeypatch):
    monkeypatch.setenv("CGEXEC_MODE", "off")
    tenant = ContextVar("tenant", default="nobody")
    tenant.set("acme")
    with cgexec.ThreadPoolExecutor(1, copy_context=True) as pool:
        assert pool.submit(tenant.get).result(SOON) == "acme"
        assert list(pool.map(lambda _: tenant.get(), [1])) == ["acme"]
        assert pool.options(run_timeout=60).submit(tenant.get).result(SOON) == "acme"


def test_observe_holds_nothing_and_says_what_would_have_been():
    seen = in_mode("observe", "6, queue_size=2, when_full='raise', name='jobs'")
    assert (seen["limit"], seen["mode"], seen["waiting"]) == (6, "observe", 14)
    assert seen["would"] == {"limit": 3, "rejected": 12}
    assert seen["rejected"] == {}
    assert "CGEXEC_MODE=observe: enforced it would have 3 workers and 2 places" in seen["explain"]


def test_observe_sizes_as_the_standard_pool_would():
    seen = in_mode("observe", "cpu_per_task=0.1, queue_size=1000", CGEXEC_CPUS="2")
    assert seen["limit"] == stock_default()


def test_enforce_is_the_default():
    assert in_mode("", "4")["mode"] == in_mode("enforce", "4")["mode"] == "enforce"


def test_the_fuse_is_refused_where_it_cannot_work(monkeypatch):
    with pytest.raises(ValueError, match=r"memory_fuse=True needs the memory guard"):
        cgexec.ThreadPoolExecutor(2, memory_guard=False, memory_fuse=True)
    with pytest.raises(ValueError, match=r'on_memory_error="retry" needs the memory guard'):
        cgexec.ThreadPoolExecutor(2, memory_guard=False, on_memory_error="retry")
    with pytest.raises(ValueError, match=r"on_memory_error='again': expected one of 'raise', 'retry'"):
        cgexec.ThreadPoolExecutor(2, on_memory_error="again")
    # No other platform is at hand.
    monkeypatch.setattr("cgexec._memory.fuse.is_linux", lambda: False)
    with pytest.raises(ValueError, match=r"memory_fuse=True cannot work here: only Linux holds .* Leave it out"):
        cgexec.ThreadPoolExecutor(2, memory_fuse=True)
    monkeypatch.setattr("cgexec._memory.fuse._resource", None)
    with pytest.raises(ValueError, match="this platform has no RLIMIT_DATA"):
        cgexec.ThreadPoolExecutor(2, memory_fuse=True)
