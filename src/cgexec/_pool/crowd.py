"""How many tasks may run side by side since memory ran out for one: the AIMD limit, and who has to run alone. Pure."""

from collections.abc import Sequence
from math import exp2, inf

from cgexec._memory.aimd import Aimd
from cgexec._pool.holding import Funds, Need
from cgexec._pool.task import ALONE, Task

__all__ = ["Crowd"]

# What ran out of memory though it was alone, beside other processes, waits so long before it is run again, in seconds,
# and twice as long each time after that.
_PAUSE_S = 0.1
# Time counts for the limit as far as somebody looked, in seconds at a time.
_MOST_S = 1.0


class Crowd:
    """The tasks of all pools of the process. Used by one thread at a time."""

    def __init__(self) -> None:
        self.aimd = Aimd()
        self.running = 0  # when memory ran out last, those included for which it did
        self._starved: dict[int, int] = {}
        self._looked = 0.0

    @property
    def limited(self) -> bool:
        """Whether fewer may run than the pools would."""
        return self.aimd.limit < inf

    def see(self, needs: dict[int, Need], ended: int, now: float, *, short: bool = True) -> int:
        """
        Take in what the pools (by any key) run and what has *ended*; return for how many runs memory ran out. Unless it
        is *short*, a MemoryError is no more than that call's own: of an input too large, say.
        """
        before, self._starved = self._starved, {pool: need.starved for pool, need in needs.items()}
        failed = sum(max(0, count - before.get(pool, 0)) for pool, count in self._starved.items()) if short else 0
        seconds, self._looked = min(max(0.0, now - self._looked), _MOST_S), now
        busy = sum(len(need.busy) for need in needs.values())
        if failed:
            self.running = busy + failed
            self.aimd.failed(self.running)
        elif not busy and not any(need.waiting for need in needs.values()):
            self.aimd.forget()
        else:
            self.aimd.went_well(ended, seconds, sum(need.allowed for need in needs.values()))
        return failed

    def narrow(self, funds: Sequence[tuple[Need, Funds]]) -> list[Funds]:
        """
        Return what each pool may start, within the number that may run side by side. A task that ran out of memory too
        often beside others waits until it is alone, and nothing starts beside it.
        """
        alone = next((need for need, _ in funds if any(task.tries >= ALONE for task in _first(need))), None)
        if not self.limited and alone is None:
            return [given for _, given in funds]
        busy = sum(len(need.busy) for need, _ in funds)
        more = max(0, int(self.aimd.limit) - busy) if self.limited else inf
        narrowed = []
        for need, given in funds:
            most = len(need.busy) + more
            if alone is not None:
                most = 1 if need is alone and busy == len(need.busy) and not self._pauses(need) else 0
            elif need.waiting:  # the rest is for who comes first
                more = 0
            narrowed.append(given._replace(bounded=True, most=most))
        return narrowed

    def _pauses(self, need: Need) -> bool:
        if need.head is None or need.head.tries <= ALONE:
            return False
        waited = 0.0 if need.held_since is None else self._looked - need.held_since
        return waited < _PAUSE_S * exp2(need.head.tries - ALONE - 1)


def _first(need: Need) -> list[Task]:
    """Return the tasks that run and the one that is to run next."""
    return [*(task for task, _ in need.busy), *(() if need.head is None else (need.head,))]
