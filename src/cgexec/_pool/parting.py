"""What is done when a process ends, in those too that `multiprocessing` and `billiard` fork, which end by ``_exit``."""

import atexit
import os
import sys
from collections.abc import Callable

__all__ = ["at_end"]

# Below it, multiprocessing calls what is its own.
_LAST = -100


def at_end(act: Callable[[], object]) -> None:
    """Have *act* called when this process ends well. In a child that is forked from it, it is not."""
    pid = os.getpid()

    def end() -> None:
        if os.getpid() == pid:
            act()

    atexit.register(end)
    if (processes := sys.modules.get("multiprocessing.util")) is not None:  # billiard has its list there as well
        processes.Finalize(None, end, exitpriority=_LAST)
