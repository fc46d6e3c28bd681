"""
What is known of executors that others wrote: how many workers they have, where their calls run, and what each wants.

Told apart by the names of their classes, so that none of their packages is loaded.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

__all__ = ["Inner", "Kind", "inner"]

# Where calls run: threads of this interpreter, other interpreters of this process, its child processes, other
# machines; "unknown" is any of these.
Kind = Literal["thread", "interpreter", "process", "remote", "unknown"]

_KINDS: Mapping[str, Kind] = {
    "concurrent.futures.interpreter.InterpreterPoolExecutor": "interpreter",  # a subclass of the thread pool
    "concurrent.futures.thread.ThreadPoolExecutor": "thread",
    "concurrent.futures.process.ProcessPoolExecutor": "process",
    "loky.process_executor.ProcessPoolExecutor": "process",
    "mpi4py.futures.pool.MPIPoolExecutor": "remote",
    "distributed.cfexecutor.ClientExecutor": "remote",
    "cgexec.distributed.ClusterExecutor": "remote",
}
# Has no hook of its own at the end of the interpreter; its client then loses what is in flight. All its futures end.
_UNATTENDED = "cgexec.distributed.ClusterExecutor"
# Dask takes two calls of one function with equal arguments for the same, and runs the first, unless told otherwise.
_DASK: Mapping[str, Any] = MappingProxyType({"pure": False})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Inner(NamedTuple):
    """
    An executor and what is known of it.

    *workers*: how many calls it runs at once, None if it does not say; *attended*: what is in flight when the
    interpreter ends is its own to wait for, or to leave.
    """

    executor: Executor
    kind: Kind
    workers: int | None
    words: Mapping[str, Any]  # keywords for its own submit()
    attended: bool

    @property
    def says_running(self) -> bool:
        """Whether its futures tell running from waiting at once; else a running call may be cancelled by mistake."""
        return self.kind in ("thread", "interpreter", "process")

    @property
    def name(self) -> str:
        """What it is called in texts."""
        return type(self.executor).__name__

    def is_broken(self) -> bool:
        """Return whether it says that it is broken for good; there is no public way to ask but to submit."""
        flags = getattr(self.executor, "_flags", None)  # loky's
        return bool(getattr(self.executor, "_broken", False) or getattr(flags, "broken", None))

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> Future[Any]:
        """
        Have it call ``fn(*args, **kwargs)``.

        Keywords go by way of a partial, as some executors take a few (``fn``, ``key``, ``workers``) for their own.
        """
        call = partial(fn, **kwargs) if kwargs else fn
        if self.kind != "process":
            return self.executor.submit(call, *args, **self.words)
        before = _processes(self.executor)
        future = self.executor.submit(call, *args, **self.words)
        if _processes(self.executor) > before:
            _watch_new_process(self.executor)
        return future


def inner(executor: Executor) -> Inner:
    """
    Return what is known of an executor.

    Raises:
        TypeError: it is none. Something with a ``submit`` is not enough: pebble's pools have one that takes other
            arguments.
    """
    if not isinstance(executor, Executor):
        raise TypeError(
            f"cgexec.wrap() needs a concurrent.futures.Executor, got {type(executor).__name__}; "
            "what has another submit() needs a small subclass of Executor (docs/howto/wrap.md)"
        )
    names = [f"{each.__module__}.{each.__qualname__}" for each in type(executor).__mro__]
    kinds: list[Kind] = [*(_KINDS[name] for name in names if name in _KINDS), "unknown"]
    dask = "distributed.cfexecutor.ClientExecutor" in names
    workers = getattr(executor, "_max_workers", None)  # there is no public way to ask
    known = isinstance(workers, int) and not isinstance(workers, bool) and workers > 0
    words = _DASK if dask else _NOTHING
    return Inner(executor, kinds[0], workers if known else None, words, attended=_UNATTENDED not in names)


def _processes(executor: Executor) -> int:
    """Return how many a standard process pool has that starts them one by one, as calls come; 0 for all others."""
    one_by_one = getattr(executor, "_safe_to_dynamically_spawn_children", False)
    return len(getattr(executor, "_processes", None) or ()) if one_by_one else 0


def _watch_new_process(executor: Any) -> None:
    """
    Have the standard process pool see a process that it has just started.

    CPython (3.11 to 3.15) wakes the thread that watches the processes before it starts one for the call, not after.
    Killed before anything else happens, such a process would be missed, and its call would never end.
    """
    with executor._shutdown_lock:  # noqa: SLF001  # there is no public way to wake it but another call
        wakeup = executor._executor_manager_thread_wakeup  # noqa: SLF001
        if wakeup is not None:
            wakeup.wakeup()
