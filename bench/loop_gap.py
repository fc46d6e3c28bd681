"""
The longest time that a full pool holds an event loop: a heartbeat that should come every millisecond, while two hundred
coroutines wait for places in a small pool, others stream through it, and `submit` is refused again and again.

Run ``python bench/loop_gap.py``; prints the largest gap beside that of a loop with nothing to do. The target is 10 ms.
"""

import argparse
import asyncio
import contextlib
import statistics
import time

import cgexec

TARGET = 0.010


async def beat(gaps: list[float]) -> None:
    """Note how late each heartbeat is, in seconds."""
    while True:
        begin = time.perf_counter()
        await asyncio.sleep(0.001)
        gaps.append(time.perf_counter() - begin - 0.001)


async def load(pool: cgexec.ThreadPoolExecutor, seconds: float) -> None:
    """Keep the pool full from all sides."""
    end = time.monotonic() + seconds

    async def waits() -> None:
        while time.monotonic() < end:
            await pool.run(time.sleep, 0.002)

    async def streams() -> None:
        while time.monotonic() < end:
            async for _ in pool.stream(time.sleep, [0.002] * 50):
                pass

    async def submits() -> None:
        while time.monotonic() < end:
            with contextlib.suppress(cgexec.QueueFull):
                pool.submit(time.sleep, 0.002)
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(waits())
            await asyncio.sleep(0)  # not all in one turn of the loop: that gap would be ours
        group.create_task(streams())
        group.create_task(submits())


async def gap(seconds: float, *, loaded: bool) -> float:
    """Return the largest delay of a heartbeat over so many seconds."""
    gaps: list[float] = []
    heart = asyncio.create_task(beat(gaps))
    if loaded:
        with cgexec.ThreadPoolExecutor(8, queue_size=8) as pool:
            await load(pool, seconds)
            await pool.adrain()
    else:
        await asyncio.sleep(seconds)
    heart.cancel()
    return max(gaps)


def main() -> None:
    """Measure, by turns, and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--rounds", type=int, default=5)
    told = arguments.parse_args()
    idle, full = [], []
    for _ in range(told.rounds):
        idle.append(asyncio.run(gap(told.seconds, loaded=False)))
        full.append(asyncio.run(gap(told.seconds, loaded=True)))
    print("| loop | largest gap, median of rounds | worst round |\n|---|---:|---:|")
    for name, gaps in (("idle", idle), ("beside a full pool", full)):
        print(f"| {name} | {statistics.median(gaps) * 1e3:.1f} ms | {max(gaps) * 1e3:.1f} ms |")
    print(f"\ntarget: {TARGET * 1e3:g} ms")


if __name__ == "__main__":
    main()
