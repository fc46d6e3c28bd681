"""Permits in equals permits out, whatever is submitted, cancelled, failing or killed. bench/stress_wrap.py is longer."""

import itertools
import random
import threading
from concurrent import futures
from concurrent.futures import BrokenExecutor
from time import monotonic

import pytest

import cgexec
from support import calls
from support.peers import InlineExecutor, wrapped
from support.pools import SOON, eventually

CALLS = {"threads": 4000, "processes": 400, "loky": 400, "pebble": 200}


def settled(pool, futures_):
    """Everything has ended and every permit is back."""
    assert futures.wait(futures_, 3 * SOON).not_done == set()
    eventually(lambda: pool.stats().running == 0)
    seen = pool.stats()
    assert (seen.waiting, seen.blocked) == (0, 0)
    assert seen.idle == seen.workers or seen.closed is not None, "a permit is neither in flight nor free"
    ended = (seen.completed, seen.failed, seen.cancelled, seen.discarded, seen.expired)
    assert sum(ended) == seen.submitted
    return seen


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("policy", ["block", "raise", "discard_oldest", "caller_runs"])
def test_random_submits_cancels_and_failures(name, policy):
    chance = random.Random(f"{name} {policy}")
    with wrapped(name, 2, max_in_flight=4, queue_size=8, when_full=policy) as pool:

        def feed(dice):
            given = []
            for _ in range(CALLS[name] // 4):
                try:
                    future = pool.submit(calls.boom if dice.random() < 0.2 else calls.square, 3)
                except cgexec.QueueFull:
                    continue
                given.append(future)
                if dice.random() < 0.2:
                    dice.choice(given[-10:]).cancel()
                if dice.random() < 0.05:
                    pool.resize(dice.randint(1, 6))
            return given

        with futures.ThreadPoolExecutor(4) as feeders:
            lists = list(feeders.map(feed, [random.Random(chance.random()) for _ in range(4)]))
        given = [future for each in lists for future in each]
        seen = settled(pool, given)
        assert seen.submitted == len(given)
        cancelled = sum(future.cancelled() for future in given)
        assert cancelled == seen.cancelled + seen.discarded
        assert all(future.cancelled() or future.exception() or future.result() == 9 for future in given)


@pytest.mark.parametrize("name", ["processes", "loky"])
@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_time_leaves_nothing_open(name, seed):
    dice = random.Random(seed)
    with wrapped(name, 2, max_in_flight=4, queue_size=8) as pool:
        given = []
        deadly, end = dice.randrange(5, 100), monotonic() + SOON
        for number in itertools.count():  # until the executor has noticed
            assert monotonic() < end, "the pool never broke"
            try:
                given.append(
                    pool.submit(
                        calls.die if number == deadly else calls.square, *(() if number == deadly else (number,))
                    )
                )
            except BrokenExecutor:
                break
            if dice.random() < 0.1:
                chosen = dice.choice(range(len(given)))
                if chosen != deadly:
                    given[chosen].cancel()
        settled(pool, given)
        assert any(isinstance(future.exception(), BrokenExecutor) for future in given if not future.cancelled())


def test_what_waits_behind_an_executor_that_runs_at_once_makes_no_recursion():
    started, release = threading.Event(), threading.Event()

    def block():
        started.set()
        assert release.wait(SOON)

    with cgexec.wrap(InlineExecutor(), max_in_flight=1, queue_size=10_000) as pool:
        first = threading.Thread(target=pool.submit, args=(block,))
        first.start()
        assert started.wait(SOON)
        rest = [pool.submit(calls.square, n) for n in range(5000)]
        release.set()
        first.join(SOON)
        assert [future.result(0) for future in rest] == [n * n for n in range(5000)]
