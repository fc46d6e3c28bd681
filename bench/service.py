"""
How well the example service answers while its pool is full, and the longest time that each integration holds the loop.

Run ``python bench/service.py`` in an environment with the extra ``service``. Three hundred jobs are asked for at once;
``/livez`` is asked every 20 ms by a process of its own. The targets are 100 ms for the 99th percentile of ``/livez``,
and 20 ms for the largest gap of the loop. On a machine that others use, or where the quota is used up, a gap is mostly
the time until the thread of the loop gets a CPU; so its own CPU time is shown too.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import into_docs

import cgexec
import cgexec.asyncio

sys.path.append(str(Path(__file__).parents[1] / "examples"))

LIVEZ_TARGET, GAP_TARGET = 0.100, 0.020
JOBS = 300
PORT = 8765
SERVICE: dict[str, Any] = {"job_seconds": 1, "job_steps": 10, "job_memory": "10Mi", "queue_size": JOBS}


class Gap(NamedTuple):
    """How late a heartbeat was, and what CPU time the loop's thread used meanwhile, in seconds."""

    wall: float
    cpu: float


async def beat(gaps: list[Gap]) -> None:
    """Note each heartbeat."""
    while True:
        begin, used = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.001)
        gaps.append(Gap(time.perf_counter() - begin - 0.001, time.thread_time() - used))


@asynccontextmanager
async def measured(gaps: list[Gap]) -> AsyncIterator[None]:
    heart = asyncio.create_task(beat(gaps))
    try:
        yield
    finally:
        heart.cancel()


async def nothing() -> list[Gap]:
    gaps: list[Gap] = []
    async with measured(gaps):
        await asyncio.sleep(2)
    return gaps


async def default_executor() -> list[Gap]:
    """Call `asyncio.to_thread` beside a full default executor."""
    gaps: list[Gap] = []
    executor = cgexec.asyncio.install(max_workers=8, queue_size=8)
    end = time.monotonic() + 2

    async def calls() -> None:
        while time.monotonic() < end:
            with contextlib.suppress(cgexec.QueueFull):
                await asyncio.to_thread(time.sleep, 0.002)
            await asyncio.sleep(0.005)

    async with measured(gaps), asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(calls())
            await asyncio.sleep(0)
    executor.uninstall()
    return gaps


async def limiter() -> list[Gap]:
    """Run plain functions under AnyIO's limiter, which is looked at again and again."""
    import anyio

    from cgexec.anyio import size_default_limiter

    gaps: list[Gap] = []
    end = time.monotonic() + 2

    async def calls() -> None:
        while time.monotonic() < end:
            await anyio.to_thread.run_sync(time.sleep, 0.002)

    with size_default_limiter(every=0.1):
        async with measured(gaps), asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(calls())
                await asyncio.sleep(0)
    return gaps


async def bridge() -> list[Gap]:
    """Read what eight threads send without a pause."""
    gaps: list[Gap] = []
    end = time.monotonic() + 2
    progress = cgexec.asyncio.Bridge[int](64, when_full="block")

    def report() -> None:
        while time.monotonic() < end:
            progress.send(1)

    with cgexec.ThreadPoolExecutor(8) as pool:
        async with measured(gaps), progress:
            futures = [pool.submit(report) for _ in range(8)]
            async for _ in progress:
                if time.monotonic() > end:
                    break
                await asyncio.sleep(0)
        del futures
        await pool.adrain()
    return gaps


async def service(answers: list[float], burst: list[Gap]) -> list[Gap]:
    """Serve three hundred clients of another process; the heartbeat is on the server's loop, *burst* until all came."""
    import uvicorn
    from fastapi_service.app import create_app
    from fastapi_service.settings import Settings

    gaps: list[Gap] = []
    with TemporaryDirectory() as folder:
        app = create_app(Settings(**SERVICE, database=f"{folder}/jobs.db"))
        config = uvicorn.Config(app, host="127.0.0.1", port=PORT, log_level="error", timeout_keep_alive=75)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        pool = app.state.service.pool
        command = [sys.executable, __file__, "--as-client"]
        client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        answered = asyncio.create_task(client.communicate())
        async with measured(burst):
            while pool.stats().submitted < JOBS:  # noqa: ASYNC110  # nor has a number
                await asyncio.sleep(0.02)
        async with measured(gaps):
            out, _ = await answered
        server.should_exit = True
        await serving
    answers.extend(json.loads(out))
    return gaps


async def be_client() -> list[float]:
    """Ask for the jobs and wait for their ends; return how long each answer of /livez took, in seconds."""
    import httpx

    times: list[float] = []
    base = f"http://127.0.0.1:{PORT}"
    # The one that measures has a connection of its own, as a kubelet has.
    async with (
        httpx.AsyncClient(base_url=base, timeout=60) as many,
        httpx.AsyncClient(base_url=base, timeout=60) as one,
    ):

        async def watch() -> None:
            while True:
                begin = time.perf_counter()
                (await one.get("/livez")).raise_for_status()
                times.append(time.perf_counter() - begin)
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(many.post("/jobs") for _ in range(JOBS)))
        while any(job["ended"] is None for job in (await many.get("/jobs?limit=1000")).json()):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        if watching.done():
            await watching  # it failed, and says how
        watching.cancel()
    return times


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(found: dict[str, list[list[Gap]]], answers: list[float]) -> Iterator[str]:
    """Yield the lines of what was found."""
    yield "| beside | largest gap, median of rounds | worst round | 99 % below | most CPU of the loop in a gap |"
    yield "|---|---:|---:|---:|---:|"
    for name, rounds in found.items():
        largest = [max(gap.wall for gap in gaps) for gaps in rounds]
        every = [gap for gaps in rounds for gap in gaps]
        late, cpu = percentile([gap.wall for gap in every], 0.99), max(gap.cpu for gap in every)
        cells = (statistics.median(largest), max(largest), late, cpu)
        yield f"| {name} | {' | '.join(f'{cell * 1e3:.1f} ms' for cell in cells)} |"
    median, most = statistics.median(answers), percentile(answers, 0.99)
    yield f"\n`/livez`: {len(answers)} answers, median {median * 1e3:.1f} ms, 99 % below {most * 1e3:.1f} ms."
    yield f"The targets: {GAP_TARGET * 1e3:g} ms and {LIVEZ_TARGET * 1e3:g} ms."


def main() -> None:
    """Measure, by turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as-client", action="store_true", help=argparse.SUPPRESS)
    into_docs.add_option(parser)
    told = parser.parse_args()
    if told.as_client:
        print(json.dumps(asyncio.run(be_client())))
        return
    logging.disable()
    import fastapi_service.app  # noqa: F401  # so that it is frozen, as the service does at its start

    gc.freeze()
    os.environ.pop("WEB_CONCURRENCY", None)
    answers: list[float] = []
    burst: list[Gap] = []
    loads: dict[str, Callable[[], Any]] = {
        "nothing": nothing,
        "default executor": default_executor,
        "AnyIO's limiter": limiter,
        "bridge": bridge,
        "the service, its pool full": lambda: service(answers, burst),
    }
    found: dict[str, list[list[Gap]]] = {name: [] for name in loads}
    for _ in range(told.rounds):
        for name, load in loads.items():
            found[name].append(asyncio.run(load()))
    found["the service, 300 requests coming at once"] = [burst]
    into_docs.show(table(found, answers), "service", told.docs)


if __name__ == "__main__":
    main()
