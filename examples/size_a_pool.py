"""Size a standard pool at start-up, and say in the log why it has that size."""

import logging
from concurrent.futures import ThreadPoolExecutor

import cgexec

logger = logging.getLogger(__name__)


def fetch(number: int) -> int:
    """Stand for a job that mostly waits."""
    return number * number


def main() -> None:
    """Run a few jobs in a pool that fits its container."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    answer = cgexec.recommend(io_ratio=0.9, memory_per_task="50Mi")
    logger.info("%d workers, bound by %s\n%s", answer.max_workers, answer.bound_by, answer.explain())
    with ThreadPoolExecutor(answer.max_workers) as pool:
        logger.info("sum of squares: %d", sum(pool.map(fetch, range(100))))


if __name__ == "__main__":
    main()
