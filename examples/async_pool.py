"""Coroutines that wait for a place in a small pool without blocking their event loop."""

import asyncio
import time

import cgexec


def job(seconds: float) -> float:
    """Stand for something that blocks a thread."""
    time.sleep(seconds)
    return seconds


async def main() -> None:
    """Start twenty jobs on four workers, and keep the loop answering."""
    pool = cgexec.ThreadPoolExecutor(4, queue_size=4, name="jobs")
    calls = [asyncio.create_task(pool.run(job, 0.01)) for _ in range(20)]
    await asyncio.sleep(0)
    print(pool, "and", pool.stats().blocked, "coroutines wait for a place")
    print("took", sum(await asyncio.gather(*calls)), "seconds of work")
    async for result in pool.stream(job, [0.003, 0.002, 0.001], ordered=False):
        print("streamed", result)
    print("left over:", bool(await pool.adrain(timeout=25)))


if __name__ == "__main__":
    asyncio.run(main())
