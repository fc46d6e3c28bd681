"""What a task counts with while memory bounds what starts."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from cgexec._memory.functions import anchor_of
from cgexec._pool.task import Task

__all__ = ["Price"]


class Price:
    """
    What a task counts with, remembered for the function that was asked about last: most pools run one for long. Used
    under the lock of the pool it belongs to.
    """

    __slots__ = ("_ask", "_fn", "_price", "anchor")

    def __init__(self, ask: Callable[[Task], float]) -> None:
        self._ask = ask
        self._fn: Callable[..., Any] | None = None
        self._price = 0.0
        self.anchor: object = None  # of that function, see `anchor_of`

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

    def forget(self) -> None:
        """Ask again: more is known now."""
        self._fn = None
