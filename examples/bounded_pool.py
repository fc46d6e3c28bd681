"""A pool that fits its container, with a queue that pushes back, and what it says of itself."""

import logging

import cgexec

logger = logging.getLogger(__name__)


def fetch(number: int) -> int:
    """Stand for a job that mostly waits."""
    return number * number


def main() -> None:
    """Run a thousand jobs with ten in the queue at most."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with cgexec.ThreadPoolExecutor(cpu_per_task=0.1, name="jobs", queue_size=10) as pool:
        logger.info("%s", pool.explain())
        total = sum(pool.map(fetch, range(1000), buffersize=20))
        logger.info("sum of squares: %d", total)
        left = pool.drain(timeout=25)
        logger.info("%r, left over: %s", pool, bool(left))


if __name__ == "__main__":
    main()
