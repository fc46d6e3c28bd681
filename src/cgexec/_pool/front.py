"""One pool: its state machine, threads and door, and the operations that need all three. The executor is its face."""

import functools
import math
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from contextvars import copy_context
from time import monotonic
from typing import Any, TypeVar

from cgexec._adaptive.bounds import bounds
from cgexec._adaptive.profile import Known, Profile, of_totals
from cgexec._explain import term_lines
from cgexec._leftovers import Leftovers
from cgexec._pool import awaiting, draining, endings, sizes, streaming, ticker
from cgexec._pool.adapting import Adapter
from cgexec._pool.admission import Admission
from cgexec._pool.door import Door
from cgexec._pool.hands import CANNOT_JOIN, INSIDE, RETRY, Hands
from cgexec._pool.here import here
from cgexec._pool.log import Log
from cgexec._pool.look import Stats, look
from cgexec._pool.overdue import function_name
from cgexec._pool.roster import enlist
from cgexec._pool.task import Extra, Task
from cgexec._pool.watch import watch
from cgexec._quantity import format_bytes
from cgexec._recommend import gil_enabled
from cgexec._settings import Settings, default_places

__all__ = ["Pool", "join"]

_LOGGER = Log("cgexec")
# Between two looks whether a closed pool has ended, in seconds: it is told, as a rule.
_NAP = 1.0

T = TypeVar("T")
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any] | None]


class Pool:
    """
    What an executor consists of, and holds nothing of it, so that the executor can be collected. Thread-safe: *kept* is
    replaced as a whole, *adapter* goes when a number is said, everything else is set once.
    """

    def __init__(
        self,
        kept: Settings,
        name: str,
        hands: Callable[[Admission], Hands],
        task: type[Task] = Task,
    ) -> None:
        self.kept = kept
        self.name = name
        limit = kept.size.limit
        self.state = Admission(limit, _places(kept, limit), least=kept.least)
        self.crew = hands(self.state)
        self.new = task
        self.door = Door(self.state, self.crew, kept.policy)
        if kept.care.guard:
            self.state.needs, self.state.observe = kept.care.needs, kept.care.observe
            self.state.retry, self.state.guarded = kept.care.retry, True
            self.crew.care, self.crew.watch = kept.care, watch()
            watch().add(self.crew)
        self.adapter: Adapter | None = None
        self._said = limit  # the number that fixed the size
        range_ = kept.size.range
        if range_ is not None:
            start = bounds(range_, range_.first)
            size, observe = (limit, False) if kept.would is None else (kept.would, True)
            self.adapter = Adapter(self.state, range_, start, size, self._follow, gil=gil_enabled(), observe=observe)
            self.crew.sleeper = self.adapter
        enlist(self)
        if os.environ.get("CGEXEC_STATS_SOCKET"):
            from cgexec._pool.served import serve_if_asked

            serve_if_asked()
        if kept.would is not None:
            _LOGGER.info(
                "[pool-observes] pool %r only observes: %d workers (%s), no bound; enforced it would have %d, and %g "
                "places",
                name, limit, kept.size.why, kept.would, kept.places,
            )  # fmt: skip

    # -- handing work in --------------------------------------------------------------------------------------------

    def make(self, call: Call, extra: Extra | None) -> Task:
        """Return a task for the call, with the submitter's context if the pool copies it."""
        task = self.new()
        task.fn, task.args, kwargs = call
        task.kwargs = kwargs or None
        task.home = self.state
        task.since = monotonic()
        if self.kept.copy_context and (extra is None or extra.context is None):
            extra = (extra or Extra())._replace(context=copy_context())
        task.extra = extra
        if self.state.marking and here.worker is not None:
            task.nested = self.state.nesting = True
        return task

    def submit(self, call: Call, extra: Extra | None = None) -> Future[Any]:
        """Hand a call in under the pool's policy; what `ThreadPoolExecutor.submit` does in the plain case."""
        task = self.make(call, extra)

        def hand_in() -> BaseException | None:
            return self.door.refusal_by_wait(task) or self.door.settle(self.state.offer(task), task)

        return self._handed_in(task, hand_in)

    def submitter(
        self, fn: Callable[..., Any], extra: Extra | None = None, end: float | None = None
    ) -> Callable[..., Future[Any]]:
        """
        Return what hands calls of *fn* in for `map`: no policy applies, each waits for a place where it may, and is
        `mapping.Late` if there is none at *end* (monotonic).
        """
        state, door, new, plain = self.state, self.door, self.new, extra is None and not self.kept.copy_context
        nested = here.worker is not None

        def submit(*args: Any) -> Future[Any]:
            if not plain:
                dressed = self.make((fn, args, None), extra)
                return self._handed_in(dressed, lambda: door.enter_any(state.offer(dressed), dressed, end))
            task = new()
            task.fn = fn
            task.args = args
            task.home = state
            task.since = monotonic()
            if nested:
                task.nested = state.nesting = True
            try:
                answer = state.offer(task)
                error = None if answer is None else door.enter_any(answer, task, end)
            except BaseException:
                self.crew.mend()
                raise
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # or: error, traceback, this frame, error
            return task

        return submit

    def line_up(self, call: Call, extra: Extra | None = None) -> Future[Any]:
        """Hand a call in without blocking; it waits for its place by itself."""
        task = self.make(call, extra)
        return self._handed_in(task, lambda: self.door.line_up(task))

    def _handed_in(self, task: Task, hand_in: Callable[[], BaseException | None]) -> Future[Any]:
        try:
            error = hand_in()
            if error is None:
                self.door.expect(task)
        except BaseException:  # a signal's: what it left half done would be missed by others
            self.crew.mend()
            raise
        if error is not None:
            try:
                raise error
            finally:
                del error  # or: error, traceback, this frame, error
        return task

    async def run(self, call: Call, extra: Extra, loop: awaiting.Loop) -> Any:
        """Hand a call in, wait for its place and for its result."""
        return await awaiting.result_of(self.line_up(call, extra), loop, self.door)

    # -- looking ----------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return the numbers of this instant."""
        numbers, longest = look(self.state, monotonic())
        would = self.door.would_counts()
        if self.kept.would is not None:
            numbers["queue_size"] = math.inf
            would["limit"] = self.kept.would
        function = None if longest is None else function_name(longest)
        if numbers.pop("would_hold"):
            would["held"] = self.state.tally.would_hold
        if self.kept.care.guard:
            numbers.update(watch().view())
        answer = self.kept.size.recommendation
        numbers["bound_by"] = None if answer is None else answer.bound_by
        if self.adapter is not None:
            numbers.update(self.adapter.numbers())
        return Stats(self.name, self.kept.mode, longest_running_function=function, would=would, **numbers)

    def explain(self) -> str:
        """Return why the pool has its size, and what it is doing, in a few lines."""
        seen, kept, limit = self.stats(), self.kept, self.state.limit
        change = seen.last_change
        why = kept.size.why if change is None else change.why
        lines = [f"pool {self.name!r}: {limit} worker{'' if limit == 1 else 's'}, by {why}"]
        if seen.limit != limit:
            lines.append(f"  {seen.limit} for now: the system refused a thread, or nothing has ended for long")
        places = "no bound" if seen.queue_size == math.inf else f"{seen.queue_size:g} places"
        lines.append(f"  {seen.running} running, {seen.idle} idle, {seen.waiting} waiting ({places})")
        if seen.memory_used is not None and seen.memory_limit is not None:
            used, most = format_bytes(seen.memory_used), format_bytes(seen.memory_limit)
            held = "" if seen.held_for is None else f"; what waits has been held back for {seen.held_for:.3g} s by it"
            lines.append(f"  memory: {used} of {most} in use{held}")
        if change is not None:
            lines.append(f"  last change: {change.old} -> {change.new}, {change.why}, {change.seconds_ago:.3g} s ago")
        if self.adapter is not None:
            lines += self.adapter.lines(monotonic())
        if kept.would is not None:
            lines.append(
                f"  CGEXEC_MODE=observe: enforced it would have {kept.would} workers and {kept.places:g} places"
            )
        answer = kept.size.recommendation
        if answer is not None:
            what = (answer, answer.limits, answer.usage, answer.workload)
            lines += ["  terms (the least binds):", *(f"    {line}" for line in term_lines(*what))]
        return "\n".join(lines)

    def profile(self) -> Profile:
        """Return what was learned about the tasks."""
        functions = self.crew.functions.copy()
        known = [(each, each.learned()) for each in watch().planner.footprints if each in functions]
        footprints = [Known(each.anchor, each.name, learned.bytes, learned.samples) for each, learned in known]
        if self.adapter is not None:
            return self.adapter.profile(footprints)
        seen = self.stats()
        return of_totals(seen.cpu_seconds, seen.task_seconds, seen.completed + seen.failed, footprints)

    # -- changing and ending ----------------------------------------------------------------------------------------

    def resize(self, limit: int, why: str | None = None) -> None:
        """
        Have another number of workers, or say so where only observed. As if it had been said when the pool was made: it
        is fixed from now on, or with ``adaptive=True`` the most.
        """
        why = why or f"resize({limit})"
        if self.kept.size.forced:
            _LOGGER.info(
                "[resize-ignored] pool %r: %s is passed over because of %s", self.name, why, self.kept.size.why
            )
            return
        if self.adapter is not None and self.kept.adaptive:
            limit = self.adapter.limit_to(limit)
        else:
            self._said, self.adapter, self.crew.sleeper = limit, None, None
        if self.kept.would is not None:
            self.kept = self.kept._replace(would=limit)
            limit = self.state.limit
        self._resize(limit, _places(self.kept, limit), why)

    def _is_fixed(self) -> bool:
        return self.adapter is None

    def _follow(self, limit: int, why: str) -> None:
        """Have the size that follows the load."""
        if self._is_fixed():
            return
        if self.kept.would is not None:
            self.kept = self.kept._replace(would=limit)
            limit = self.state.limit
        self._resize(limit, _places(self.kept, limit), why)
        if self._is_fixed():  # a number was said meanwhile, and may have come before this one
            self._resize(self._said, _places(self.kept, self._said), f"resize({self._said})")

    def _resize(self, limit: int, places: float, why: str) -> None:
        try:
            before = self.state.limit
            answer = sizes.resize(self.state, limit, places, why, monotonic())
            if isinstance(answer, tuple):
                called, chores, again = answer
                self.crew.call_all(called, chores)
                if again:
                    self.crew.look_after(RETRY)
                if limit != before:
                    _LOGGER.info("[size-changed] pool %r: %d -> %d, %s", self.name, before, limit, why)
        except BaseException:
            self.crew.mend()
            raise
        if not isinstance(answer, tuple):
            self.state.later(functools.partial(self._resize, limit, places, why))

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Accept nothing more; finish or cancel what waits; wait for the threads."""
        inside = wait and self.crew.is_inside()  # asked before: closing may end what it was in the middle of
        done = self._mending(lambda: self.crew.close(drop=cancel))
        if inside:
            raise RuntimeError(INSIDE)
        if wait and done:
            if self.crew.is_worker():
                raise RuntimeError(CANNOT_JOIN)
            self._wait_until_quiet(None)
            self._join(None)
            self.crew.watch.look()  # a fuse is not held for what has ended

    def _mending(self, act: Callable[[], T]) -> T:
        """Act; what an interruption (Ctrl-C, a callback's error, no memory) leaves undone is done before it goes on."""
        try:
            return act()
        except BaseException:
            self.crew.mend()
            raise

    def _wait_until_quiet(self, deadline: float | None) -> None:
        """Wait until nothing is left, those included whose thread is just being started by their submitter."""
        # A plain lock: an event's own may be left locked where memory runs out in the middle. Short naps, since a wake
        # may be lost if its bearer is interrupted.
        deadline = math.inf if deadline is None else deadline
        # A signal handler may have come between this thread's being told to call a worker and the call.
        self._mending(lambda: self.crew.mend_for(threading.get_ident()))
        quiet = threading.Lock()
        quiet.acquire()
        if endings.when_quiet(self.state, quiet.release) is False:
            while not quiet.acquire(timeout=max(0.0, min(_NAP, deadline - monotonic()))):
                if self.state.is_quiet() or monotonic() >= deadline:
                    return

    def _join(self, deadline: float | None) -> None:
        """Wait for the threads, which are on their way out."""
        while threads := [thread for thread in self.crew.threads(leaving=True) if thread.is_alive()]:
            join(threads, deadline)
            if deadline is not None and monotonic() >= deadline:
                return
        ticker.forget(self.crew)

    def drain(self, timeout: float | None) -> Leftovers:
        """Accept nothing more, wait that long, and return what is left."""
        self._check_may_drain()
        deadline = None if timeout is None else monotonic() + timeout
        self._mending(self.crew.close)
        self._wait_until_quiet(deadline)
        leftovers = self._mending(lambda: draining.collect(self.crew))
        if not leftovers:
            self._join(deadline)
        self.crew.watch.look()
        return leftovers

    def _check_may_drain(self) -> None:
        if self.crew.is_worker():
            raise RuntimeError("drain() was called on a thread that works for this pool, and would wait for itself")
        if self.crew.is_inside():
            raise RuntimeError(f"nothing was drained: {INSIDE}")

    async def adrain(self, timeout: float | None, loop: awaiting.Loop) -> Leftovers:
        """Do the same without blocking the event loop."""
        self._check_may_drain()
        deadline = None if timeout is None else monotonic() + timeout
        quiet = loop.event()
        self._mending(self.crew.close)
        if endings.when_quiet(self.state, lambda: loop.call_soon(quiet.set)) is False:
            await loop.wait(quiet, timeout)
        leftovers = self._mending(lambda: draining.collect(self.crew))
        if not leftovers:
            await awaiting.threads_ended(self.crew.threads(leaving=True), deadline, loop)
            ticker.forget(self.crew)
        self.crew.watch.look()
        return leftovers

    def stream(
        self, fn: Callable[..., Any], calls: streaming.Calls, ahead: int | None, ordered: bool,
        extra: Extra, make_loop: Callable[[], awaiting.Loop], keep: object,
    ) -> AsyncIterator[Any]:  # fmt: skip
        """Yield the results of the calls, running ahead by so many. *keep* lives as long as they come."""
        context = copy_context()

        def hand_in(args: tuple[Any, ...]) -> Future[Any]:
            return self.line_up((fn, args, None), extra._replace(context=context.copy()))

        return streaming.stream(hand_in, calls, ahead or 2 * self.state.limit, ordered, make_loop, keep)


def _places(kept: Settings, limit: int) -> float:
    """Return how many tasks may wait beside *limit* running ones."""
    if kept.would is None:
        return kept.places if kept.places_given else default_places(limit)
    # Observed, the bound is noticed where it would be: at as many tasks in flight as would be allowed.
    return kept.would + (kept.places if kept.places_given else default_places(kept.would)) - limit


def join(threads: Iterable[threading.Thread], deadline: float | None) -> None:
    """Join the threads, until *deadline* (monotonic) at most."""
    for thread in threads:
        thread.join(None if deadline is None else max(0.0, deadline - monotonic()))
