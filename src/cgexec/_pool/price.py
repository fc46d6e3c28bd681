"""What a task counts with while memory bounds what starts."""

from collections.abc import Callable
from types import FunctionType, MethodType
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
    What a task counts with, remembered for each function until the next look; that of the one asked about last is found
    at once: most pools run one for long. Used under the lock of the pool it belongs to.
    """

    __slots__ = ("_ask", "_ended", "_fn", "_known", "_price", "anchor")

    def __init__(self, ask: Callable[[Task], float]) -> None:
        self._ask = ask
        self._fn: Callable[..., Any] | None = None
        self._price = 0.0
        self._known: dict[object, tuple[object, float]] = {}  # with the anchor, so that its id stays its own
        self.anchor: object = None  # of the function asked about last, see `anchor_of`
        self._ended: dict[object, Ended] = {}

    def __call__(self, task: Task) -> float:
        """Return it in bytes."""
        if task.extra is not None:
            return self._ask(task)
        fn: Any = task.fn
        if type(fn) is MethodType:
            fn = fn.__func__
        if fn is not self._fn or type(fn) is not FunctionType:
            self._fn, self.anchor = fn, anchor_of(fn, task.args)
            key = _key(self.anchor)
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = self.anchor, self._ask(task)
            self._price = known[1]
        return self._price

    @property
    def asked(self) -> bool:
        """Whether it was asked for since it was forgotten."""
        return bool(self._known)

    def forget(self) -> None:
        """Ask again: more is known now."""
        self._fn = None
        self._known.clear()

    def ended(self, anchor: object, seconds: float) -> None:
        """Count a call that was started at a price, and how long it lasted."""
        before = self._ended.get(_key(anchor))
        calls, longer = (0, 0.0) if before is None else (before.calls, before.seconds)
        self._ended[_key(anchor)] = Ended(anchor, calls + 1, longer + seconds)

    def take_ended(self) -> list[Ended]:
        """Return what was counted since this was asked last."""
        ended, self._ended = self._ended, {}
        return list(ended.values())


def _key(anchor: object) -> object:
    """Return what tells functions apart until the next look, for less than `key_of` takes."""
    return anchor if type(anchor) is str else id(anchor)
