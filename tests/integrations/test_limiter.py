"""AnyIO's limiter follows the container's limits while it is used, on both of its loops."""

import dataclasses
import itertools
import threading
from types import SimpleNamespace

import pytest

import cgexec
from support.pools import SOON

anyio = pytest.importorskip("anyio")
limiter = pytest.importorskip("cgexec._limiter")


@pytest.fixture(params=["asyncio", "trio"])
def backend(request, monkeypatch):
    pytest.importorskip(request.param)
    if request.param == "trio":  # which keeps idle threads for ten seconds, and no test may leave one behind
        monkeypatch.setattr("trio._core._thread_cache.IDLE_TIMEOUT", 0.01)
    return request.param


def tokens():
    return anyio.to_thread.current_default_thread_limiter().total_tokens


def test_it_takes_the_containers_size_and_gives_the_former_back(backend):
    from cgexec.anyio import size_default_limiter

    async def main():
        with size_default_limiter(io_ratio=0.9) as size:
            assert tokens() == size.tokens == cgexec.recommend(io_ratio=0.9).max_workers
        size.stop()
        assert tokens() == 40

    anyio.run(main, backend=backend)


def test_it_follows_a_limit_that_changes_while_it_is_used(backend, monkeypatch):
    """The container of the test cannot change; what `recommend` is given does."""
    real = limiter.recommend
    now = dataclasses.replace(cgexec.limits(), cpus=1.0)
    monkeypatch.setattr(limiter, "recommend", lambda **told: real(**{**told, "limits": now}))
    release = threading.Event()

    async def main():
        nonlocal now
        with limiter.LimiterSize(0.001, {"io_ratio": 0.5}) as size:
            assert size.tokens == 2
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, release.wait)
                for cpus, wanted in ((3.0, 6), (2.0, 4)):
                    now = dataclasses.replace(now, cpus=cpus)
                    with anyio.fail_after(SOON):
                        while size.tokens != wanted:
                            await anyio.sleep(0.001)
                release.set()

    try:
        anyio.run(main, backend=backend)
    finally:
        release.set()


@pytest.fixture
def percent(monkeypatch):
    """What is recommended: of an ``io_ratio`` the hundredfold."""
    monkeypatch.setattr(limiter, "recommend", lambda io_ratio, **_: SimpleNamespace(max_workers=round(100 * io_ratio)))


@pytest.mark.parametrize("order", list(itertools.permutations((10, 20, 30))), ids=str)
def test_of_several_the_latest_decides_and_they_may_stop_in_any_order(backend, percent, order):
    async def main():
        there = {size: limiter.LimiterSize(None, {"io_ratio": size / 100}) for size in (10, 20, 30)}
        for size in order:
            assert tokens() == max(there)
            there.pop(size).stop()
        assert tokens() == 40

    anyio.run(main, backend=backend)


def test_one_that_is_not_the_latest_looks_in_vain(backend, percent):
    async def main():
        with limiter.LimiterSize(None, {"io_ratio": 0.1}) as first, limiter.LimiterSize(None, {"io_ratio": 0.2}):
            await first._look()
            assert tokens() == 20

    anyio.run(main, backend=backend)


def test_a_look_that_fails_is_logged_and_changes_nothing(backend, monkeypatch, caplog):
    looked = threading.Event()
    real, release = limiter.recommend, threading.Event()

    def fails(**_):
        looked.set()
        raise OSError("no such file")

    async def main():
        with limiter.LimiterSize(0.001, {"io_ratio": 0.5}) as size:
            before = size.tokens
            monkeypatch.setattr(limiter, "recommend", fails)
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, release.wait)
                with anyio.fail_after(SOON):
                    while "stays at" not in caplog.text:
                        await anyio.sleep(0.001)
                assert size.tokens == before
                monkeypatch.setattr(limiter, "recommend", real)
                release.set()

    try:
        anyio.run(main, backend=backend)
    finally:
        release.set()
    assert looked.is_set()


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_where_nothing_is_enforced_nothing_is_changed(mode, monkeypatch, caplog):
    from cgexec.anyio import size_default_limiter

    async def main():
        with size_default_limiter(io_ratio=0.99):
            assert tokens() == 40

    monkeypatch.setenv("CGEXEC_MODE", mode)
    caplog.set_level("INFO", "cgexec")
    anyio.run(main)
    assert f"CGEXEC_MODE={mode}: AnyIO's limiter stays at 40; it would be" in caplog.text


def test_nonsense_is_refused():
    from cgexec.anyio import size_default_limiter

    async def main():
        with pytest.raises(ValueError, match="every=0: expected seconds"):
            size_default_limiter(every=0)

    anyio.run(main)
