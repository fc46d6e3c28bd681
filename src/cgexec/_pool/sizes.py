"""How many workers there may be: resizing, threads refused by the system, idle and lost workers. Pure."""

from collections.abc import Callable

from cgexec._pool.admission import Admission
from cgexec._pool.records import Change, Chore, Verdict, Worker
from cgexec._pool.taken import take
from cgexec._pool.task import GONE, WAITING, Task

__all__ = ["lift_cap", "lost", "refused", "resize", "retire", "stalled"]

# Nothing has ended for so long, in seconds, or for so many times the mean duration: a task may be waiting for a child
# of its own that has no worker. Long, because tasks of minutes are what the pool is for. Chosen by hand.
STALL_SECONDS = 30.0
STALL_MEANS = 4


def resize(
    state: Admission, limit: int, places: float, why: str, now: float
) -> tuple[list[Worker], list[Chore], bool] | Verdict:
    """
    Set a new limit and number of places.

    Returns:
        Whom to call, what else to do, and whether it is worth looking by time whether anything ends: see `stalled`.
    """

    def part() -> tuple[list[Worker], list[Chore], bool]:
        if limit != state.limit:
            state.change = Change(state.limit, limit, why, now)
            state.tally.grown += limit > state.limit
            state.tally.shrunk += limit < state.limit
        state.limit, state.places, state.extra, state.thread_cap = limit, places, 0, None
        state.reach = max(state.reach, limit)
        state.rebound()
        chores = state.grant() or []
        called = _call_surplus(state)
        more = state.summon()
        again = state.allowed < state.reach and bool(state.waiting())
        state.ticking = state.ticking or again
        return (called if more is None else [*called, more]), chores, again

    return state.enter(part)


def refused(
    state: Admission, worker: Worker, mine: Task | None = None, why: Callable[[Task], BaseException] | None = None
) -> list[Task] | Verdict:
    """
    Take back a worker whose thread the system refused. What waits is left to the others; if there is none, all of it is
    taken out and returned: nobody would come for it. It is to end with *why*, but for *mine*, whose submitter is told.
    """

    def part() -> list[Task]:
        state.dismiss(worker)
        if worker.called:
            worker.called = False
            state.coming -= 1
        state.thread_cap = max(1, len(state.staff))
        state.rebound()
        if state.staff:
            return []
        waiting = [task for task in state.queue if task.place == WAITING]
        take(state, [task for task in waiting if task is not mine], why)
        for task in waiting:
            task.place = GONE
        state.queue.clear()
        state.corpses = 0
        return waiting

    return state.enter(part)


def lift_cap(state: Admission) -> tuple[Worker | None, list[Chore]] | Verdict:
    """Try again to have as many threads as the limit allows; return whom to start, and what else to do."""

    def part() -> tuple[Worker | None, list[Chore]]:
        state.thread_cap = None
        state.rebound()
        chores = state.grant() or []
        return state.summon(), chores

    return state.enter(part)


def retire(state: Admission, worker: Worker) -> bool | Verdict:
    """Let a worker go that was idle for long; False if it was called meanwhile or is one of the least that stay."""

    def part() -> bool:
        if not worker.parked or len(state.staff) <= state.least:
            return False
        state.parked.remove(worker)
        worker.parked = False
        state.dismiss(worker)
        return True

    return state.enter(part)


def lost(state: Admission, worker: Worker) -> tuple[Task | None, Worker | None, list[Chore]]:
    """Take out a worker whose thread ends by an error; return the task it had, who takes its place, what else to do."""

    def part() -> tuple[Task | None, Worker | None, list[Chore]]:
        task, worker.task = worker.task, None
        if task is not None:
            state.running -= 1
            state.tally.failed += 1
        if worker.called:
            worker.called = False
            state.coming -= 1
        if worker.parked:
            worker.parked = False
            state.parked.remove(worker)
        state.dismiss(worker)
        chores = [*(state.grant() or ()), *state.take_quiet()]
        return task, state.summon(), chores

    answer = state.enter(part)
    return answer if isinstance(answer, tuple) else (None, None, [])


def stalled(state: Admission, now: float) -> tuple[list[Worker], list[Chore], bool] | Verdict:
    """
    Allow one worker more if nothing has ended for a long while and something waits; take it back once something has.

    Only up to the size the pool once had: one that was always this small stands still as the stock pool would.

    Returns:
        Whom to call, what else to do, and whether it is worth looking again.
    """

    def part() -> tuple[list[Worker], list[Chore], bool]:
        surplus: list[Worker] = []
        tally = state.tally
        ended = tally.completed + tally.failed  # what is cancelled hardly ever had a worker
        if ended != tally.ended_when_seen or not tally.seen:  # not seen: nobody has waited so long that we know
            tally.ended_when_seen, tally.seen = ended, now
            if state.extra:
                state.extra = 0
                state.rebound()
                surplus = _call_surplus(state)
        if state.allowed >= state.reach or not state.waiting() or state.closed is not None:
            state.ticking = False
            tally.seen = 0.0
            return surplus, [], False
        mean = tally.mean_seconds()
        patience = STALL_SECONDS if mean is None else max(STALL_SECONDS, STALL_MEANS * mean)
        if state.running < state.allowed or now - tally.seen < patience:
            return surplus, [], True
        state.extra += 1
        tally.seen = now
        state.rebound()
        chores = state.grant() or []
        more = state.summon()
        return ([] if more is None else [more]), chores, True

    return state.enter(part)


def _call_surplus(state: Admission) -> list[Worker]:
    """Return the idle workers beyond the limit: called, each finds that it is one too many, and leaves."""
    return [state.call() for _ in range(min(len(state.parked), len(state.staff) - state.allowed))]
