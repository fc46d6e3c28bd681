"""Recipes that make their pool on first use: one pool, however many callers come first at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from unittest import mock

import cgexec
from support.pools import SOON

__all__ = ["check_one_pool"]

# For the second of two callers that make a pool each; where one has to wait for the other it does not come.
_BOTH_S = 0.2


def check_one_pool(pool: Callable[[], cgexec.ThreadPoolExecutor]) -> None:
    """Have two threads call it for the first time at once."""
    real, both = cgexec.ThreadPoolExecutor, threading.Barrier(2)

    def make(*arguments: Any, **named: Any) -> cgexec.ThreadPoolExecutor:
        with suppress(threading.BrokenBarrierError):
            both.wait(_BOTH_S)
        return real(*arguments, **named)

    with mock.patch.object(cgexec, "ThreadPoolExecutor", make), ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(pool) for _ in range(2)]
        first, second = (call.result(SOON) for call in calls)
    assert first is second, "two callers made a pool each"
