"""What memory allows a pool to start: the budget it is given, and what it has to tell for it. Pure."""

from collections.abc import Sequence
from itertools import islice
from math import inf
from typing import NamedTuple

from cgexec._pool.admission import Admission
from cgexec._pool.price import Ended
from cgexec._pool.records import Chore, Verdict, Worker
from cgexec._pool.task import GONE, Task

__all__ = ["Funds", "Need", "bring_forward", "busy", "fund", "given_for", "need"]


# So many tasks are looked through for one that is awaited: about a millisecond under the pool's lock.
_FAR = 10_000


class Need(NamedTuple):
    """What a pool runs and wants to run. *busy*: the tasks and since when they run."""

    busy: list[tuple[Task, float]]
    ended: int
    waiting: int
    head: Task | None
    allowed: int
    usual: float | None  # how long its tasks take, in seconds
    held_since: float | None
    spent: float  # see `Admission.spent`
    starved: int  # runs that memory ran out for
    would_hold: int  # starts that were only observed
    lasted: Sequence[Ended] = ()  # of those that counted with something: what has ended since the last look

    @property
    def works(self) -> bool:
        """Whether something runs or waits."""
        return bool(self.busy or self.waiting)


class Funds(NamedTuple):
    """
    What the last look at memory allows. *budget* in bytes; *most*: so many tasks may run, whatever they need; *alone*:
    one that has to run alone may start; *spare*: one task may start whatever it needs and whatever runs.
    """

    bounded: bool
    budget: float = 0.0
    spare: bool = False
    shut: bool = False
    most: float = inf
    alone: bool = False


def given_for(task: Task) -> int | None:
    """Return the bytes that the task is said to need, None if nobody said."""
    extra = task.extra
    if extra is not None and extra.memory is not None:
        return extra.memory
    return task.home.needs


def need(state: Admission, asking: Worker | None) -> Need | Verdict:
    """Return what the pool runs and wants to run; the task of *asking* has ended, though it is not counted so yet."""

    def part() -> Need:
        tally = state.tally
        head = next((task for task in state.queue if task.place != GONE), None)
        ended = tally.completed + tally.failed + tally.cancelled + (asking is not None and asking.task is not None)
        return Need(
            _busy(state, asking), ended, state.waiting(), head, state.allowed, tally.mean_seconds(),
            state.held_since, state.spent, tally.memory_errors, tally.would_hold, state.price.take_ended(),
        )  # fmt: skip

    return state.enter(part)


def busy(state: Admission, asking: Worker | None) -> list[tuple[Task, float]] | Verdict:
    """Return the tasks that run and since when."""
    return state.enter(lambda: _busy(state, asking))


def _busy(state: Admission, asking: Worker | None) -> list[tuple[Task, float]]:
    # Of a task that has ended only the future is left, though its worker has not asked for another yet.
    working = [
        (worker.task, worker.since)
        for worker in state.staff
        if worker.task is not None and worker is not asking and worker.task.fn is not None
    ]
    return working + list(state.inline.items())


def bring_forward(state: Admission) -> Task | None:
    """
    Put first in the queue what was submitted by a worker, of this pool or another, and is awaited: whoever waits for it
    holds memory meanwhile, and will not end. Return it, None if there is no such task.
    """

    def part() -> Task | None:
        first = islice(state.queue, _FAR)
        task = next((one for one in first if one.nested and one.place != GONE and one.is_awaited()), None)
        if task is not None and task is not state.queue[0]:
            state.queue.remove(task)
            state.queue.appendleft(task)
        return task

    found = state.enter(part)
    return None if isinstance(found, Verdict) else found


def fund(state: Admission, funds: Funds, seen: Need, elapsed: float) -> tuple[Worker | None, list[Chore]] | Verdict:
    """
    Take in what may be started, less what has been started since *seen*, on which it rests. *elapsed* are the seconds
    since this was done last.

    Returns:
        A worker to call for what may start now, and what else to do.
    """

    def part() -> tuple[Worker | None, list[Chore]]:
        state.price.forget()
        state.light = None
        missed = state.spent - seen.spent
        if state.tally.memory_errors == seen.starved:  # else another look is asked for, and nothing starts before
            state.bounded = funds.bounded
            state.budget = funds.budget - missed
            state.spare, state.alone = funds.spare and not missed, funds.alone
            state.most = funds.most - len(state.inline)  # which are no workers
        chores: list[Chore] = []
        if funds.shut != state.shut:
            state.shut = funds.shut
            state.rebound()
            chores = state.grant() or []
        if state.held:
            state.tally.held_seconds += elapsed
            head = next((task for task in state.queue if task.place != GONE), None)
            if head is None or not state.bounded or state.spare or state.price(head) <= state.budget:
                state.held = False
        if not (state.waiting() and state.bounded):
            state.held_since = None
        return state.summon(), chores

    return state.enter(part)
