"""How many tasks may run side by side since memory ran out for one: the AIMD limit, and who has to run alone. Pure."""

from collections.abc import Sequence
from math import inf

from cgexec._memory.aimd import Aimd
from cgexec._pool.apart import Apart
from cgexec._pool.holding import Funds, Need
from cgexec._pool.task import ALONE

__all__ = ["Crowd"]

# Time counts for the limit as far as somebody looked, in seconds at a time.
_MOST_S = 1.0


class Crowd:
    """The tasks of all pools of the process. Used by one thread at a time."""

    def __init__(self) -> None:
        self.aimd = Aimd()
        self.apart = Apart()
        self.running = 0  # when memory ran out last, those included for which it did
        self._starved: dict[int, int] = {}
        self._looked = 0.0

    @property
    def limited(self) -> bool:
        """Whether fewer may run than the pools would."""
        return self.aimd.limit < inf or self.apart.need is not None

    def see(self, needs: dict[int, Need], ended: int, now: float, *, short: bool = True) -> int:
        """
        Take in what the pools (by any key) run and what has *ended*; return for how many runs memory ran out. Unless it
        is *short*, a MemoryError is no more than that call's own: of an input too large, say.
        """
        before, self._starved = self._starved, {pool: need.starved for pool, need in needs.items()}
        starved = {pool: max(0, count - before.get(pool, 0)) for pool, count in self._starved.items()}
        failed = sum(starved.values()) if short else 0
        seconds, self._looked = min(max(0.0, now - self._looked), _MOST_S), now
        busy = sum(len(need.busy) for need in needs.values())
        if failed:
            self.running = busy + failed
            self.aimd.failed(self.running)
        elif not busy and not any(need.waiting for need in needs.values()):
            self.aimd.forget()
        else:
            self.aimd.went_well(ended, seconds, sum(need.allowed for need in needs.values()))
        if sum(starved.values()) == 1 and not busy:
            self._was_alone(next(needs[pool] for pool, count in starved.items() if count))
        self.apart.see(list(needs.values()), ended, now)
        return failed

    @staticmethod
    def _was_alone(need: Need) -> None:
        """Have what ran out of memory though nothing ran beside it run once more, and no more often than that."""
        if need.head is not None and 0 < need.head.tries < ALONE:
            need.head.tries, need.head.apart = ALONE, not need.head.home.observe

    def narrow(self, funds: Sequence[tuple[Need, Funds]]) -> list[Funds]:
        """
        Return what each pool may start, within the number that may run side by side. What has to be alone waits until
        it is (see `Apart`), and nothing starts beside it.
        """
        if not self.limited:
            return [given for _, given in funds]
        if self.apart.need is not None:
            starts = [int(need is self.apart.need and self.apart.may_start) for need, _ in funds]
            return [_narrowed(*each, more, alone=more > 0) for each, more in zip(funds, starts, strict=True)]
        more = max(0, int(self.aimd.limit) - sum(len(need.busy) for need, _ in funds))
        narrowed = []
        for need, given in funds:
            narrowed.append(_narrowed(need, given, more))
            if need.waiting:  # the rest is for who comes first
                more = 0
        return narrowed


def _narrowed(need: Need, given: Funds, more: int, *, alone: bool = False) -> Funds:
    return given._replace(bounded=True, most=len(need.busy) + more, spare=given.spare and more > 0, alone=alone)
