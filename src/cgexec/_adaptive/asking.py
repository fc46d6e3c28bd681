"""How often the interpreter lock is taken when a thread that wakes up by time asks for it."""

from collections import deque

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["Asks", "sleeps"]

# So many asks are remembered for so many seconds, and from so many on they tell something.
_MOST, _REMEMBERED_S, _LEAST = 8, 4.0, 4
_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)  # Linux


def sleeps() -> int:
    """
    Return how often this thread went to sleep of its own accord so far: ``ru_nvcsw`` of getrusage(2), which lets go of
    no lock. 0 where that is not counted.
    """
    try:
        return 0 if _THREAD is None else resource.getrusage(_THREAD).ru_nvcsw
    except (OSError, ValueError):  # forbidden by seccomp, or unknown to who stands for the kernel
        return 0


class Asks:
    """
    What was found by a thread that wakes up by time. Fed by one thread, read by any.

    Who wakes up has slept once, and asks for the interpreter lock. If another thread has it, it sleeps once more: so it
    is known by the count of sleeps, and a wait for a CPU, which is none, is not taken for it. As it wakes at times that
    have nothing to do with what tasks do, the share of asks that find the lock taken is the share of time in which it
    is (R. W. Wolff, "Poisson Arrivals See Time Averages", 1982, which this approximates).
    """

    def __init__(self) -> None:
        self._last: deque[tuple[float, bool]] = deque(maxlen=_MOST)

    def woke(self, now: float, slept: int) -> None:
        """Take in that somebody has the lock again, having slept so often, the time it was to sleep included."""
        if slept:  # it is counted here
            self._last.append((now, slept > 1))

    def taken(self, now: float, since: float = 0.0) -> float | None:
        """Return the share of the last asks that found the lock taken, *since* then; None if they were few."""
        found = [taken for when, taken in list(self._last) if when >= max(since, now - _REMEMBERED_S)]
        return sum(found) / len(found) if len(found) >= _LEAST else None

    def was_taken(self) -> bool:
        """Return whether the last ask found it taken."""
        last = list(self._last)[-1:]
        return bool(last) and last[0][1]
