"""The pools of the process and their tasks, as one look at memory finds them."""

from cgexec._memory.footprints import Footprint, Footprints
from cgexec._memory.functions import anchor_of, name_of
from cgexec._memory.gauge import Reading
from cgexec._memory.learning import Running
from cgexec._pool import holding
from cgexec._pool.hands import Hands
from cgexec._pool.holding import Need, given_for
from cgexec._pool.records import Worker
from cgexec._pool.shares import Claim
from cgexec._pool.task import Task
from cgexec._pool.weakly import Weakly

__all__ = ["Scene", "wanted"]


class Scene:
    """Finds what runs, and which functions; new ones are added to *footprints*. Used by one thread at a time."""

    def __init__(self, footprints: Footprints) -> None:
        self.crews: Weakly[Hands] = Weakly()
        self._footprints = footprints

    def claims(self, asking: Worker | None) -> list[Claim]:
        """Return the pools and what they want; *asking* is the worker that looks, between two tasks."""
        pools = []
        for crew in self.crews.all():
            seen = holding.need(crew.state, asking)
            if isinstance(seen, Need):
                pools.append(Claim(crew, crew.care, seen))
        return pools

    def running(self, pools: list[Claim]) -> list[Running]:
        """Return the tasks that run."""
        return [each for pool in pools for task, since in pool.need.busy for each in self._running(pool, task, since)]

    def late(self, pools: list[Claim], asking: Worker | None) -> list[Running]:
        """Return the tasks that have begun since what the pools want was asked."""
        late = []
        for pool in pools:
            known = {(id(task), since) for task, since in pool.need.busy}
            busy = holding.busy(pool.crew.state, asking)
            if isinstance(busy, list):
                new = [each for each in busy if (id(each[0]), each[1]) not in known]
                late += [each for task, since in new for each in self._running(pool, task, since)]
        return late

    def _running(self, pool: Claim, task: Task, since: float) -> list[Running]:
        fn, args = task.fn, task.args
        if fn is None:  # it has ended meanwhile
            return []
        footprint = self._footprint(pool, anchor_of(fn, args))
        return [Running((id(task), since), footprint, since, given_for(task), pool.need.usual)]

    def lately(self, pools: list[Claim], ended: dict[int, int]) -> list[Footprint]:
        """
        Return the functions of tasks that ended since the last look, and may have been too short to be seen. *ended*:
        how many of each pool, by the id of its crew.
        """
        lately = []
        for pool in pools:
            state, begun = pool.crew.state, pool.crew.state.begun
            # If nothing was asked since it is of long ago, maybe, and those that run tell more.
            recent = state.price.asked or not pool.need.busy
            if begun is not None and recent and ended[id(pool.crew)]:
                lately.append(self._footprint(pool, begun))
        return lately

    def lasted(self, pools: list[Claim]) -> dict[Footprint, tuple[int, float]]:
        """Return how many calls of each function have ended, and how many seconds they lasted together."""
        lasted: dict[Footprint, tuple[int, float]] = {}
        for pool in pools:
            for each in pool.need.lasted:
                footprint = self._footprint(pool, each.anchor)
                count, seconds = lasted.get(footprint, (0, 0.0))
                lasted[footprint] = count + each.calls, seconds + each.seconds
        return lasted

    def _footprint(self, pool: Claim, anchor: object) -> Footprint:
        footprint = self._footprints.get(anchor, name_of(anchor))
        pool.crew.saw(footprint)
        return footprint


def wanted(pools: list[Claim], reading: Reading) -> int:
    """Return how many tasks could be running, were memory no concern."""
    threads = 0 if reading.own is None else reading.own.threads
    callers = any(pool.care.callers for pool in pools)
    return sum(pool.need.allowed for pool in pools) + (threads if callers else 0)
