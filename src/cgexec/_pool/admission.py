"""
The state machine of a pool: who comes in, who runs, who waits. It answers; others act.

Pure of threads, clocks, files and user code: times are handed in, and what is to be done once the lock is free is
handed back. All of its state is under its one lock.

Invariants
----------
1. Tasks in flight (running and waiting) never exceed the limit plus `places`, except those that could not wait: handed
   in by a pool's own workers, on the clock's thread or on an event loop's. A task for which a worker is free takes no
   place.
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
9. While memory bounds what starts, no task is started beyond the budget and the number that the last look at memory
   gave, but for one at a time where that look said so; and what waits meanwhile keeps at least one worker parked for
   it.
"""

from functools import partial
from math import inf
from threading import get_ident
from time import sleep
from types import FunctionType
from typing import TypeVar

from cgexec._pool.books import Books
from cgexec._pool.guard import FREE, TORN
from cgexec._pool.records import Chore, Verdict, Worker
from cgexec._pool.task import AGAIN, ALONE, COMPLETED, GONE, LINED, RUNNING, STARVED, WAITING, Task

__all__ = ["Admission"]

T = TypeVar("T")

_FULL, _CLOSED, _NESTED, _PARK, _LEAVE = Verdict.FULL, Verdict.CLOSED, Verdict.NESTED, Verdict.PARK, Verdict.LEAVE


class Admission(Books):
    """
    Accepts tasks, hands them to workers, keeps to the limits. Any thread may call any method; each is short and blocks
    for nothing but the lock. NESTED as an answer means: not done, leave a note with `later`.
    """

    __slots__ = ()

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
                    elif (
                        self.parked and not queue and not self.coming and task.since < self.seen_until
                        and (not self.bounded or (task.fn is self.light and task.extra is None) or self.affords(task))
                    ):  # fmt: skip
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
                    self.tally.task_seconds += now - worker.since
                    last = worker.task
                    if last is not None and last.priced is not None:
                        self.price.ended(last.priced, now - worker.since)
                    if outcome == COMPLETED:
                        self.tally.completed += 1
                    else:
                        self._count(worker, outcome)
                    worker.task = None
                    self.running -= 1
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
                    task = queue[0]
                    if task.place == GONE:
                        self._notes.append(task.drop_call)  # so that it is let go without the lock
                        queue.popleft()
                        self.corpses -= 1
                        continue
                    if (
                        self.bounded
                        and (task.fn is not self.light or task.extra is not None)
                        and not self.affords(task)
                    ):
                        answer = self._hold(worker, now)
                        break
                    worker.since = now
                    worker.task = answer = task  # from here on it is the worker's, whatever there is no memory for
                    task.place = RUNNING
                    queue.popleft()
                    self.running += 1
                    if self.shut and self.line:  # then the bound follows what runs
                        worker.chores = [*(worker.chores or ()), *(self.grant() or ())]
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

    def _count(self, worker: Worker, outcome: int) -> None:
        """Count the end of a task that did not go well; one that is to run again comes first in the queue."""
        self.tally.count(outcome)
        if self.guarded and outcome in (AGAIN, STARVED):  # nothing starts before memory was looked at again
            self.bounded, self.budget, self.light, self.spare = True, -inf, None, False
        if outcome == AGAIN and worker.task is not None:
            worker.task.apart = worker.task.tries >= ALONE and not self.observe
            worker.task.place = WAITING
            self.queue.appendleft(worker.task)

    def affords(self, task: Task) -> bool:
        """Return whether the task may start as far as memory goes, and take what it needs from the budget."""
        price = self.price(task)
        if price <= self.budget and self.running < self.most and (self.alone or not task.apart):
            if not price and self.most == inf and not self.retry and type(task.fn) is FunctionType:
                self.light = task.fn
        elif self.spare:  # what else waits is held on
            self.spare, self.light = False, None
        elif self.observe:
            self.tally.would_hold += 1
        else:
            return False
        self.held_since = None
        self.budget -= price
        self.spent += price
        if price and task.extra is None:
            task.priced = self.price.anchor
        self.begun = self.price.anchor
        self.held = False
        return True

    def _hold(self, worker: Worker, now: float) -> Verdict:
        """Answer a worker for whose task memory does not suffice: LOOK at it, or if it has done so, PARK."""
        if not worker.looked:
            worker.looked = worker.called = True
            self.coming += 1
            return Verdict.LOOK
        worker.looked = False
        self.held, self.light = True, None
        self.held_since = now if self.held_since is None else self.held_since
        return self._rest(worker)

    def _rest(self, worker: Worker) -> Verdict:
        """Park the worker, or let it go if it is not needed any more."""
        if not self.crowded and (self.closed is None or (self.held and self.waiting())):
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
