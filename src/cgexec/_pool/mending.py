"""What holds when something went wrong around the state machine: an interrupted thread, a fork."""

from collections import OrderedDict, deque
from math import inf

from cgexec._pool.admission import Admission
from cgexec._pool.expiring import Expiring
from cgexec._pool.records import Closed, Verdict, Worker
from cgexec._pool.task import GONE

__all__ = ["after_fork", "mend"]


def after_fork(state: Admission, why: Closed, forker: Worker | None) -> None:
    """
    Be a closed pool with nothing in it but the worker that forked, if one did: the child process has no other of the
    threads. The lock may have been another's.
    """
    state._free_lock()  # noqa: SLF001  # nobody else is there
    state.closed = why
    for task in (*state.queue, *state.line):  # the parent's
        task.place = GONE
    state.queue, state.line, state.inline, state.expiring = deque(), OrderedDict(), {}, Expiring()
    state.staff = set() if forker is None else {forker}
    state.quiet = []
    state.ending = deque()
    state.guarded = state.bounded = state.held = state.shut = False
    state.seen_until = inf
    state.recount()


def mend(state: Admission, starter: int | None) -> list[Worker] | Verdict:
    """
    Count again after thread *starter* was interrupted, and return the workers that it may have left uncalled (None:
    whoever had to call them).

    One of them may be woken twice then, which does no harm: it asks, and is parked again.
    """

    def recount() -> list[Worker]:
        state.recount()
        lost = [
            each
            for each in state.staff
            if each.handed or (each.called and (each.thread or starter in (None, each.starter)))
        ]
        if state.closed is not None and not state.held:  # who closed it may not have come to call them
            lost += [state.call() for _ in range(len(state.parked))]
        more = state.summon()
        return lost if more is None else [*lost, more]

    return state.enter(recount)
