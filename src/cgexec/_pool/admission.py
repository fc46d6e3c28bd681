"""
The state machine of a pool: who comes in, who runs, who waits. It answers; others act.

Pure of threads, clocks, files and user code: times are handed in, and what is to be done once the lock is free is
handed back. All of its state is under its one lock.

Invariants
----------
1. Tasks in flight (running and waiting) never exceed the limit plus `places`, except those that could not wait: handed
   in by a pool's own workers or on an event loop's thread. A task for which a worker is free takes no place.
2. Running tasks exceed the limit only right after a shrink, and then only fall.
3. A shrink never stops the pool for good: while something waits, a worker is there or on its way; and if nothing ends
   for a long while, one more starts, up to the size the pool once had (a task may wait for its own child).
4. Every task accepted is handed out exactly once: to a worker, or to whoever has to end it.
5. The lock is a leaf: under it no user code, no future's method, no log, no file. What the garbage collector or a
   signal runs in the middle of a locked part may come in on the same thread, and may raise: see `guard`.
6. A free place goes to the head of the line at once, first come first served: nobody waits beside a free place, and the
   task itself moves into the queue, not a permission that an interrupted submitter could lose.
7. A running task's permit is given back once, when its worker asks for the next.
8. Whenever the lock is free, a worker is running a task, parked, or called (on its way): one of the three.
9. While memory bounds what starts, no task is started beyond the budget that the last look at memory gave, but for one
   at a time where that look said so; and what waits meanwhile keeps at least one worker parked for it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from threading import get_ident
from time import sleep
from typing import TypeVar
from weakref import ref

from cgexec._pool.guard import FREE, TORN, Guarded
from cgexec._pool.records import Change, Chore, Closed, Tally, Ticket, Verdict, Worker
from cgexec._pool.task import COMPLETED, GONE, LINED, RUNNING, WAITING, Task

__all__ = ["Admission"]

T = TypeVar("T")

_FULL, _CLOSED, _NESTED, _PARK, _LEAVE = Verdict.FULL, Verdict.CLOSED, Verdict.NESTED, Verdict.PARK, Verdict.LEAVE
# Dead entries the queue may hold before it is rebuilt without them. Half of it is dead then, so each costs a constant.
_CORPSES = 64


def _nothing(_: Task) -> float:
    return 0.0


class Admission(Guarded):
    """
    Accepts tasks, hands them to workers, keeps to the limits. Any thread may call any method; each is short and blocks
    for nothing but the lock. NESTED as an answer means: not done, leave a note with `later`.

    Fields without an underscore may be read by others under `look`.
    """

    __slots__ = (
        "_bound", "allowed", "bounded", "budget", "change", "closed", "coming", "corpses", "crowded", "expiring",
        "extra", "held", "held_since", "inline", "least", "limit", "line", "needs", "observe", "parked", "places",
        "price", "queue", "quiet", "reach", "running", "shut", "spare", "spent", "staff", "tally", "thread_cap",
        "ticking",
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
        self.running = 0
        self.inline: dict[Task, float] = {}  # tasks run by their submitters, and since when
        self.expiring: dict[float, deque[tuple[float, ref[Task]]]] = {}  # by queue_timeout, oldest first
        self.ticking = False  # somebody looks again by time because nothing may end
        self.corpses = 0  # entries of the queue that are GONE
        self.parked: list[Worker] = []  # the last in is called first, so that the others grow old and retire
        self.coming = 0  # workers called
        self.quiet: list[Chore] = []  # to be done once a closed pool has nothing left
        self.bounded = False  # memory bounds what starts; see `_pool.holding` and `_pool.watch`
        self.budget = 0.0  # bytes that tasks may be started for until the next look
        self.spare = False  # one task may start whatever it needs
        self.spent = 0.0  # bytes that tasks were started for, ever: a look may have missed the last of them
        self.shut = False  # the gate is closed: accept less, too
        self.held = False  # what waits is held back, though a worker could take it
        self.held_since: float | None = None
        self.observe = False  # what would be held is only counted
        self.needs: int | None = None  # bytes that each task is said to need
        self.price: Callable[[Task], float] = _nothing  # bytes that a task counts with; pure
        self.allowed = limit
        self.crowded = False  # more workers than allowed: the next that asks leaves
        self._bound = limit + places

    # -- the two ways through that every task takes; written out because they are hot ------------------------------

    def offer(self, task: Task, *, over: bool = False) -> Worker | Verdict | None:
        """
        Accept the task if there is a place, or in any case if *over*.

        Returns:
            FULL or CLOSED if it was not accepted, NESTED if that is open. Else a worker to call, or to start if it has
            no thread; TICK if somebody has to look again by time; None if there is nothing to do.
        """
        if self._mark and self._give_way():
            return _NESTED
        try:
            with self._lock:
                if self._mark and self._is_nested():
                    return _NESTED
                self._mark = get_ident()
                answer: Worker | Verdict | None = None
                try:
                    queue = self.queue
                    full = len(queue) + self.running >= self._bound and self.is_full()
                    if self.closed is not None:
                        answer = _CLOSED
                    elif full and not over:
                        answer = _FULL
                    elif self.parked and not queue and not self.coming and (not self.bounded or self.affords(task)):
                        answer = self._hand(task)
                    else:
                        task.place = WAITING
                        queue.append(task)  # from here on it is accepted
                        if full:
                            self.tally.over_bound += 1
                        if self.held:  # whoever looks at memory next calls
                            pass
                        elif self.parked:
                            if not self.coming:
                                answer = self.call()
                        elif len(self.staff) < self.allowed:
                            answer = self.summon()
                        elif self.reach > self.allowed and not self.ticking:
                            self.ticking = True
                            answer = Verdict.TICK
                except BaseException:
                    self._mark = TORN
                    raise
                self._mark = FREE
        except BaseException:
            self._let_go()
            raise
        if self._notes:
            self._settle()
        return answer

    def next(self, worker: Worker, now: float, outcome: int) -> Task | Verdict:
        """
        Return the worker's next task, PARK or LEAVE; *outcome* is how its last one ended, 0 if it had none.

        What else the worker has to do is in its `errand` (call or start that worker) and `chores`.
        """
        lock = self._lock
        while not lock.acquire(False):
            sleep(0)  # see `_give_way`
        try:
            if self._mark:
                self._is_nested()
            self._mark = worker.ident
            answer: Task | Verdict | None = None
            try:
                if outcome:
                    worker.task = None
                    self.running -= 1
                    self.tally.task_seconds += now - worker.since
                    if outcome == COMPLETED:
                        self.tally.completed += 1
                    else:
                        self.tally.count(outcome)
                    if self.line:
                        worker.chores = self.grant()
                elif worker.called:
                    worker.called = False
                    self.coming -= 1
                elif worker.handed:  # woken twice, it asks though it has been given a task meanwhile
                    worker.handed = False
                    answer = worker.task
                elif not worker.parked:  # a permit, for which another thread has asked meanwhile: see `relay`
                    answer = _PARK
                if worker.parked:  # it was woken twice
                    self.parked.remove(worker)
                    worker.parked = False
                queue = self.queue
                while answer is None and queue and not self.crowded:
                    task = queue.popleft()
                    if task.place == GONE:
                        self.corpses -= 1
                        self._notes.append(task.drop_call)  # so that it is let go without the lock
                        continue
                    if self.bounded and not self.affords(task):
                        queue.appendleft(task)
                        answer = self._hold(worker, now)
                        break
                    task.place = RUNNING
                    worker.task = answer = task
                    worker.since = now
                    self.running += 1
                    if queue:
                        if self.parked:
                            if not self.coming:
                                worker.errand = self.call()
                        elif len(self.staff) < self.allowed:
                            worker.errand = self.summon()
                if answer is None:
                    answer = self._rest(worker)
            except BaseException:
                self._mark = TORN
                raise
            self._mark = FREE
        finally:
            lock.release()
        if self._notes:
            self._settle()
        return answer

    def _hand(self, task: Task) -> Worker:
        """Give the task straight to an idle worker, as nothing waits before it; woken, it need not ask."""
        worker = self.parked.pop()
        worker.parked = False
        worker.handed = True
        worker.task = task
        worker.since = task.since
        task.place = RUNNING
        self.running += 1
        return worker

    def affords(self, task: Task) -> bool:
        """Return whether the task may start as far as memory goes, and take what it needs from the budget."""
        price = self.price(task)
        if price <= self.budget:
            self.held_since = None
        elif self.spare:  # what else waits is held on
            self.spare = False
        elif self.observe:
            self.tally.would_hold += 1
        else:
            return False
        self.budget -= price
        self.spent += price
        self.held = False
        return True

    def _hold(self, worker: Worker, now: float) -> Verdict:
        """Answer a worker for whose task memory does not suffice: LOOK at it, or if it has done so, PARK."""
        if not worker.looked:
            worker.looked = worker.called = True
            self.coming += 1
            return Verdict.LOOK
        worker.looked = False
        self.held = True
        self.held_since = now if self.held_since is None else self.held_since
        return self._rest(worker)

    def _rest(self, worker: Worker) -> Verdict:
        """Park the worker, or let it go if it is not needed any more."""
        if not self.crowded and (self.closed is None or self.held):
            self.parked.append(worker)
            worker.parked = True
            return _PARK
        self.dismiss(worker)
        worker.errand = self.summon()  # what it was called for still waits
        if self.quiet:
            worker.chores = [*(worker.chores or ()), *self.take_quiet()]
        return _LEAVE

    def cancelled(self, task: Task) -> list[Chore] | Verdict:
        """Take out a task whose future was cancelled; its place is free at once. Return what is to be done."""

        def part() -> list[Chore]:
            if task.place == LINED and task in self.line:
                del self.line[task]
                task.place = GONE
            elif task.place == WAITING:
                self.bury(task)
                self.tally.cancelled += 1
            else:  # a worker has it and will see, or it is out already
                return []
            return [partial(task.end, None), *(self.grant() or ())]

        return self.enter(part)

    # -- what the locked parts share; the caller holds the lock -----------------------------------------------------

    def dismiss(self, worker: Worker) -> None:
        """Take the worker off the staff."""
        self.staff.discard(worker)
        self.crowded = len(self.staff) > self.allowed
        self.tally.cpu_seconds += worker.cpu_seconds

    def waiting(self) -> int:
        """Return how many tasks are in the queue."""
        return len(self.queue) - self.corpses

    def started(self) -> int:
        """Return how many tasks workers have taken so far; without the lock it may be the number of a moment ago."""
        return self.running + self.tally.completed + self.tally.failed + self.tally.cancelled

    def is_full(self) -> bool:
        """Return whether a newcomer has to wait for a place."""
        if self.shut:  # the arguments of what waits are memory, too
            return self.waiting() > self.running or self.waiting() >= self.places
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
        self.corpses = sum(task.place == GONE for task in self.queue)
        self.running = sum(worker.task is not None for worker in self.staff)
        for worker in self.staff:
            if worker.task is None and not worker.parked:
                worker.called = True
        self.coming = sum(worker.called for worker in self.staff)
        self.parked = [worker for worker in self.parked if worker.parked]
        self.parked += [worker for worker in self.staff if worker.parked and worker not in self.parked]
        self.rebound()
