"""What is said in the log when a pool has no place: seldom, and with what whoever reads it has to know."""

import logging
from collections import Counter

from cgexec._pool.admission import Admission
from cgexec._pool.look import look
from cgexec._pool.overdue import function_name

__all__ = ["Saturation", "describe"]

_LOGGER = logging.getLogger("cgexec")
# A pool that refuses says so at once, and then no more often than this, in seconds.
_QUIET_S = 60.0


class Saturation:
    """
    Counts refusals, and says now and then that there are any. Without a lock: two that refuse at the same moment may
    both say it, or a count be off by one.
    """

    def __init__(self) -> None:
        self._since: Counter[str] = Counter()
        self._next = 0.0

    def refused(self, pool: str, state: Admission, reason: str, now: float) -> None:
        """Take note of a refusal."""
        self._since[reason] += 1
        if now < self._next:
            return
        self._next = now + _QUIET_S
        counts, self._since = self._since, Counter()
        reasons = ", ".join(f"{count} for {name}" for name, count in sorted(counts.items()))
        _LOGGER.warning(
            "[pool-saturated] pool %r refuses tasks (%s since this was last said): %s. Hand in less, make tasks "
            "shorter, or have more workers or replicas.",
            pool, reasons, describe(state, now),
        )  # fmt: skip


def describe(state: Admission, now: float) -> str:
    """Return in words how busy a pool is, for how long, and with what."""
    numbers, longest = look(state, now)
    parts = [
        f"{numbers['waiting']} of {numbers['queue_size']:g} places taken",
        f"{numbers['running']} of {numbers['limit']} workers busy",
    ]
    if numbers["oldest_waiting"] is not None:
        parts.append(f"the oldest has waited for {numbers['oldest_waiting']:.3g} s")
    if longest is not None and longest.fn is not None:
        parts.append(f"{function_name(longest)} has been running for {numbers['longest_running']:.3g} s")
    if numbers["held_for"] is not None:
        parts.append(f"memory has held tasks back for {numbers['held_for']:.3g} s")
    return ", ".join(parts)
