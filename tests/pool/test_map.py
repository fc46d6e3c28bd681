"""`map`: the standard one's promises, and running ahead by so many on every version."""

import asyncio
import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from unittest import mock

import pytest

import cgexec
from cgexec._pool import mapping
from support.pools import SOON, holding


@pytest.fixture
def pool():
    with cgexec.ThreadPoolExecutor(2, queue_size=4) as pool:
        yield pool


def test_an_endless_iterable_is_taken_as_results_are(pool):
    taken = itertools.count()
    results = pool.map(lambda n: n * n, taken, buffersize=5)
    assert [next(results) for _ in range(100)] == [n * n for n in range(100)]
    assert next(taken) == 5 + 100  # nothing is fetched before its place is free
    results.close()


@pytest.mark.parametrize("buffersize", [1, 3])
def test_never_are_more_submitted_than_the_buffer_holds(pool, buffersize):
    fetched = []

    def source():
        for number in range(20):
            fetched.append(number)
            yield number

    for count, result in enumerate(pool.map(abs, source(), buffersize=buffersize), start=1):
        assert result == count - 1
        assert len(fetched) - count <= buffersize  # submitted whose results have not been taken
    assert len(fetched) == 20


def test_closing_early_cancels_what_has_not_started(pool):
    with holding(pool) as hold:
        results = pool.map(lambda fn: fn(), [int, *[hold.task] * 9], buffersize=6)
        assert next(results) == 0
        hold.started(2)
        results.close()
        assert pool.stats().waiting == 0
        assert (pool.stats().running, pool.stats().cancelled) == (2, 4)


@pytest.mark.parametrize("buffersize", [None, 6])
def test_closing_before_the_first_result_cancels_too(pool, buffersize):
    with holding(pool, 2):
        results = pool.map(abs, range(4), buffersize=buffersize)
        assert pool.stats().waiting == 4
        results.close()
        assert (pool.stats().waiting, pool.stats().cancelled) == (0, 4)
        assert list(results) == []


def test_who_wants_no_results_has_it_all_done(pool):
    done = []
    with holding(pool, 2):
        pool.map(done.append, range(4))  # dropped at once
        assert pool.stats().waiting == 4
    pool.shutdown()
    assert sorted(done) == [0, 1, 2, 3]


@pytest.mark.parametrize("view", [False, True])
def test_waiting_for_places_is_part_of_the_time(pool, view):
    tasks = pool.options(run_timeout=60) if view else pool
    with holding(pool, 2):
        results = tasks.map(abs, range(9), timeout=0.01)
        assert (pool.stats().blocked, pool.stats().waiting, pool.stats().cancelled) == (0, 0, 4)
        with pytest.raises(TimeoutError):
            next(results)
        assert list(results) == []


def done(result):
    future = Future()
    future.set_result(result)
    return future


def late(*answers):
    """Return a `submit` with these answers, and no place after that."""
    left = iter(answers)

    def submit(*_):
        for answer in left:
            return answer
        raise mapping.Late

    return submit


@pytest.mark.parametrize("buffersize", [None, 2, 4])
def test_what_ended_before_the_time_was_up_comes_first(buffersize):
    waiting = Future()
    results = mapping.map_over(late(done(1), done(2), waiting), zip(range(9)), None, buffersize, None)
    assert next(results) == 1
    assert next(results) == 2
    with pytest.raises(TimeoutError):
        next(results)
    assert waiting.cancelled()


def test_chunks_are_cancelled_by_a_close_too():
    for begun in (0, 1):
        waiting = Future()
        submit = iter([done([1, 2]), waiting]).__next__
        results = mapping.flat(mapping.map_over(submit, [(), ()], None, None, None))
        assert [next(results) for _ in range(begun)] == [1][:begun]
        results.close()
        assert waiting.cancelled()


def test_a_wrapped_executor_keeps_to_the_time_of_its_map():
    with ThreadPoolExecutor(1) as inner, cgexec.wrap(inner, max_in_flight=1, queue_size=1) as pool, holding(pool, 1):
        for chunksize in (1, 2):
            results = pool.map(abs, range(9), timeout=0.01, chunksize=chunksize)
            assert pool.stats().waiting == 0
            with pytest.raises(TimeoutError):
                next(results)


def test_more_than_places_is_waited_for(pool):
    assert list(pool.map(abs, range(1000))) == list(range(1000))
    assert pool.stats().over_bound == 0


def test_no_policy_applies():
    with cgexec.ThreadPoolExecutor(1, queue_size=0, when_full="raise") as pool:
        assert list(pool.map(abs, range(50))) == list(range(50))
        assert pool.stats().rejected == {}


def test_on_an_event_loop_it_goes_over_the_bound_instead_of_blocking():
    async def main():
        return pool.map(abs, range(50))

    with cgexec.ThreadPoolExecutor(1, queue_size=0) as pool:
        with holding(pool, 1):
            results = asyncio.run(main())
            assert pool.stats().waiting == 50
        assert list(results) == list(range(50))


def test_in_a_worker_it_goes_over_the_bound_instead_of_waiting_for_itself():
    with cgexec.ThreadPoolExecutor(1, queue_size=0) as pool:
        results = pool.submit(lambda: pool.map(abs, range(10))).result(SOON)
        assert list(results) == list(range(10))


def test_an_iterable_that_fails_cancels_what_was_submitted(pool):
    def source():
        yield from range(4)
        raise OSError("disk")

    with holding(pool, 2):
        with pytest.raises(OSError, match="disk"):
            pool.map(abs, source())
        assert pool.stats().waiting == 0
        assert pool.stats().cancelled == 4


def test_the_results_keep_a_buffered_pool_alive():
    results = cgexec.ThreadPoolExecutor(1).map(abs, range(10), buffersize=2)
    assert list(results) == list(range(10))


def test_a_subclass_that_overrides_submit_is_asked():
    class Doubling(cgexec.ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(lambda *a: 2 * fn(*a), *args, **kwargs)

    with Doubling(1) as pool:
        assert list(pool.map(abs, [1, 2])) == [2, 4]


@pytest.mark.parametrize("whole_class", [False, True])
def test_a_submit_that_was_patched_is_asked(pool, whole_class):
    real = pool.submit
    target = cgexec.ThreadPoolExecutor if whole_class else pool
    with mock.patch.object(target, "submit", side_effect=real) as patched:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
    assert patched.call_args_list == [mock.call(abs, -1), mock.call(abs, -2)]
    assert list(pool.map(abs, [-3])) == [3]
    assert patched.call_count == 2


@pytest.mark.parametrize("buffersize", ["5", 5.0, 0, -1])
def test_a_wrong_buffersize_is_refused_as_by_the_standard_library(pool, buffersize):
    error = ValueError if isinstance(buffersize, int) else TypeError
    with pytest.raises(error, match="buffersize must be"):
        pool.map(abs, [1], buffersize=buffersize)


def test_its_options_have_a_map_too(pool):
    view = pool.options(run_timeout=100)
    assert list(view.map(pow, [2, 3], [3, 2])) == [8, 9]
    assert list(itertools.islice(view.map(abs, itertools.count(), buffersize=2), 5)) == [0, 1, 2, 3, 4]
