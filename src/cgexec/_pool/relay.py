"""
Permits for another executor, in the place of threads: what the state machine calls a worker is here the right to have
one call in flight over there.

A permit that is called asks for its task and hands it to the other executor; when that one's future is done, the
permit asks for the next. All of it happens on whatever thread comes along: a submitter's, a worker's of the other
executor, its manager's, an event loop's. So nothing here waits, and nothing nests: `_go_on` is a loop.

A permit is driven by one thread at a time: by the one that `Flight.claim` lets pass, or, while it has no task, by the
one whose `Admission.next` comes first. A second one is told to PARK.

The other executor may hold a lock of its own while it ends its futures (it breaks down; it is shut down and cancels
what waits), and a submit from there would wait for ever. If it says that it is broken, the pool is closed first, so
that nothing is submitted; else the clock's thread goes on. So it does for what a finalizer or a signal's handler brings
about in the middle of the other executor's submit.
"""

from collections import deque
from concurrent.futures import BrokenExecutor
from contextvars import Context
from functools import partial
from threading import current_thread, get_ident, main_thread
from time import monotonic, sleep
from typing import Any

from cgexec._pool import endings, life
from cgexec._pool.admission import Admission
from cgexec._pool.hands import EXITING, Hands, do_all
from cgexec._pool.here import here
from cgexec._pool.inner import Inner
from cgexec._pool.log import Log
from cgexec._pool.records import Closed, Verdict, Worker
from cgexec._pool.relayed import Flight, Relayed
from cgexec._pool.task import RETURNED, Task, is_a

__all__ = ["Relay"]

_STOCK_LOGGER = Log("concurrent.futures")
# Between two looks, as the interpreter ends, whether everything was handed over; in seconds.
_NAP = 0.01


class Relay(Hands):
    """Hands what may start to another executor, and brings back how it ended. Thread-safe; never blocks by itself."""

    def __init__(self, state: Admission, name: str, inner: Inner) -> None:
        self.inner = inner
        self._late: deque[tuple[Worker, Flight | None]] = deque()  # left to the clock
        self._hooked = False
        self._shutting = False  # the other executor, by the clock
        self._clockless = False  # the interpreter ends, and nothing is left to hand over
        super().__init__(state, name)

    # -- what others ask of it ------------------------------------------------------------------------------------

    def act(self, worker: Worker, task: Task | None = None) -> None:
        """Have the permit ask for a task; raise what the other executor raised if it took *task* not."""
        if here.handing is not None:
            self._leave_to_clock(worker, None)
        else:
            self._go_on(worker, 0, task)

    def landed(self, flight: Flight) -> None:
        """Go on with the permit of a call that has ended."""
        try:
            broken = self._breakdown(flight)
            if broken is not None and self.inner.is_broken():
                try:
                    self._break_down(broken)  # first, so that nobody hands anything over any more
                finally:  # a callback's error must not keep the permit
                    self._go_on(flight.permit, 0, None, flight)
            elif broken is not None or self._was_cancelled_there(flight) or here.handing is not None:
                self._leave_to_clock(flight.permit, flight)
            else:
                self._go_on(flight.permit, 0, None, flight)
        except BaseException:
            # A signal's, on the main thread. Anywhere else it would end a thread of the other executor.
            if current_thread() is main_thread():
                raise
            _STOCK_LOGGER.critical("Exception in a callback of pool %r", self.name, exc_info=True)

    def tick(self, now: float) -> float | None:
        """Do what is due by time, and go on where the other executor could not be asked at once."""
        self._go_on_with_the_late()
        if self._shutting:
            self._shutting = False
            self.inner.executor.shutdown(wait=False)
        return super().tick(now)

    def mend_once(self) -> None:
        """Call every permit that is not at work: for one that is called twice the second call does nothing."""
        self.mend_for(None)

    def cancel_in_flight(self) -> None:
        """Cancel what the other executor has not begun, as far as it can tell."""
        found = self.state.enter(lambda: endings.running(self.state))
        for task, _, worker in found if isinstance(found, list) else ():
            if worker is not None and self.inner.says_running and not task.running():
                task.cancel()

    def shut_inner(self, *, wait: bool) -> None:
        """
        Shut the other executor down once nothing of a closed pool is left; then nobody needs its ``cancel_futures``,
        which some refuse.
        """
        if wait:
            self.inner.executor.shutdown(wait=True)
            return
        quiet = endings.when_quiet(self.state, self._shut_inner_soon)
        if quiet is True:
            self.inner.executor.shutdown(wait=False)
        elif quiet is Verdict.NESTED:
            self.state.later(partial(self.shut_inner, wait=False))

    def _shut_inner_soon(self) -> None:
        # Not by whatever thread found the pool quiet: it may be the other executor's own, or an event loop's.
        self._shutting = True
        self.look_after(0)

    def close_at_exit(self) -> None:
        """
        Accept nothing more and hand over what waits, before the other executor accepts nothing more either.

        That one's own hook comes after this (see `life.insist`), and waits for what it was given. Not so here: a call
        that never ends would keep the interpreter where the executor itself lets it go.
        """
        self.close(EXITING)
        while self.state.enter(self._has_to_hand_over):
            sleep(_NAP)
        self._clockless = True
        self._go_on_with_the_late()

    def _has_to_hand_over(self) -> bool:
        taken = [worker.task for worker in self.state.staff if isinstance(worker.task, Relayed)]
        return self.state.waiting() > 0 or any(not self.inner.attended or task.is_on_its_way() for task in taken)

    # -- the loop -------------------------------------------------------------------------------------------------

    def _go_on(self, permit: Worker, outcome: int, mine: Task | None, flight: Flight | None = None) -> None:
        """
        Hand over the permit's next task, and those of the permits it has to call. Its last one ended with *outcome*, or
        as *flight* has. *mine* was submitted by the caller, who is told if it cannot be handed over.
        """
        refusal: Exception | None = None
        answer: int | Exception = 0
        others: list[Worker] = []
        try:
            if flight is not None:
                outcome = self._end(flight)
            while True:
                flight = None
                task = self._ask(permit, outcome, others)
                outcome = 0
                if task is not None:
                    flight = Flight(self, permit, task)
                    answer = self._hand_over(flight)
                    if isinstance(answer, Exception):
                        refusal = answer if task is mine else refusal
                        outcome = self._refused(flight, answer, told=task is mine)
                    else:
                        outcome = answer
                    if outcome:
                        continue
                if not others:
                    break
                permit = others.pop()
        except BaseException as error:
            self._rescue(permit, flight, error)
            self.call_all(others)
            raise
        if refusal is not None:
            try:
                raise refusal
            finally:
                del refusal, answer  # or: error, traceback, this frame, error

    def _ask(self, permit: Worker, outcome: int, others: list[Worker]) -> Relayed | None:
        """Return the permit's next task, None if there is nothing for it to do."""
        state = self.state
        if state._mark and state.is_entangled():  # noqa: SLF001  # a hint, and nearly always free
            state.later(lambda: self._go_on(permit, outcome, None))
            return None
        now = monotonic()
        if now >= self.watch.due:
            self.watch.look(permit)
        permit.ident = get_ident()
        answer = state.next(permit, now, outcome)
        if answer is Verdict.LOOK:
            self.watch.look()
            permit.ident = get_ident()
            answer = state.next(permit, monotonic(), 0)
            permit.looked = False
        if permit.errand is not None:
            others.append(permit.errand)
            permit.errand = None
        if permit.chores is not None:
            chores, permit.chores = permit.chores, None
            do_all(chores)
        return None if answer.__class__ is Verdict else answer  # type: ignore[return-value]  # a task of ours

    def _hand_over(self, flight: Flight) -> int | Exception:
        """Return 0 once the call is in flight, how it ended if it did so at once, or what the executor raised."""
        task = flight.task
        assert task.fn is not None, "it has not run"
        extra = task.extra
        task.flight = flight
        if extra is not None:
            self.expect_end(task)
        before, here.handing = here.handing, self.state
        try:
            if self.inner.kind == "thread":
                context = None if extra is None else extra.context
                args = (self.state, flight.permit, context, task.fn, *task.args)
                future = self.inner.submit(_call_here, args, task.kwargs)
            else:
                future = self.inner.submit(task.fn, task.args, task.kwargs)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody is told
            task.flight = None
            return error
        finally:
            here.handing = before
        if not hasattr(future, "add_done_callback"):  # somebody's own executor; a permit must not wait for that
            task.flight = None
            return TypeError(
                f"{self.inner.name}.submit() returned {type(future).__name__}, expected a concurrent.futures.Future"
            )
        if not self._hooked:
            self._hooked = True
            life.insist(type(self.inner.executor))
        return self._end(flight) if flight.follow(future) else 0

    def _end(self, flight: Flight, error: Exception | None = None) -> int:
        """Give the outcome to our future, or *error* where the call was not handed over, and return how it ended."""
        task, future = flight.task, flight.inner
        before, here.state = here.state, self.state  # a callback that submits must not wait for itself
        try:
            if error is None:
                assert future is not None, "it was followed"
                return task.end_like(future)
            task.end(error)
            return task.outcome()
        except BaseException as raised:  # a callback's, or a future somebody else ended
            if not is_a(raised, Exception) and current_thread() is main_thread():
                raise
            _STOCK_LOGGER.critical("Exception in worker", exc_info=True)
            return task.outcome()
        finally:
            here.state = before
            if task.done():
                task.flight = flight.inner = None

    def _leave_to_clock(self, permit: Worker, flight: Flight | None) -> None:
        self._late.append((permit, flight))
        if self._clockless:
            self._go_on_with_the_late()
        else:
            self.look_after(0)

    def _go_on_with_the_late(self) -> None:
        while self._late:
            try:
                permit, flight = self._late.popleft()
            except IndexError:  # another thread was quicker
                return
            self._go_on(permit, 0, None, flight)

    # -- when something goes wrong -----------------------------------------------------------------------------------

    def _breakdown(self, flight: Flight) -> BrokenExecutor | None:
        future = flight.inner
        assert future is not None, "it was followed"
        error = None if future.cancelled() else future.exception()
        return error if is_a(error, BrokenExecutor) else None

    def _was_cancelled_there(self, flight: Flight) -> bool:
        return flight.inner is not None and flight.inner.cancelled() and flight.canceller != get_ident()

    def _refused(self, flight: Flight, error: Exception, *, told: bool) -> int:
        """End a call that the other executor did not take, and the pool with it if that one is broken; return how."""
        outcome = RETURNED
        if told:
            flight.task.drop_call()
        else:
            outcome = self._end(flight, error)
        if is_a(error, BrokenExecutor):
            self._break_down(error)
        return outcome

    def _break_down(self, error: BrokenExecutor) -> None:
        kind = type(error) if type(error).__init__ is BrokenExecutor.__init__ else BrokenExecutor
        self.break_down(Closed(kind, str(error), final=True))

    def _rescue(self, permit: Worker, flight: Flight | None, error: BaseException) -> None:
        """Bring back a permit that was interrupted on its way (by a signal's handler, so on the main thread)."""
        if flight is None and permit.task is None:  # it was about to ask
            self.mend()
            return
        if flight is not None and flight.owner not in (0, get_ident()):
            return  # another thread has seen the end, and goes on
        if flight is not None and flight.inner is not None:
            # Following it once more does no harm.
            if flight.owner or flight.follow(flight.inner):
                self._go_on(permit, 0, None, flight)
            return
        task = permit.task
        assert isinstance(task, Relayed), "taken, and not ended"
        if not task.done():
            lost = RuntimeError("interrupted while the call was handed over; whether it runs is not known")
            lost.__cause__ = error
            self._end(Flight(self, permit, task), lost)
        self._go_on(permit, task.outcome(), None)


def _call_here(state: Admission, permit: Worker, context: Context | None, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Be a worker of the pool while *fn* runs, so that what it submits never waits for itself."""
    before, here.worker, here.state = (here.worker, here.state), permit, state
    try:
        return fn(*args, **kwargs) if context is None else context.run(fn, *args, **kwargs)
    finally:
        here.worker, here.state = before
