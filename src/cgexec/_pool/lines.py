"""The ways in that are not straight: waiting in the line, leaving it, pushing past the bound or another out. Pure."""

from functools import partial

from cgexec._pool.admission import Admission
from cgexec._pool.records import Chore, Ticket, Verdict, Worker
from cgexec._pool.taken import take
from cgexec._pool.task import GONE, LINED, WAITING, Task

__all__ = ["add_blocked", "begin_inline", "discard", "displace", "end_inline", "line_up", "push", "reject", "withdraw"]


def line_up(state: Admission, task: Task, ticket: Ticket | None) -> Worker | Verdict | None:
    """
    Accept the task as `Admission.offer` does if there is a place; else put it at the end of the line and answer FULL.

    With a ticket its submitter is blocked and will be woken; without, the submitter awaits the task itself.
    """

    def part() -> Worker | Verdict | None:
        if state.closed is not None:
            return Verdict.CLOSED
        task.place = LINED
        state.line[task] = ticket
        state.grant()  # at most this one: whoever stands before it would have been granted before
        return Verdict.FULL if task in state.line else state.summon()

    return state.enter(part)


def withdraw(state: Admission, task: Task) -> bool | Verdict:
    """Take the task out of the line; False if it has got its place already, or the pool was closed."""

    def part() -> bool:
        if task not in state.line:
            return False
        del state.line[task]
        task.place = GONE
        return True

    return state.enter(part)


def push(state: Admission, task: Task) -> Worker | Verdict | None:
    """Accept over the bound a task that stands in the line; nothing happens if it does so no more."""

    def part() -> Worker | None:
        if task not in state.line:
            return None
        ticket = state.line.pop(task)
        if ticket is not None:
            ticket.verdict = None
        task.place = WAITING
        state.queue.append(task)
        state.tally.over_bound += 1
        return state.summon()

    return state.enter(part)


def displace(state: Admission, task: Task) -> tuple[Worker | Verdict | None, Task | None]:
    """Accept the task in the place of the oldest that waits, which is taken out and returned, or None if none waits."""
    oldest: list[Task] = []

    def part() -> Worker | Verdict | None:
        if state.closed is not None:
            return Verdict.CLOSED
        if state.is_full():
            for each in state.queue:
                if each.place == WAITING and not each.tries:
                    take(state, [each], None)
                    state.tally.discarded += 1
                    each.place = GONE
                    state.bury(each)
                    oldest.append(each)
                    break
            else:
                return Verdict.FULL
        task.place = WAITING
        state.queue.append(task)
        return state.summon()

    answer = state.enter(part)
    return answer, oldest[0] if oldest else None


def reject(state: Admission, reason: str) -> None:
    """Count a refused task. One that interrupts a locked part counts later."""

    def part() -> None:
        state.tally.rejected[reason] = state.tally.rejected.get(reason, 0) + 1

    if state.enter(part) is Verdict.NESTED:
        state.later(partial(reject, state, reason))


def discard(state: Admission, task: Task) -> None:
    """Count a task that was turned away with its future cancelled."""

    def part() -> None:
        task.place = GONE
        state.tally.discarded += 1

    if state.enter(part) is Verdict.NESTED:
        state.later(partial(discard, state, task))


def add_blocked(state: Admission, seconds: float) -> None:
    """Add to the time that submitters were blocked."""

    def part() -> None:
        state.tally.blocked_seconds += seconds

    if state.enter(part) is Verdict.NESTED:
        state.later(partial(add_blocked, state, seconds))


def begin_inline(state: Admission, task: Task, now: float) -> Verdict | None:
    """
    Count the task as one that its submitter runs; CLOSED if nothing is accepted, FULL if memory does not suffice for
    one more than workers run.
    """

    def part() -> Verdict | None:
        if state.closed is not None:
            return Verdict.CLOSED
        if state.bounded and not state.observe:
            # What is held comes first, and so does what may start whatever it needs.
            if state.held or state.spare or not state.affords(task):
                return Verdict.FULL
            state.most -= 1
        state.inline[task] = now
        return None

    return state.enter(part)


def end_inline(state: Admission, task: Task, now: float, outcome: int) -> list[Chore] | Verdict:
    """Count the end of a task that its submitter ran; return what is to be done."""

    def part() -> list[Chore]:
        if task not in state.inline:  # it never began, or this is a child process
            return []
        state.tally.ran_in_caller += 1
        state.tally.task_seconds += now - state.inline.pop(task)
        state.tally.count(outcome)
        return state.take_quiet()

    return state.enter(part)
