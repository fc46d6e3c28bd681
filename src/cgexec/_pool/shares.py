"""
Who may start what: divides what memory allows among the pools of the process, and lets one go that does not fit where
nothing would happen otherwise.
"""

from math import inf
from typing import NamedTuple

from cgexec._memory.footprints import Footprint
from cgexec._memory.functions import anchor_of
from cgexec._memory.planner import Outlook, Planner
from cgexec._pool import holding
from cgexec._pool.hands import Hands
from cgexec._pool.holding import Funds, Need, given_for
from cgexec._pool.lulls import Lulls
from cgexec._pool.patience import Patience
from cgexec._pool.reports import Reports
from cgexec._pool.task import Task
from cgexec._settings import Care

__all__ = ["Claim", "Shares"]

# With nothing running, one task starts after so many seconds in which memory did not suffice even for that; or sooner,
# where such starts have been seen to change nothing. Likewise beside tasks that do not end, where less than a part of
# the plan would be in use by all that was seen.
HOLD_LIMIT_S = 5.0
_FAR_BELOW = 0.5
# But where not even what is left below the limit suffices for it, the start would be the kill: only after so many.
# Likewise beside tasks that do not end, where nothing would be left for a surprise.
HOLD_LIMIT_FULL_S = 60.0
# With nothing running for so long, what is refused or blocked is let in as far as there are places: it may be the
# submitters who hold the memory, and would let it go if they came to take results. Likewise what a running task waits
# for is started.
STUCK_S = 1.0


class Claim(NamedTuple):
    """A pool, what it has been told about memory, and what it wants."""

    crew: Hands
    care: Care
    need: Need


class Shares:
    """Divides by what *planner* and *lulls* know. Used by one thread at a time, but for `price`."""

    def __init__(self, planner: Planner, reports: Reports, lulls: Lulls) -> None:
        self._planner, self._reports, self._lulls = planner, reports, lulls
        self._patience = Patience(HOLD_LIMIT_S)

    def price(self, task: Task) -> float:
        """Return what the task is counted with. Pure; any thread, also under a pool's lock."""
        return self._planner.price(self._known(task), given_for(task))

    def _known(self, task: Task) -> Footprint | None:
        return self._planner.footprints.find(anchor_of(task.fn, task.args))

    def share_out(self, pools: list[Claim], outlook: Outlook, now: float) -> list[tuple[Claim, Funds]]:
        """
        Divide what is available. Who has been held longest comes first, with all that its next task needs, so that a
        large task is not starved by the small ones of another pool.
        """
        if not pools:
            return []
        if self._planner.reading is not None:
            self._patience.see(self._planner.reading)
        busy = sum(len(pool.need.busy) for pool in pools)
        # One that has nothing to do looks before it starts something.
        order = [pool for pool in pools if pool.need.works] or pools
        order = sorted(order, key=lambda pool: (pool.need.waiting == 0, pool.need.held_since or inf))
        first = order[0]
        rest = max(1, len(order) - 1)
        mine = outlook.available / len(order)
        if first.need.head is not None:
            mine = max(mine, min(outlook.available, self.price(first.need.head)))
        if len(order) == 1:
            mine = outlook.available
        others = max(0.0, outlook.available - mine) / rest if outlook.available > 0 else outlook.available
        beside = next((pool for pool in order if self._fits_beside(pool, now)), None)
        funds = []
        for pool in order:
            budget = mine if pool is first else others
            price = self._planner.assumed if pool.need.head is None else self.price(pool.need.head)
            held = 0.0 if pool.need.held_since is None else now - pool.need.held_since
            spare = price > budget and (pool is beside or self._may_start_one(pool, first, outlook, busy, price, held))
            shut = outlook.closed and not pool.care.observe and (busy > 0 or held < STUCK_S)
            funds.append((pool, Funds(True, budget, spare, shut)))
        idle = [pool for pool in pools if pool not in order]
        shut = outlook.closed and busy > 0
        return funds + [(pool, Funds(True, min(0.0, others), shut=shut and not pool.care.observe)) for pool in idle]

    def _may_start_one(self, pool: Claim, first: Claim, outlook: Outlook, busy: int, price: float, held: float) -> bool:
        """
        Return whether the pool may start a task though it does not fit: if nothing runs, whatever it needs.

        With the gate closed, beside the tasks of other pools, or where what ended tasks have left behind is in the way,
        only after a while: somebody may be about to free memory.
        """
        seen = pool.need
        if seen.head is None:  # whatever comes first
            return not busy and not outlook.closed and not first.need.waiting
        if seen.busy:
            return False
        known, given = self._known(seen.head), given_for(seen.head)
        if not busy and not outlook.closed and pool is first and not self._planner.lacks(known, given):
            self._reports.alone(pool.crew.name, seen.head, price, self._planner)
            return True
        patience = self._patience.seconds(known, price)
        if held >= (HOLD_LIMIT_FULL_S if self._would_kill(seen.head, seen) else patience):
            self._patience.started((id(pool.crew), seen.held_since))
            self._reports.forced(pool.crew.name, held, self._planner)
            return True
        return False

    def _fits_beside(self, pool: Claim, now: float) -> bool:
        """
        Return whether the pool may start a task beside its others for which memory suffices but for a surprise. Those
        may never end, and as long as nothing ends nothing is learned that would make it cheaper: so that has an end,
        where the pool has seen nothing end, nor the process its use grow, for a while.
        """
        seen = pool.need
        if not seen.busy or seen.head is None or seen.held_since is None:
            return False
        waited = now - max(seen.held_since, self._lulls.since(id(pool.crew)), self._planner.growth.since)
        known, given = self._known(seen.head), given_for(seen.head)
        return (waited >= HOLD_LIMIT_S and self._planner.fits(known, given, _FAR_BELOW)) or (
            waited >= HOLD_LIMIT_FULL_S and self._planner.fits(known, given)
        )

    def owe(self, pool: Claim, given: Funds, now: float) -> Funds:
        """
        Return what the pool may start with what it has to: that for which a task that runs waits, and keeps its memory
        until then, whatever memory and however many run.
        """
        held = 0.0 if pool.need.held_since is None else now - pool.need.held_since
        if held < STUCK_S or not pool.crew.state.nesting:
            return given
        child = holding.bring_forward(pool.crew.state)
        if child is None or (child.apart and not given.alone):  # that waits a little longer
            return given
        starts = self.price(child) <= given.budget and len(pool.need.busy) < given.most
        if starts or (held < HOLD_LIMIT_FULL_S and self._would_kill(child, pool.need)):
            return given
        return given._replace(spare=True)

    def _would_kill(self, task: Task, beside: Need) -> bool:
        """
        Return whether the task is known to need more than what is left below the limit once those that were let go
        ahead have taken what they need, and no fuse is held.
        """
        reading, known, given = self._planner.reading, self._known(task), given_for(task)
        if reading is None or self._planner.bold or (given is None and (known is None or not known.samples)):
            return False
        ahead = sorted((each for each in beside.busy if each[0].nested), key=lambda each: -each[1])
        untaken = self._planner.untaken((id(each), since) for each, since in ahead)
        return self._planner.needed(known, given) > reading.room - untaken
