"""What a pool had not finished when its time was up."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Leftovers", "Running", "Unstarted"]


@dataclass(frozen=True, slots=True)
class Unstarted:
    """
    A task that never ran and will not: its future is cancelled. The call is here, to be stored or handed in elsewhere.

    Attributes:
        future: what `submit` returned.
        fn: the function, with its *args* and *kwargs*.
        waited_seconds: how long it had been waiting.
    """

    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(hash=False)
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Running:
    """
    A task that is still running, and cannot be ended from outside: `cgexec.cancel` asks it to.

    Attributes:
        future: what `submit` returned.
        function: the name of its function.
        seconds: how long it has been running.
        thread: the name of the thread that it runs in.
    """

    future: Future[Any]
    function: str
    seconds: float
    thread: str


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What `drain` had to leave. False as a condition if that is nothing."""

    unstarted: tuple[Unstarted, ...] = ()
    running: tuple[Running, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.unstarted or self.running)
