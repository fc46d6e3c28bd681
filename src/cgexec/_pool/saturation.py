"""What is said in the log when a pool has no place: seldom, and with what whoever reads it has to know."""

from collections import Counter

from cgexec._memory.gauge import Reading
from cgexec._pool.admission import Admission
from cgexec._pool.log import Log
from cgexec._pool.look import look
from cgexec._pool.overdue import function_name
from cgexec._quantity import format_bytes

__all__ = ["Saturation", "describe", "places_taken"]

_LOGGER = Log("cgexec")
# A pool that refuses says so at once, and then no more often than this, in seconds.
_QUIET_S = 60.0
_WHAT_TO_DO = {
    False: "Hand in less, make tasks shorter, or have more workers or replicas.",
    True: "Lower the memory of a task, raise the limit, or have more replicas.",
}


class Saturation:
    """
    Counts refusals, and says now and then that there are any. Without a lock: two that refuse at the same moment may
    both say it, or a count be off by one.
    """

    def __init__(self) -> None:
        self._since: Counter[str] = Counter()
        self._next = 0.0

    def refused(self, pool: str, state: Admission, reason: str, memory: Reading | None, now: float) -> None:
        """Take note of a refusal. *memory* at the last look at it, None without one."""
        self._since[reason] += 1
        if now < self._next:
            return
        self._next = now + _QUIET_S
        counts, self._since = self._since, Counter()
        reasons = ", ".join(f"{count} for {name}" for name, count in sorted(counts.items()))
        _LOGGER.warning(
            "[pool-saturated] pool %r refuses tasks (%s since this was last said): %s. %s",
            pool, reasons, describe(state, memory, now), _WHAT_TO_DO[state.held_since is not None],
        )  # fmt: skip


def places_taken(waiting: int, places: float) -> str:
    """Return in words how full a queue is. Tasks that only memory holds back take none of its places."""
    more = f" and {waiting - places:g} more waiting" if waiting > places else ""
    return f"{min(waiting, places):g} of {places:g} places taken{more}"


def describe(state: Admission, memory: Reading | None, now: float) -> str:
    """Return in words how busy a pool is, for how long, and with what. *memory* at the last look, None without one."""
    numbers, longest = look(state, now)
    parts = [
        places_taken(numbers["waiting"], numbers["queue_size"]),
        f"{numbers['running']} of {numbers['limit']} workers busy",
    ]
    if numbers["oldest_waiting"] is not None:
        parts.append(f"the oldest has waited for {numbers['oldest_waiting']:.3g} s")
    if longest is not None and longest.fn is not None:
        parts.append(f"{function_name(longest)} has been running for {numbers['longest_running']:.3g} s")
    if numbers["held_for"] is not None:
        parts.append(f"memory has held tasks back for {numbers['held_for']:.3g} s")
    if memory is not None:
        parts.append(f"{format_bytes(memory.used)} of {format_bytes(memory.limit)} of memory in use")
    return ", ".join(parts)
