"""
Attributes of the standard pool that tools and CPython's own tests read: `_max_workers`, `_threads`, `_broken` and
`_shutdown` say what is true of this pool, `_work_queue` how much waits and no more.

The standard constructor sets them, and with CGEXEC_MODE=off the standard pool uses them. Otherwise they are answered
from our own state, and what else that constructor sets (`_idle_semaphore`, the locks) is there without meaning
anything. Nothing else in the package touches a private name of the standard library's pool.
"""

import threading
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from cgexec._pool.admission import Admission
    from cgexec._pool.front import Pool

__all__ = ["StockNames"]


class _Queue:
    """What a tool may ask the standard pool's work queue."""

    def __init__(self, state: "Admission") -> None:
        self._state = state

    def qsize(self) -> int:
        return self._state.waiting()

    def empty(self) -> bool:
        return not self.qsize()


class StockNames:
    """Mixed in before the standard class. Each property is what the constructor stored until there is a pool."""

    _cgexec_pool: "Pool | None" = None

    @property
    def _max_workers(self) -> int:
        return (
            cast("int", self.__dict__["_max_workers"]) if self._cgexec_pool is None else self._cgexec_pool.state.limit
        )

    @_max_workers.setter
    def _max_workers(self, value: int) -> None:
        if self._cgexec_pool is None:
            self.__dict__["_max_workers"] = value
        else:  # a known trick to resize a standard pool
            self.resize(value)

    def resize(self, max_workers: int) -> None:
        raise NotImplementedError

    @property
    def _threads(self) -> set[threading.Thread]:
        return (
            cast("set[threading.Thread]", self.__dict__["_threads"])
            if self._cgexec_pool is None
            else self._cgexec_pool.crew.threads()
        )

    @_threads.setter
    def _threads(self, value: set[threading.Thread]) -> None:
        self.__dict__["_threads"] = value

    @property
    def _broken(self) -> "str | bool":
        if self._cgexec_pool is None:
            return cast("str | bool", self.__dict__["_broken"])
        closed = self._cgexec_pool.state.closed
        return closed.text if closed is not None and closed.final else False

    @_broken.setter
    def _broken(self, value: "str | bool") -> None:
        self.__dict__["_broken"] = value

    @property
    def _shutdown(self) -> bool:
        return (
            cast("bool", self.__dict__["_shutdown"])
            if self._cgexec_pool is None
            else self._cgexec_pool.state.closed is not None
        )

    @_shutdown.setter
    def _shutdown(self, value: bool) -> None:
        self.__dict__["_shutdown"] = value

    @property
    def _work_queue(self) -> Any:  # the standard library's own queue, or ours
        return self.__dict__["_work_queue"] if self._cgexec_pool is None else _Queue(self._cgexec_pool.state)

    @_work_queue.setter
    def _work_queue(self, value: Any) -> None:
        self.__dict__["_work_queue"] = value
