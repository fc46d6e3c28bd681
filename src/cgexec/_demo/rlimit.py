"""
The limit where no cgroup may be made: the child's own RLIMIT_DATA. A simulation: an allocation beyond it fails, where a
container's limit has the kernel kill.
"""

import threading
from collections.abc import Callable
from functools import partial

from cgexec._kernel import parse
from cgexec._kernel.files import Files
from cgexec._memory.gauge import Gauge, Reading
from cgexec._pool.watch import watch

__all__ = ["limit_data", "private_bytes", "tell_pool"]

# Address space for a thread's stack counts against RLIMIT_DATA, touched or not; these tasks need little of it.
_STACK = 256 << 10
_KEYS = frozenset({"RssAnon", "VmRSS", "VmData"})


def limit_data(memory: int, threads: int) -> Callable[[], object]:
    """
    Let this process have *memory* bytes of private memory: the soft RLIMIT_DATA, which counts what is mapped. Return
    what takes the limit away again, so that what happened can be said; it needs no memory for that.

    What is mapped and not touched now, and the stacks of so many *threads*, are added; no container would count them.
    """
    import resource

    threading.stack_size(_STACK)
    sizes = _sizes("self")
    idle = max(0, sizes.get("VmData", 0) - sizes.get("RssAnon", sizes.get("VmRSS", 0)))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = memory + idle + threads * _STACK
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"RLIMIT_DATA is {hard} bytes here already, less than the {wanted} that the demo sets")
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    return partial(resource.setrlimit, resource.RLIMIT_DATA, (hard, hard))


class _OwnGauge(Gauge):
    """Shows a container with nobody in it but this process: what others use on the machine is no part of the demo."""

    def __init__(self, memory: int) -> None:
        super().__init__()
        self._memory = memory

    def read(self, now: float, *, closely: bool = False) -> Reading | None:  # noqa: ARG002  # nothing to look up anew
        before = self._private() if closely else None
        own = self.own()
        return None if own is None else Reading(own.private, self._memory, "RLIMIT_DATA", own, 1, None, before)


def tell_pool(memory: int) -> None:
    """Have our pool see the limit, which stands in no file."""
    watch().gauge = _OwnGauge(memory)


def private_bytes(pid: int | str) -> int:
    """Return the private memory of a process in bytes, 0 if it is gone."""
    sizes = _sizes(pid)
    return sizes.get("RssAnon", sizes.get("VmRSS", 0))


def _sizes(pid: int | str) -> dict[str, int]:
    text = Files().text(f"/proc/{pid}/status")
    return {} if text is None else parse.parse_kib_table(text, _KEYS)
