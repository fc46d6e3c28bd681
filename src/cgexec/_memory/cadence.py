"""When to look at memory again, and how much of the time looks may take. Pure."""

from typing import NamedTuple

from cgexec._memory.gauge import Reading

__all__ = ["HELD_S", "LEAST_S", "MOST_S", "SHARE", "UNLIMITED_S", "Cadence", "Next"]

# How fast memory may fill, in bytes a second: what page faults allow. It is looked at again before it could be full.
_FILL = 2 << 30
LEAST_S, MOST_S = 0.05, 1.0
_FUSED_S = 0.1  # what others use moves the fuse
# While something is held; doubles up to the second while use changes by less than such a part of the limit.
HELD_S = 0.02
_STILL_S, _STILL = 0.25, 0.01
UNLIMITED_S = 1.0  # where no limit is set, until one is looked for again
# Looks of the workers may cost this share of a CPU: with room, and where something is held or room is scarce.
SHARE, _SHARE_NEAR = 0.005, 0.05
_NEAR = 0.25  # of the plan left


class Next(NamedTuple):
    """The next look: after so many seconds at the latest, sooner if looks take less than *share* of the time."""

    interval: float
    share: float


class Cadence:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._held_at, self._still_s = 0, HELD_S

    def after(self, reading: Reading, available: float, plan: int, ended: int, *, fused: bool, held: bool) -> Next:
        """
        Return when to look again.

        Args:
            reading: memory now.
            available: what may be started, in bytes.
            plan: how far memory is planned to be used, in bytes.
            ended: how many tasks have ended since the last look.
            fused: whether the fuse is held.
            held: whether a task is held back.
        """
        most = _FUSED_S if fused else MOST_S
        interval = min(most, self._patience(reading, ended) if held else max(LEAST_S, reading.room / _FILL))
        return Next(interval, _SHARE_NEAR if held or available < _NEAR * plan else SHARE)

    def _patience(self, reading: Reading, ended: int) -> float:
        """Return when to look again while something is held: the later, the longer nothing changes."""
        if ended or abs(reading.used - self._held_at) > _STILL * reading.limit:
            self._held_at, self._still_s = reading.used, HELD_S
        else:
            self._still_s = min(_STILL_S, 2 * self._still_s)
        return self._still_s
