"""
The one look at memory that all pools of the process share, since headroom belongs to the container.

Workers look when they finish tasks, because a thread of its own starves beside many that hold the interpreter lock; the
ticker looks when nothing finishes. Both at most as often as it is worth: see `Watch.due`. With no work nobody looks,
but for once more after the last; and what comes then does not start before somebody has. Without a limit the ticker
never looks, and what comes a second after the last look does not start before somebody has looked for one.
"""

import os
import threading
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Any

from cgexec._kernel.host import allocations_are_limited
from cgexec._memory.allocator import pin, share_arena
from cgexec._memory.cadence import HELD_S, LEAST_S, MOST_S, SHARE, UNLIMITED_S, Cadence, Next
from cgexec._memory.fuse import fuse
from cgexec._memory.gauge import Gauge, Reading
from cgexec._memory.planner import Planner, margin_of
from cgexec._memory.relief import Relief
from cgexec._memory.reusable import Reusable
from cgexec._memory.thrash import Thrash
from cgexec._pool import holding, ticker
from cgexec._pool.crowd import Crowd
from cgexec._pool.flight import flight
from cgexec._pool.guard import is_owned
from cgexec._pool.hands import Hands
from cgexec._pool.holding import Funds, given_for
from cgexec._pool.lulls import Lulls
from cgexec._pool.price import Price
from cgexec._pool.records import Chore, Worker
from cgexec._pool.relieving import relieve
from cgexec._pool.reports import Reports
from cgexec._pool.scene import Scene, wanted
from cgexec._pool.shares import Claim, Shares

__all__ = ["Watch", "watch"]

# Memory is asked back if so much of the limit is used and nobody is known to need it.
_SURPLUS = 0.04
# From this share of the plan on memory counts as short where something is held.
_SHORT = 0.3
_TAKEN = 0.5  # of the limit: with less files have room

_Call = tuple[Hands, Worker | None, Iterable[Chore]]


class Watch:
    """
    Looks at memory and gives each pool its budget.

    Whoever has the lock looks; nobody waits for it. *due* is read by every worker without it: a hint. Re-entrant only
    because such a lock knows whose it is: a signal's handler that raises must not leave it taken.
    """

    share_arena: Callable[[], None] = staticmethod(share_arena)  # `cgexec.testing` has another: the process is real

    def __init__(self) -> None:
        self.due = 0.0
        self.gauge = Gauge()
        self.planner = Planner()
        self.relief = Relief()
        self.thrash = Thrash()
        self.reusable = Reusable()
        self.crowd = Crowd()
        self.reports = Reports()
        self.lulls = Lulls()
        self.shares = Shares(self.planner, self.reports, self.lulls)
        self._lock = threading.RLock()
        self._looking = False  # somebody does; a hint
        self.scene = Scene(self.planner.footprints)
        self.cadence = Cadence()
        self._looked = 0.0
        self._wanted = self._wants_relief = self._pinned = False
        self._limit, self._lowered = 0, False  # at the last look; and whether it has fallen under a fuse
        self._resting = self._rested = False  # nobody has work; and since then what was left has been asked back

    def add(self, crew: Hands) -> None:
        """Look after a pool; at once, so that without a limit its first tasks do not meet a bound."""
        crew.state.price = Price(self.shares.price)
        crew.state.bounded = not crew.state.observe  # nothing starts before the first look
        self.scene.crews.add(crew)
        self.look()
        if self.reading is not None and not crew.care.observe:
            self.share_arena()  # before the pool has threads

    @property
    def reading(self) -> Reading | None:
        """Memory at the last look, None where no limit was found."""
        return self.planner.reading

    def view(self) -> dict[str, Any]:
        """Return what is known of memory, as fields of `Stats`."""
        reading = self.planner.reading
        if reading is None:
            return {}
        return {
            "memory_used": reading.used,
            "memory_limit": reading.limit,
            "footprints": self.planner.footprints.learned(),
            "reliefs": self.relief.times,
            "relieved_bytes": self.relief.bytes,
            "oom_kills": reading.oom_kills,
            "fuse": fuse().limit,
        }

    def look(self, asking: Worker | None = None) -> None:
        """
        Look at memory now and tell every pool, unless another thread is at it. *asking*: a worker between two tasks.

        Never raises; nothing the kernel says, and no lack of memory or descriptors, stops a worker.
        """
        if asking is not None and self._looking:  # only passing by: another's look will do
            return
        # One who finds another at it may have come too late for it to see, and has it look once more.
        self._wanted = True
        if is_owned(self._lock):  # a finalizer or a handler in the middle of a look of this thread
            return
        try:
            self._look_while_wanted(asking)
        except BaseException:  # interrupted: by then the lock may be taken and not given back
            while is_owned(self._lock):
                self._looking = False
                self._lock.release()
            raise

    def _look_while_wanted(self, asking: Worker | None) -> None:
        while self._wanted and self._lock.acquire(False):
            calls: list[_Call] = []
            try:
                self._wanted, self._looking = False, True
                self._look(asking, calls)
            except Exception as error:  # noqa: BLE001  # MemoryError, above all: looked at again soon
                self.due = monotonic() + HELD_S
                self.reports.trouble(error)
                ticker.call_at(self, self.due)
            finally:
                self._looking = False
                self._lock.release()
            for crew, worker, chores in calls:
                crew.call_all([] if worker is None else [worker], chores)

    def tick(self, now: float) -> float | None:
        """
        Look if nobody did for a while; return when to come again if somebody did, or is at it.

        Whoever looks has this called again if there is work; so with no work there is no thread. The clock stays until
        the other has done so, as it might be refused a new thread then.
        """
        due = self.due
        if now >= due:
            self.look()
        self._ask_back(now)
        if self._wanted:
            return now + HELD_S
        return due if now < due else None

    def _ask_back(self, now: float) -> None:
        """Ask memory back if tasks are held for want of it, or all have ended; the looks that follow see the effect."""
        reading = self.planner.reading
        if not self._wants_relief or reading is None or not self._lock.acquire(False):
            return
        try:
            asked = self.relief.ask(reading.used, now, at_rest=self._resting)
        finally:
            self._lock.release()
        if asked is not None:
            relieve(asked, self)

    # -- one look ---------------------------------------------------------------------------------------------------

    def _look(self, asking: Worker | None, calls: list[_Call]) -> None:
        """Look, and put into *calls* who has to be called, whatever goes wrong later on."""
        begin = monotonic()
        pools = self.scene.claims(asking)
        since = self.lulls.see({id(pool.crew): pool.need.ended for pool in pools}, begin)
        lately, ended = self.scene.lately(pools, since), sum(since.values())
        fused = any(pool.care.fuse for pool in pools)
        # The fuse rests on what this process alone holds.
        self.gauge.with_children = not fused and any(pool.care.children for pool in pools)
        reading = self.gauge.read(begin, closely=fused)
        self._resting = not any(pool.need.works for pool in pools)
        relieved = self.relief.measure(reading, begin, resting=self._resting)
        self.reports.relieved(relieved, self.relief)
        untouched = self._pinned or {pool.care.observe for pool in pools} == {True}
        self._rested = self._resting and (self._rested or untouched or (relieved is not None and relieved.at_rest))
        needs = {id(pool.crew): pool.need for pool in pools}
        failed = self.crowd.see(needs, ended, begin, short=fused or self._is_short(pools, reading))
        if failed:
            self.reports.starved(failed, self.crowd.running, self.crowd.aimd.limit, reading)
        self._mark(pools, reading)
        flight().record(reading, [pool.need for pool in pools], begin)
        if reading is None:
            self._unseen(pools, begin, calls)
            return
        self.reports.sighted()
        told = max((pool.care.processes or 0 for pool in pools), default=0)
        if told:
            reading = reading._replace(processes=told)
        for pool in pools:
            pool.crew.state.shared = reading.processes > 1
        self.reports.start(reading)
        reading = reading.part()
        reading = reading._replace(reusable=self._reusable(pools, reading))
        margin = max((margin_of(reading.limit, pool.care.reserve) for pool in pools), default=0)
        files = self._for_files(reading, pools, margin, begin)
        armed = self._arm(pools, reading, margin + files)
        outlook = self.planner.look(
            reading,
            self.scene.running(pools),
            ended,
            lately,
            wanted(pools, reading),
            margin,
            begin,
            files=files,
            late=self.scene.late(pools, asking),
            lasted=self.scene.lasted(pools),
            bold=armed and all(pool.care.retry for pool in pools if pool.need.works),
            rested=self._rested,
        )
        funds = self._narrow(self.shares.share_out(pools, outlook, begin), begin)
        if fused and not armed:  # what comes next is not started before it is
            funds = [(pool, Funds(True, -inf) if pool.care.fuse else given) for pool, given in funds]
        self._fund(funds, begin, calls)
        held = any(pool.crew.state.held for pool in pools)
        for pool in pools:
            if pool.need.would_hold:
                self.reports.observed(pool.crew.name, pool.need.would_hold)
        above = reading.used > self.planner.plan and reading.reusable > _SURPLUS * reading.limit and not untouched
        asks = held or (self._resting and not self._rested)
        self._wants_relief = above or (asks and outlook.surplus > _SURPLUS * reading.limit)
        self.reports.held([(pool.crew.name, pool.need) for pool in pools], self.planner, begin)
        if armed or (held and reading.used > _SHORT * self.planner.plan):
            self._pin(pools, reading)
        after = self.cadence.after(reading, outlook.available, self.planner.plan, ended, fused=armed, held=held)
        self._look_again(pools, begin, after, ticks=True)

    def _unseen(self, pools: list[Claim], begin: float, calls: list[_Call]) -> None:
        """Fund the pools without a reading: with all they want without a limit, one at a time where we are blind."""
        fuse().restore()
        self._wants_relief = False
        given, ticks, interval = Funds(bounded=False, budget=inf), self.crowd.limited or flight().records, UNLIMITED_S
        if self.gauge.unheld is not None:
            self.reports.unheld(self.gauge.unheld)
        if self.gauge.blind:
            self.reports.blind(self.gauge.files.notes)
            busy = any(pool.need.busy for pool in pools)
            given, ticks, interval = Funds(bounded=True, budget=-inf, spare=not busy), True, LEAST_S
        self._fund(self._narrow([(pool, given) for pool in pools], begin), begin, calls)
        self._look_again(pools, begin, Next(interval, SHARE), ticks)

    def _mark(self, pools: list[Claim], reading: Reading | None) -> None:
        """Have what tasks hand in marked wherever anything may come to be held."""
        marking = reading is not None or self.gauge.blind or any(pool.care.retry for pool in pools)
        for pool in pools:
            pool.crew.state.marking = marking

    @staticmethod
    def _is_short(pools: list[Claim], reading: Reading | None) -> bool:
        """Return whether a MemoryError may be for want of memory, and not for what a call asked for."""
        short = reading is not None and reading.used > _SHORT * reading.limit
        return short or any(pool.care.retry for pool in pools) or allocations_are_limited()

    def _look_again(self, pools: list[Claim], begin: float, after: Next, ticks: bool) -> None:
        """Settle when to look again: by workers at most for that share of the time, and by the ticker."""
        end, interval = monotonic(), after.interval
        self._looked = begin
        works = any(pool.need.works for pool in pools)
        # The ticker looks once more after the work, so that of tasks that come one after another not each has a look.
        asleep = ticks and not works and not ticker.expects(self)
        for pool in pools:  # where no ticker looks what was seen holds for so long
            pool.crew.state.seen_until = -inf if asleep else inf if ticks else end + interval
        if asleep:
            self.due = 0.0
            states = [pool.crew.state for pool in pools]
            works = any(state.running or state.queue for state in states)  # it came before it was told to look first
        elif works or ticks:
            self.due = end + min(interval, (end - begin) / after.share)
        else:
            self.due = begin + interval
        if works and ticks:
            ticker.call_at(self, end + interval)

    def _arm(self, pools: list[Claim], reading: Reading, margin: int) -> bool:
        """Hold the fuse where memory ends, if a pool that has one works; return whether it is so."""
        armed = any(pool.care.fuse and pool.need.works for pool in pools)
        if armed:
            if reading.limit < self._limit:  # what lies free in the arena could be touched without being mapped
                self._lowered = True
                self._pin_now(reading)
            fuse().follow(reading, margin, rest=not any(pool.need.busy for pool in pools), pinned=self._lowered)
        else:
            fuse().restore()
        self._limit = reading.limit
        return armed

    def _for_files(self, reading: Reading, pools: list[Claim], margin: int, now: float) -> int:
        """Return the bytes that are kept free for the pages of files; at most half of what tasks could have."""
        thrash, limit = self.thrash, reading.limit
        works = [pool for pool in pools if pool.need.works]
        fused = [pool for pool in works if pool.care.fuse]
        # Where no allowance is kept for a surprise, files do not have it meanwhile.
        beforehand = all(pool.care.retry for pool in fused) if fused else bool(works) and all(map(_is_told, works))
        if thrash.is_due(now) and (beforehand or reading.used >= _TAKEN * limit):
            why = thrash.see(now, self.gauge.file_reads(), limit, beforehand=beforehand)
            if why is not None and not all(pool.care.observe for pool in pools):
                self.reports.room_for_files(round(thrash.share(now) * limit), now, thrashes=why == "thrash")
        left = limit - margin - min(self.planner.floor, reading.used)
        return max(0, min(round(thrash.share(now) * limit), int(left / 2)))

    @staticmethod
    def _shares_arena(pools: list[Claim], reading: Reading) -> bool:
        """Return whether what a task has freed is the next one's, whichever of the pools has it."""
        return reading.processes <= 1 and all(pool.crew.shares_arena and not pool.care.callers for pool in pools)

    def _reusable(self, pools: list[Claim], reading: Reading) -> int:
        """Return the bytes that the allocator keeps for the next task."""
        if reading.own is None or self._pinned or not self._shares_arena(pools, reading):
            return 0
        return min(reading.used, self.reusable.see(reading.own, rest=not any(pool.need.busy for pool in pools)))

    def _pin(self, pools: list[Claim], reading: Reading) -> None:
        """Have the allocator keep nothing, where others cannot have it: in other arenas, in other processes."""
        if not self._shares_arena(pools, reading):
            self._pin_now(reading)

    def _pin_now(self, reading: Reading) -> None:
        if self._pinned:
            return
        self._pinned = True
        self.reports.pinned(pin(reading.limit // max(1, reading.processes)))

    def _narrow(self, funds: list[tuple[Claim, Funds]], now: float) -> list[tuple[Claim, Funds]]:
        narrowed = self.crowd.narrow([(pool.need, given) for pool, given in funds])
        return [
            (pool, given if pool.care.observe else self.shares.owe(pool, less, now))
            for (pool, given), less in zip(funds, narrowed, strict=True)
        ]

    def _fund(self, funds: list[tuple[Claim, Funds]], now: float, calls: list[_Call]) -> None:
        for pool, given in funds:
            answer = holding.fund(pool.crew.state, given, pool.need, min(max(0.0, now - self._looked), MOST_S))
            if isinstance(answer, tuple) and (answer[0] is not None or answer[1]):
                calls.append((pool.crew, answer[0], answer[1]))


def _is_told(pool: Claim) -> bool:
    """Return whether somebody has said what its tasks need."""
    given = [given_for(task) is not None for task, _ in pool.need.busy]
    return pool.care.needs is not None or (bool(given) and all(given))


_watch = Watch()


def watch() -> Watch:
    """Return the one of this process."""
    return _watch


def _after_fork_in_child() -> None:
    global _watch  # noqa: PLW0603  # a new process: other descriptors, other memory, none of the parent's pools
    _watch.gauge.close()
    _watch = Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
