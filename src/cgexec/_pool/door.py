"""
What happens to a task that the pool has no place for: its submitter waits, is refused, runs it, or something is
    dropped.

The state machine says FULL; here it is carried out, by the submitter's own thread and without the lock.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any

from cgexec._errors import QueueFull, Reason
from cgexec._pool import endings, lines, saturation
from cgexec._pool.admission import Admission
from cgexec._pool.hands import Hands
from cgexec._pool.here import here, on_event_loop, works_for
from cgexec._pool.log import Log
from cgexec._pool.look import estimate
from cgexec._pool.mapping import Late
from cgexec._pool.overdue import function_name
from cgexec._pool.records import Ticket, Verdict, Worker
from cgexec._pool.taken import end_taken
from cgexec._pool.task import Task, is_a
from cgexec._settings import Policy

__all__ = ["PATIENCE", "Door"]

_LOGGER = Log("cgexec")
# A submit that is blocked for so long is worth a line in the log, in seconds.
_LONG = 1.0
# A worker of another pool waits so long in vain, then its task is accepted over the bound: two pools that submit to
# each other may stand still, each waiting for the other. "In vain": nothing was taken from the queue meanwhile. Chosen
# by hand.
PATIENCE = 5.0
# What would have been counted, by policy, where a pool only observes.
_WOULD = {"block": "blocked", "raise": "rejected", "caller_runs": "ran_in_caller"}
_LATER = 1.0


class Door:
    """
    The way into one pool. Thread-safe: it has no state of its own but *would*, whose counts are under its lock, and
    what was said of refusals.
    """

    def __init__(self, state: Admission, crew: Hands, policy: Policy) -> None:
        self.state = state
        self.crew = crew
        self.policy = policy
        self.would: dict[str, int] = {}
        self._saturation = saturation.Saturation()
        self._lock = threading.RLock()

    def settle(self, answer: Worker | Verdict | None, task: Task) -> BaseException | None:
        """
        Do what the state machine's answer to a submitted task asks for. May block, run the task, or drop one.

        Returns:
            The error to raise if the task was not accepted.
        """
        if isinstance(answer, Worker):
            self.crew.act(answer, task)
        elif answer is Verdict.FULL:
            return self._when_full(task)
        elif answer is Verdict.TICK:
            self.crew.look_after(_LATER)
        elif answer is Verdict.CLOSED:
            return self._closed()
        elif answer is Verdict.NESTED:
            self.state.later(partial(self._enter_later, task))
        return None

    def enter_any(self, answer: Worker | Verdict | None, task: Task, end: float | None = None) -> BaseException | None:
        """
        Do what *answer* asks for, but where it is FULL wait for a place until *end* (monotonic), or go over the bound
        where one must not wait.
        """
        if answer is not Verdict.FULL:
            return self.settle(answer, task)
        if self.policy.observe or self._must_not_wait() or on_event_loop():
            return self._go_over(task)
        return self._block(task, None if end is None else end - monotonic(), Late)

    def line_up(self, task: Task) -> BaseException | None:
        """Have the task accepted, or put at the end of the line; its submitter awaits it. Never blocks."""
        error = self.refusal_by_wait(task)
        if error is not None:
            return error
        if self.policy.observe:
            return self._go_over(task)
        answer = lines.line_up(self.state, task, None)
        return None if answer is Verdict.FULL else self.settle(answer, task)

    def give_up(self, future: Future[Any]) -> None:
        """End a task that has stood in the line for ``submit_timeout``, unless it has got its place."""
        if isinstance(future, Task) and lines.withdraw(self.state, future) is True:
            future.end(self._still_full())

    def would_counts(self) -> dict[str, int]:
        """Return what would have happened, were the pool not only observing."""
        with self._lock:
            return dict(self.would)

    def expect(self, task: Task) -> None:
        """See to the task's time-outs, now that it is accepted."""
        extra = task.extra  # read once: the task may end at any moment, and lets go of it
        if extra is not None and extra.queue_timeout is not None and not self.policy.observe:
            endings.expect(self.state, task, extra.queue_timeout)
            self.crew.look_after(max(0.0, task.since + extra.queue_timeout - monotonic()))  # it may have been blocked

    def refusal_by_wait(self, task: Task) -> QueueFull | None:
        """Return the refusal of a task that would wait longer than ``max_wait``, None if it would not."""
        most = self.policy.max_wait
        if most is None:
            return None
        expected = estimate(self.state, task.since)
        if expected.wait is None or expected.wait <= most:
            return None
        if self.policy.observe:
            self._count_would("rejected")
            return None
        return self._full(
            "wait",
            f"would wait about {expected.wait:.3g} s, longer than max_wait={most:g}: {self._counts()}",
            expected.wait - most,
        )

    # -- the policies ---------------------------------------------------------------------------------------------

    def _when_full(self, task: Task) -> BaseException | None:
        if self.policy.observe:
            self._count_would(_WOULD.get(self.policy.when_full, "discarded"))
            return self._go_over(task)
        when_full = self.policy.when_full
        if when_full == "discard_oldest":
            return self._displace(task)
        if (when_full == "block" and self._must_not_wait()) or (when_full == "caller_runs" and here.clock):
            return self._go_over(task)
        if when_full == "raise" or on_event_loop():
            return self._refuse(task)
        if when_full in ("caller_runs", "discard"):
            return self._run_here(task) if when_full == "caller_runs" else self._discard(task)
        return self._block(task, self.policy.submit_timeout, self._still_full)

    def _go_over(self, task: Task) -> BaseException | None:
        return self.settle(self.state.offer(task, over=True), task)

    def _refuse(self, task: Task) -> QueueFull:
        way_out = (
            "await pool.run(...) waits for a place without blocking the event loop"
            if on_event_loop()
            else 'when_full="block" waits for a place, submit_timeout= for so long, queue_size= gives more'
        )
        what = "memory is short, and more waits than runs" if self.state.shut else "queue is full"
        return self._full(self._reason(), f"{what}: {self._counts()}; {way_out}", self._when_free(task.since))

    def _reason(self) -> Reason:
        return "memory" if self.state.shut else "queue"

    def _when_free(self, now: float) -> float | None:
        """Return in how many seconds a place may be free."""
        place = estimate(self.state, now).place
        return max(place or 0.0, _LATER) if self.state.shut else place

    def _full(self, reason: Reason, text: str, retry_after: float | None) -> QueueFull:
        lines.reject(self.state, reason)
        self._saturation.refused(self.crew.name, self.state, reason, self.crew.watch.reading, monotonic())
        return QueueFull(text, reason=reason, retry_after=retry_after)

    def _still_full(self) -> QueueFull:
        text = f"queue is still full after submit_timeout={self.policy.submit_timeout:g} s: {self._counts()}"
        return self._full(self._reason(), text, self._when_free(monotonic()))

    def _displace(self, task: Task) -> BaseException | None:
        answer, oldest = lines.displace(self.state, task)
        if oldest is not None:
            end_taken(self.state)
        return self._refuse(task) if answer is Verdict.FULL else self.settle(answer, task)

    def _discard(self, task: Task) -> BaseException | None:
        lines.discard(self.state, task)
        task.end(None)
        return None

    def _run_here(self, task: Task) -> BaseException | None:
        before, worker = here.inline, here.worker
        answer: Verdict | None = None
        try:
            answer = lines.begin_inline(self.state, task, monotonic())
            if answer is None:
                self.crew.expect_end(task)
                here.inline, here.worker = (*before, task), worker or Worker(threading.get_ident())
                task.run()
        finally:
            here.inline, here.worker = before, worker
            chores = lines.end_inline(self.state, task, monotonic(), task.outcome())
            self.crew.call_all((), chores if isinstance(chores, list) else ())
        if answer is Verdict.FULL:  # memory does not suffice for it: it waits as the others do
            return self._go_over(task) if self._must_not_wait() else self._block(task, None, self._still_full)
        if answer is not None:
            return self.settle(answer, task)
        error = None if task.cancelled() else task.exception()
        # On the caller's own thread Ctrl-C is meant for the caller, too.
        return error if is_a(error, KeyboardInterrupt) else None

    def _must_not_wait(self) -> bool:
        """Return whether a place may have to wait for the current thread, which then must not wait for a place."""
        # In the middle of the other executor's submit it has a permit, and that one may run the call right there.
        return works_for(self.state) or here.handing is self.state

    # -- waiting --------------------------------------------------------------------------------------------------

    def _block(self, task: Task, timeout: float | None, late: Callable[[], BaseException]) -> BaseException | None:
        """Wait for a place, first come first served; return *late* if there is none after *timeout* seconds."""
        ticket = Ticket()
        begin = monotonic()
        try:
            answer = lines.line_up(self.state, task, ticket)
            if answer is not Verdict.FULL:
                return self.settle(answer, task)
            in_time = self._wait(task, ticket, begin, timeout)
        except BaseException:
            # Interrupted: the ticket goes along. If the place came first, nobody will ever see this future.
            if lines.withdraw(self.state, task) is not True:
                task.cancel()
            raise
        finally:
            lines.add_blocked(self.state, monotonic() - begin)
        if not in_time and lines.withdraw(self.state, task) is True:
            return late()
        # Asked last: what is not in the line any more has its place, or was turned away after its time was up.
        return self._closed() if ticket.verdict is Verdict.CLOSED else None

    def _wait(self, task: Task, ticket: Ticket, begin: float, timeout: float | None) -> bool:
        """Return once the ticket was served: True, or False if *timeout* seconds went by before."""
        warned = False
        foreign = here.worker is not None or here.state is not None
        seen, since = self.state.started(), begin
        while True:
            now = monotonic()
            left = _LATER if timeout is None else begin + timeout - now
            if left <= 0:
                return False
            if foreign:
                left = min(left, max(0.001, since + PATIENCE - now))
            # Short naps, since a wake may be lost if its bearer is interrupted.
            if ticket.gate.acquire(timeout=min(left, _LONG)) or ticket.verdict is not Verdict.FULL:
                return True
            now = monotonic()
            if not warned and now - begin >= _LONG:
                warned = True
                self._warn(task, now - begin)
            if foreign and self.state.started() != seen:
                seen, since = self.state.started(), now
            if foreign and now - since >= PATIENCE:
                self._push(task)
                return True

    def _push(self, task: Task) -> None:
        answer = lines.push(self.state, task)
        if isinstance(answer, Worker):
            self.crew.act(answer)
        _LOGGER.warning(
            "[queue-over-bound] pool %r: a task from a worker of another pool was accepted over the bound, since "
            "nothing has been taken from the queue for %g s (%s): do the two pools submit to each other?",
            self.crew.name, PATIENCE, self._counts(),
        )  # fmt: skip

    def _warn(self, task: Task, seconds: float) -> None:
        _LOGGER.warning(
            "[submit-blocked] pool %r: submit(%s) has been blocking thread %s for %.1f s: %s",
            self.crew.name, function_name(task), threading.current_thread().name, seconds,
            saturation.describe(self.state, self.crew.watch.reading, monotonic()),
        )  # fmt: skip

    # -- small things ---------------------------------------------------------------------------------------------

    def _enter_later(self, task: Task) -> None:
        error = self._go_over(task)
        if error is not None:
            task.end(error)

    def _closed(self) -> RuntimeError:
        closed = self.state.closed
        assert closed is not None, "a closed pool stays closed"
        return closed.error(closed.text)

    def _counts(self) -> str:
        state = self.state  # read without the lock: numbers for a sentence
        return (
            f"{saturation.places_taken(state.waiting(), state.places)}, {state.running} of {state.allowed} workers busy"
            f" in pool {self.crew.name!r}"
        )

    def _count_would(self, what: str) -> None:
        with self._lock:
            self.would[what] = self.would.get(what, 0) + 1
