"""Read by type checkers only: the public signatures, as a caller meets them."""

from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import assert_type

import cgexec
import cgexec.anyio
import cgexec.asyncio
import cgexec.starlette
import cgexec.testing

assert_type(cgexec.limits(), cgexec.Limits)
assert_type(cgexec.limits(root="/host").cpus, float)
assert_type(cgexec.limits().cpu_quota, float | None)
assert_type(cgexec.limits().memory_bytes, int)
assert_type(cgexec.limits().sources, Mapping[str, str])
assert_type(cgexec.limits().notes, tuple[str, ...])
assert_type(cgexec.usage().headroom_bytes, int)
assert_type(cgexec.usage().nr_throttled, int | None)
assert_type(cgexec.recommend(), cgexec.Recommendation)
assert_type(cgexec.recommend(memory_per_task="200Mi", io_ratio=0.9, processes=4).max_workers, int)
assert_type(cgexec.recommend(kind="process", reserve=0.2, basis="now").explain(), str)
assert_type(cgexec.recommend(limits=cgexec.limits(), usage=cgexec.usage()).terms, Mapping[str, int | None])
assert_type(cgexec.parse_quantity("1.5Gi"), int | float)
assert_type(cgexec.format_bytes(1 << 30), str)
assert_type(cgexec.serve_stats("/run/cgexec").path, str)

cgexec.recommend(kind="greenlet")  # type: ignore[arg-type]  # only threads and processes
cgexec.limits("/host")  # type: ignore[call-arg]  # root is keyword-only
cgexec.limits().cpus = 3.0  # type: ignore[misc]  # frozen

box = cgexec.testing.Container("/tmp/box", cpus=1.5, memory="4Gi", version="v1")
assert_type(box.root, str)
box.change(cpus=None, used="1Gi")
box.change(used=None, version="v2")  # type: ignore[call-arg]  # what it is made as it stays


def double(number: int, *, times: int = 2) -> str:
    return str(number * times)


def use_the_pool(pool: cgexec.ThreadPoolExecutor) -> None:
    assert_type(pool.submit(double, 3), Future[str])
    assert_type(pool.submit(double, 3, times=4), Future[str])
    assert_type(pool.map(double, [1, 2], buffersize=4), Iterator[str])
    assert_type(pool.options(memory="1Gi", retry_on_memory_error=True).submit(double, 3), Future[str])
    assert_type(pool.options(queue_timeout=5).submit(double, 3), Future[str])
    assert_type(pool.stats(), cgexec.Stats)
    assert_type(pool.stats().ceiling, int | None)
    assert_type(pool.profile(), cgexec.Profile)
    assert_type(pool.profile().io_ratio, float | None)
    assert_type(pool.stats().rejected, Mapping[str, int])
    assert_type(pool.drain(5), cgexec.Leftovers)
    assert_type(cgexec.cancel(pool.submit(double, 3)), bool)
    pool.submit(double, "3")  # type: ignore[arg-type]  # the function's own parameters are checked
    cgexec.ThreadPoolExecutor(4, "prefix", None, (), queue_size=10, when_full="raise")
    cgexec.ThreadPoolExecutor(memory_fuse=True, on_memory_error="retry")
    cgexec.ThreadPoolExecutor(on_memory_error="ignore")  # type: ignore[arg-type]  # "raise" or "retry"
    with cgexec.unfused() as nothing:
        assert_type(nothing, None)
    cgexec.ThreadPoolExecutor(50, adaptive=True, min_workers=20)
    cgexec.ThreadPoolExecutor(when_full="wait")  # type: ignore[arg-type]  # one of five policies


async def use_it_with_asyncio(pool: cgexec.ThreadPoolExecutor) -> None:
    assert_type(await pool.run(double, 3, times=4), str)
    assert_type(pool.stream(double, [1, 2]), AsyncIterator[str])
    assert_type(await pool.adrain(5), cgexec.Leftovers)


async def use_either_with_any_loop(executor: Executor, pool: cgexec.ThreadPoolExecutor) -> None:
    wrapped = cgexec.wrap(executor)
    cgexec.starlette.Lifespan(pool, wrapped, grace=30)
    assert_type(await cgexec.anyio.run(wrapped, double, 3, times=4), str)
    assert_type(await cgexec.anyio.run(pool, double, 3), str)
    assert_type(cgexec.anyio.stream(wrapped, double, [1, 2]), AsyncIterator[str])
    assert_type(await cgexec.anyio.drain(wrapped, 5), cgexec.Leftovers)
    await cgexec.anyio.run(executor, double, 3)  # type: ignore[arg-type]  # a pool of ours


async def use_the_loop_and_a_bridge() -> None:
    assert_type(cgexec.asyncio.install(io_ratio=0.9).stats(), cgexec.Stats)
    cgexec.asyncio.install(io_share=0.9)  # type: ignore[call-arg]  # what recommend() can be told, and nothing else
    bridge = cgexec.asyncio.Bridge[int](4, when_full="block")
    assert_type(bridge.send(3), bool)
    assert_type(await anext(bridge), int)
    bridge.send("3")  # type: ignore[arg-type]  # one kind of item
