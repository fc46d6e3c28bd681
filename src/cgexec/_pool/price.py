"""What a task counts with while memory bounds what starts."""

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from cgexec._memory.functions import anchor_of
from cgexec._pool.task import Task

__all__ = ["Ended", "Price"]


class Ended(NamedTuple):
    """Calls of one function that have ended, and how many seconds they lasted together."""

    anchor: object
    calls: int
    seconds: float


class Price:
    """
    What a task counts with, remembered for the function that was asked about last: most pools run one for long. Used
    under the lock of the pool it belongs to.
    """

    __slots__ = ("_ask", "_ended", "_fn", "_price", "anchor")

    def __init__(self, ask: Callable[[Task], float]) -> None:
        self._ask = ask
        self._fn: Callable[..., Any] | None = None
        self._price = 0.0
        self.anchor: object = None  # of that function, see `anchor_of`
        self._ended: dict[int, Ended] = {}

    def __call__(self, task: Task) -> float:
        """Return it in bytes."""
        fn = task.fn
        if fn is self._fn and type(fn) is FunctionType and task.extra is None:
            return self._price
        price = self._ask(task)
        if task.extra is None:
            self._fn, self._price, self.anchor = fn, price, anchor_of(fn, task.args)
        return price

    @property
    def asked(self) -> bool:
        """Whether it was asked for since it was forgotten."""
        return self._fn is not None

    def ended(self, anchor: object, seconds: float) -> None:
        """Count a call that was started at a price, and how long it lasted."""
        before = self._ended.get(id(anchor))
        calls, longer = (0, 0.0) if before is None else (before.calls, before.seconds)
        self._ended[id(anchor)] = Ended(anchor, calls + 1, longer + seconds)

    def take_ended(self) -> list[Ended]:
        """Return what was counted since this was asked last."""
        ended, self._ended = self._ended, {}
        return list(ended.values())

    def forget(self) -> None:
        """Ask again: more is known now."""
        self._fn = None
