"""Objects that are remembered as long as somebody else keeps them. Unlike a ``WeakSet``, it is read without a lock."""

from typing import Generic, TypeVar
from weakref import ref

__all__ = ["Weakly"]

T = TypeVar("T")


class Weakly(Generic[T]):
    """
    Any thread may add and look. A ``WeakSet`` raises "Set changed size during iteration" at one that looks while
    another adds; here both are one operation of a built-in set.
    """

    def __init__(self) -> None:
        self._refs: set[ref[T]] = set()

    def add(self, item: T) -> None:
        """Remember *item* until it is collected."""
        self._refs.add(ref(item, self._refs.discard))

    def all(self) -> list[T]:
        """Return those that are there."""
        return [item for each in self._refs.copy() if (item := each()) is not None]
