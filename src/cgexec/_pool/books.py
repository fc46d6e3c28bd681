"""
What a pool counts: its queue, its line, its workers, its limits, and how to keep the sums true.

The fields of the state machine and what its locked parts share; who may come in and who runs is decided in `admission`.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from math import inf
from threading import get_ident

from cgexec._pool.expiring import Expiring
from cgexec._pool.guard import Guarded
from cgexec._pool.price import Price
from cgexec._pool.records import Change, Chore, Closed, Tally, Ticket, Worker
from cgexec._pool.task import GONE, WAITING, Task

__all__ = ["Books"]

# Dead entries the queue may hold before it is rebuilt without them. Half of it is dead then, so each costs a constant.
_CORPSES = 64


class Books(Guarded):
    """
    The fields, under the lock of `Guarded`. Those without an underscore may be read by others under `look`; a method
    is called by a holder of the lock.
    """

    __slots__ = (
        "_bound", "allowed", "alone", "begun", "bounded", "budget", "change", "closed", "coming", "corpses",
        "crowded", "ending", "expiring", "extra", "guarded", "held", "held_since", "inline", "least", "light",
        "limit", "line", "marking", "most", "needs", "nesting", "observe", "parked", "places", "price", "queue",
        "quiet", "reach", "retry", "running", "seen_until", "shared", "shut", "spare", "spent", "staff", "tally",
        "thread_cap", "ticking",
    )  # fmt: skip

    def __init__(self, limit: int, places: float, *, least: int = 1) -> None:
        super().__init__()
        self.limit = limit
        self.places = places  # for waiting tasks; math.inf is without a bound
        self.least = least  # idle workers that stay
        self.reach = limit  # the largest limit there was
        self.thread_cap: int | None = None  # the threads the system lets us have for now; None: as many as we like
        self.extra = 0  # workers beyond the limit, because nothing ended
        self.closed: Closed | None = None
        self.tally = Tally()
        self.change: Change | None = None
        self.queue: deque[Task] = deque()
        self.line: OrderedDict[Task, Ticket | None] = OrderedDict()  # None: the submitter awaits the future itself
        self.staff: set[Worker] = set()
        self.ending: deque[Task] = deque()  # taken out, and their futures have not ended; see `taken`
        self.running = 0
        self.inline: dict[Task, float] = {}  # tasks run by their submitters, and since when
        self.expiring = Expiring()  # what has a queue_timeout
        self.ticking = False  # somebody looks again by time because nothing may end
        self.corpses = 0  # entries of the queue that are GONE
        self.parked: list[Worker] = []  # the last in is called first, so that the others grow old and retire
        self.coming = 0  # workers called
        self.quiet: list[Chore] = []  # to be done once a closed pool has nothing left
        self.guarded = False  # somebody looks at memory for it
        self.seen_until = inf  # whoever starts what was handed in later looks at memory first; monotonic seconds
        self.bounded = False  # memory bounds what starts; see `_pool.holding` and `_pool.watch`
        self.budget = 0.0  # bytes that tasks may be started for until the next look
        self.spare = False  # one task may start whatever it needs, and whatever runs
        self.most = inf  # tasks that workers may run while memory bounds what starts
        self.alone = False  # one that has to run alone may start
        self.retry = False  # what runs out of memory is run again
        self.shared = False  # other processes use the same container; as last seen
        self.spent = 0.0  # bytes that tasks were started for, ever: a look may have missed the last of them
        self.shut = False  # the gate is closed: accept less, too
        self.held = False  # what waits is held back, though a worker could take it
        self.held_since: float | None = None
        self.observe = False  # what would be held is only counted
        self.needs: int | None = None  # bytes that each task is said to need
        self.marking = False  # tasks may come to be held, so those that a task hands in are marked as nested
        self.nesting = False  # a task, of this or another pool, has handed one in
        self.price = Price(lambda _: 0.0)
        self.begun: object = None  # the function of what was started last while memory bounded that, see `anchor_of`
        self.light: Callable[..., object] | None = None  # its calls count with nothing until the next look
        self.allowed = limit
        self.crowded = False  # more workers than allowed: the next that asks leaves
        self._bound = limit + places

    def dismiss(self, worker: Worker) -> None:
        """Take the worker off the staff."""
        self.staff.discard(worker)
        self.crowded = len(self.staff) > self.allowed
        self.tally.cpu_seconds += worker.cpu_seconds
        if self.is_quiet():  # it was the last
            self.expiring.clear()

    def waiting(self) -> int:
        """Return how many tasks are in the queue."""
        return len(self.queue) - self.corpses

    def started(self) -> int:
        """Return how many tasks workers have taken so far; without the lock it may be the number of a moment ago."""
        return self.running + self.tally.completed + self.tally.failed + self.tally.cancelled

    def is_full(self) -> bool:
        """Return whether a newcomer has to wait for a place."""
        if self.shut:  # the arguments of what waits are memory, too
            # But one may come to a pool without work, even if there are no places: nobody looks at memory for such a
            # pool, so nobody would open the gate again.
            places = self.places if self.running else max(1, self.places)
            return self.waiting() > self.running or self.waiting() >= places
        free = self.allowed - self.running
        return self.waiting() >= self.places + (max(0, free))

    def is_quiet(self) -> bool:
        """Return whether the pool is closed and nothing of it is left."""
        return self.closed is not None and not (self.staff or self.inline or self.waiting())

    def take_quiet(self) -> list[Chore]:
        """Return what was to be done once nothing is left, if that is now."""
        if not self.is_quiet():
            return []
        chores, self.quiet = self.quiet, []
        return chores

    def summon(self) -> Worker | None:
        """
        Return who has to come for what waits: a parked worker to call or a new one to start.

        One is woken at a time, and wakes the next when it has its task: under load the one on its way finds the work of
        all. A new one is started for each task that nobody is coming for, as the stock pool does.
        """
        if self.closed is not None and self.parked and not (self.held or self.coming or self.waiting()):
            return self.call()  # it parked for what was held and is gone now: it has to leave, and to call the next
        if self.held or self.waiting() <= (0 if self.parked else self.coming):
            return None
        if self.parked:
            return None if self.coming else self.call()
        if len(self.staff) >= self.allowed:
            return None
        worker = Worker(get_ident())
        self.staff.add(worker)
        self.coming += 1
        return worker

    def call(self) -> Worker:
        """Take the worker that parked last, to be woken."""
        worker = self.parked.pop()
        worker.parked = False
        worker.called = True
        self.coming += 1
        return worker

    def grant(self) -> list[Chore] | None:
        """Give the free places to the head of the line; return what wakes the submitters."""
        woken: list[Chore] = []
        while self.line and not self.is_full():
            task = next(iter(self.line))
            ticket = self.line[task]
            # In an order that loses nothing if a signal handler raises in between: `recount` finishes it.
            task.place = WAITING
            self.queue.append(task)
            if ticket is not None:
                ticket.verdict = None
                woken.append(ticket.gate.release)
            del self.line[task]
        return woken or None

    def rebound(self) -> None:
        """Work out again what follows from limit, cap and places."""
        allowed = self.limit if self.thread_cap is None else min(self.limit, self.thread_cap)
        self.allowed = allowed + self.extra
        self.crowded = len(self.staff) > self.allowed
        self._bound = 0 if self.shut else self.allowed + self.places

    def bury(self, task: Task) -> None:
        """Mark a waiting task as gone; its entry leaves the queue later, or with all others once they are many."""
        task.place = GONE
        self.corpses += 1
        if self.corpses > _CORPSES and self.corpses * 2 > len(self.queue):
            old, self.queue = self.queue, deque([each for each in self.queue if each.place != GONE])
            self.corpses = 0
            self._notes.append(old.clear)  # let go without the lock: they may hold callbacks, and those anything

    # -- what holds when something went wrong ----------------------------------------------------------------------

    def recount(self) -> None:
        """Make the numbers agree with what is there: the queue, the line and the workers' own marks are the truth."""
        for task in [task for task in self.line if task.place == WAITING]:
            ticket = self.line.pop(task)
            if ticket is not None:
                ticket.verdict = None
            if task not in self.queue:
                self.queue.append(task)
        for task in self.ending.copy():  # others take from it without the lock
            if task.place == WAITING:  # interrupted while it was taken out, and not counted
                if task.why is None:
                    self.tally.cancelled += 1
                else:
                    self.tally.failed += 1
                    task.counted = "failed"
            self.line.pop(task, None)
            task.place = GONE
        self.corpses = sum(task.place == GONE for task in self.queue)
        self.running = sum(worker.task is not None for worker in self.staff)
        for worker in self.staff:
            if worker.task is None and not worker.parked:
                worker.called = True
        self.coming = sum(worker.called for worker in self.staff)
        self.parked = [worker for worker in self.parked if worker.parked]
        self.parked += [worker for worker in self.staff if worker.parked and worker not in self.parked]
        self.rebound()
