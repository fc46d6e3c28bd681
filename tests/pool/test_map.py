"""`map`: the standard one's promises, and running ahead by so many on every version."""

import asyncio
import itertools

import pytest

import cgexec
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


@pytest.mark.parametrize("buffersize", ["5", 5.0, 0, -1])
def test_a_wrong_buffersize_is_refused_as_by_the_standard_library(pool, buffersize):
    error = ValueError if isinstance(buffersize, int) else TypeError
    with pytest.raises(error, match="buffersize must be"):
        pool.map(abs, [1], buffersize=buffersize)


def test_its_options_have_a_map_too(pool):
    view = pool.options(run_timeout=100)
    assert list(view.map(pow, [2, 3], [3, 2])) == [8, 9]
    assert list(itertools.islice(view.map(abs, itertools.count(), buffersize=2), 5)) == [0, 1, 2, 3, 4]
