"""How a pool ends, and how a task does that waited or ran too long. Pure: the times are handed in."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

from cgexec._pool.admission import Admission
from cgexec._pool.expiring import First
from cgexec._pool.records import Chore, Closed, Closing, Verdict, Worker
from cgexec._pool.taken import take
from cgexec._pool.task import GONE, LINED, WAITING, Task

__all__ = ["Late", "close", "expect", "find_late", "running", "when_quiet"]


def close(
    state: Admission,
    why: Closed,
    *,
    drop: Literal["cancelled", "failed"] | None = None,
    note: Callable[[Task], object] | None = None,
) -> Closing | Verdict:
    """
    Accept nothing more. Idle workers leave, the others when nothing waits any more. What waits is run or, with *drop*,
    taken out and counted as that. May be called again: to drop after all, or for a reason that is final.
    *note*, pure, is called with each that is taken out, before anybody can end it.

    Its futures are ended by `taken.end_taken`.
    """

    def part() -> Closing:
        if state.closed is None or (why.final and not state.closed.final):
            state.closed = why
        waiting = [task for task in state.queue if task.place == WAITING] if drop else []
        if note is not None:
            for task in waiting:
                note(task)
        refused = [task for task, ticket in state.line.items() if ticket is None]
        tickets = [ticket for ticket in state.line.values() if ticket is not None]
        take(state, waiting, None if drop == "cancelled" else why.make)  # interrupted, it is finished by `recount`
        take(state, refused, why.make)
        # Counted as they are marked: a signal comes between two rounds of a loop, not amid one without calls.
        for task in waiting:
            if drop == "cancelled":
                state.tally.cancelled += 1
            else:
                state.tally.failed += 1
                task.counted = "failed"
            task.place = GONE
        for task in state.line:
            task.place = GONE
        if drop:
            state.queue.clear()
            state.corpses = 0
            state.expiring.clear()
        chores: list[Chore] = []
        for ticket in tickets:
            ticket.verdict = Verdict.CLOSED
            chores.append(ticket.gate.release)
        state.line.clear()
        called = [state.call() for _ in range(len(state.parked))]
        more = None if state.staff else state.summon()  # where threads were refused, what waits may have nobody
        return Closing(waiting, refused, chores + state.take_quiet(), called if more is None else [*called, more])

    return state.enter(part)


def when_quiet(state: Admission, chore: Chore) -> bool | Verdict:
    """Have *chore* done once nothing of a closed pool is left; True if that is so already (then it is not done)."""

    def part() -> bool:
        if state.is_quiet():
            return True
        state.quiet.append(chore)
        return False

    return state.enter(part)


class Late(NamedTuple):
    """What time brought about: tasks that waited too long, workers whose task runs too long, when to look again."""

    expired: list[Task]
    overdue: list[tuple[Worker | None, Task, float]]
    chores: list[Chore]
    due: float | None


def expect(state: Admission, task: Task, timeout: float) -> None:
    """Remember that the task must not wait longer than *timeout* seconds."""

    def part() -> None:
        state.expiring.add(task, timeout)

    if state.enter(part) is Verdict.NESTED:
        state.later(partial(expect, state, task, timeout))


def find_late(state: Admission, now: float, why: Callable[[Task], BaseException] | None = None) -> Late | Verdict:
    """
    Return what is late at *now*, and when to look again (None: nothing is expected). What waited too long is taken out,
    to end with *why*.
    """

    def part() -> Late:
        expired: list[Task] = []
        overdue: list[tuple[Worker | None, Task, float]] = []
        dues: list[float] = []
        first = _expire(state, now, expired, why)
        if first is not None:
            dues.append(first.due)
        for task, since, worker in running(state):
            extra = task.extra
            if extra is None or extra.run_timeout is None or task.overdue:
                continue
            if now - since < extra.run_timeout:
                dues.append(since + extra.run_timeout)
                continue
            task.overdue = True
            state.tally.overdue += 1
            overdue.append((worker, task, now - since))
        return Late(expired, overdue, state.grant() or [], min(dues, default=None))

    return state.enter(part)


def running(state: Admission) -> list[tuple[Task, float, Worker | None]]:
    """Return what runs, since when, and by whom: None is its submitter. The caller holds the lock."""
    by_workers = [(worker.task, worker.since, worker) for worker in state.staff if worker.task is not None]
    return [*by_workers, *((task, since, None) for task, since in state.inline.items())]


def _expire(
    state: Admission, now: float, expired: list[Task], why: Callable[[Task], BaseException] | None
) -> First | None:
    """Take out what has waited for too long at *now*; return who comes next."""
    while (first := state.expiring.first()) is not None and first.due <= now:
        task = first.task
        lined = task.place == LINED and state.line.get(task, False) is None
        if lined or task.place == WAITING:
            take(state, [task], why)
            if lined:
                del state.line[task]
                task.place = GONE
            else:
                state.bury(task)
            state.tally.expired += 1
            task.counted = "expired"
            expired.append(task)
        state.expiring.pop()
    return first
