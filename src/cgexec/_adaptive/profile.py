"""
What a pool has learned about its tasks: `Profile`, and how it is measured.

The CPU clocks of some threads are read at each look. Between two looks in which a thread ran the same function, its CPU
time over the time that went by is that function's share of computing. Taken while CPUs are short that share is too
small, as waiting for a CPU or for the interpreter lock looks like waiting for a disk; so it is kept apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cgexec._memory.functions import key_of, numbered
from cgexec._workload import LEAST_PER_TASK

__all__ = ["FunctionProfile", "Known", "Look", "Profile", "Profiler", "of_totals"]

# Functions remembered, as in `_memory.footprints`.
_MOST = 2000
# Fewer looks than this do not make a ratio.
_LEAST = 3
# `recommend` takes no ratio of 1, and a task that computes less than this is bounded by other things.
_MOST_IO = 0.999


@dataclass(frozen=True, slots=True)
class FunctionProfile:
    """
    What was learned about one function.

    Attributes:
        io_ratio: the share of its time in which it needs no CPU; None is not known.
        memory_per_task: bytes that a call is counted with; None is not known.
        samples: looks at a thread that ran it.
    """

    io_ratio: float | None
    memory_per_task: int | None
    samples: int


@dataclass(frozen=True, slots=True)
class Profile:
    """
    What a pool has learned about its tasks; None is not known (yet).

    Attributes:
        io_ratio: the share of a task's time in which it needs no CPU, over all functions.
        cpu_per_task: the other spelling: ``1 - io_ratio``.
        crowded: whether that was seen only while CPUs or the interpreter lock were short. Then it includes waiting for
            them: an upper bound, which describes the pool at its present size.
        memory_per_task: the bytes that a call of the hungriest function is counted with.
        releases_gil: False if more workers brought nothing though CPUs were left, as pure Python does; True if more
            than one CPU was used at once.
        samples: looks at threads that this rests on.
        functions: each by its name; the second of that name is "name (2)". What their memory comes to is learned from
            all pools of the process.
    """

    io_ratio: float | None = None
    crowded: bool = False
    memory_per_task: int | None = None
    releases_gil: bool | None = None
    samples: int = 0
    functions: Mapping[str, FunctionProfile] = field(default_factory=dict, hash=False)

    @property
    def cpu_per_task(self) -> float | None:
        """``1 - io_ratio``."""
        return None if self.io_ratio is None else 1 - self.io_ratio

    def as_kwargs(self) -> dict[str, Any]:
        """
        Return what is known as arguments for `cgexec.recommend` or another pool. Memory that is less than they take
        for an estimate is left out.
        """
        memory = self.memory_per_task
        if memory is not None and memory < LEAST_PER_TASK:
            memory = None
        known = {"io_ratio": self.io_ratio, "memory_per_task": memory, "releases_gil": self.releases_gil}
        return {name: value for name, value in known.items() if value is not None}


class Look(NamedTuple):
    """
    A thread at one instant: which function it runs (its *anchor*, see `_memory.functions`, and its name), and its CPU
    time in seconds.
    """

    thread: int
    anchor: object
    name: str
    cpu: float


class Known(NamedTuple):
    """What is known of a function's memory: the bytes of a call, None if unknown, from so many calls."""

    anchor: object
    name: str
    memory: int | None
    samples: int


class _Sums:
    """Seconds computed and seconds gone by, over so many looks; *anchor* is kept, so that its id stays its own."""

    __slots__ = ("anchor", "cpu", "looks", "name", "wall")

    def __init__(self, anchor: object = None, name: str = "") -> None:
        self.anchor, self.name = anchor, name
        self.cpu = self.wall = 0.0
        self.looks = 0

    def add(self, cpu: float, wall: float) -> None:
        self.cpu += cpu
        self.wall += wall
        self.looks += 1

    def io_ratio(self) -> float | None:
        if self.looks < _LEAST or self.wall <= 0:
            return None
        return round(max(0.0, min(_MOST_IO, 1 - self.cpu / self.wall)), 4)


class Profiler:
    """Adds up looks. Fed by one thread at a time; `profile` may be called by any."""

    def __init__(self) -> None:
        self._clear, self.crowded = _Sums(), _Sums()
        self._functions: dict[object, _Sums] = {}
        self._last: dict[int, Look] = {}
        self._when = 0.0
        self.most_cpu = 0.0  # the most CPUs that were used at once
        self.locked = False  # more workers brought nothing, though CPUs were left

    def feed(self, now: float, looks: Iterable[Look], *, crowded: bool, stopped: float = 0.0) -> None:
        """
        Take in what threads ran at *now*.

        Args:
            now: monotonic seconds.
            looks: threads that had a task all the while, or at least whenever something waited.
            crowded: whether CPUs or the interpreter lock were short since the last time.
            stopped: seconds since then in which the quota stopped everything.
        """
        wall, self._when = now - self._when - stopped, now
        seen = {look.thread: look for look in looks}
        for look in seen.values():
            before = self._last.get(look.thread)
            key = key_of(look.anchor)
            if before is None or key_of(before.anchor) != key or wall <= 0:
                continue
            cpu = max(0.0, look.cpu - before.cpu)
            (self.crowded if crowded else self._clear).add(cpu, wall)
            if not crowded:
                if len(self._functions) >= _MOST:
                    self._functions = {}
                if key not in self._functions:
                    self._functions[key] = _Sums(look.anchor, look.name)
                self._functions[key].add(cpu, wall)
        self._last = seen

    def rest(self) -> None:
        """Forget what threads ran last: they have waited for work since."""
        self._last = {}

    def profile(self, footprints: Sequence[Known]) -> Profile:
        """Return what is known; *footprints* is what is known of memory, in the order in which names are numbered."""
        sums = dict(self._functions)
        found = [(each, sums.pop(key_of(each.anchor), None)) for each in footprints]
        found += [(Known(mine.anchor, mine.name, None, 0), mine) for mine in sums.values()]
        functions = {
            name: FunctionProfile(
                None if mine is None else mine.io_ratio(), each.memory, each.samples if mine is None else mine.looks
            )
            for name, (each, mine) in zip(numbered(each.name for each, _ in found), found, strict=True)
        }
        clear = self._clear.io_ratio()
        used = self.crowded if clear is None else self._clear
        return Profile(
            io_ratio=used.io_ratio(),
            crowded=clear is None and used.io_ratio() is not None,
            memory_per_task=max((each.memory for each in footprints if each.memory is not None), default=None),
            releases_gil=True if self.most_cpu > 1.2 else False if self.locked else None,
            samples=used.looks,
            functions=functions,
        )


def of_totals(cpu: float, wall: float, ended: int, footprints: Sequence[Known]) -> Profile:
    """Return what the totals of a pool tell that was never looked at by time, in seconds: an upper bound."""
    profiler = Profiler()
    profiler.crowded.cpu, profiler.crowded.wall, profiler.crowded.looks = cpu, wall, ended
    return profiler.profile(footprints)
