"""`ThreadPoolExecutor`: the standard library's, with a bounded queue and a size that fits the container."""

import concurrent.futures
import functools
import itertools
import logging
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextvars import copy_context as current_context
from time import monotonic
from types import EllipsisType
from typing import Any, Literal, ParamSpec, TypeVar

from cgexec import _off
from cgexec._adaptive.profile import Profile
from cgexec._leftovers import Leftovers
from cgexec._limits import Limits
from cgexec._options import Options, view
from cgexec._pool import awaiting, mapping, streaming
from cgexec._pool.admission import Admission
from cgexec._pool.crew import Crew
from cgexec._pool.front import Pool
from cgexec._pool.here import here
from cgexec._pool.look import Stats, summary
from cgexec._pool.stock_names import StockNames
from cgexec._pool.task import Extra, Task
from cgexec._settings import OnMemoryError, WhenFull, check_seconds, check_workers, settings
from cgexec._usage import Usage

__all__ = ["ThreadPoolExecutor"]

P = ParamSpec("P")
T = TypeVar("T")
Stock = concurrent.futures.ThreadPoolExecutor

_LOGGER = logging.getLogger("cgexec")
_numbers = itertools.count().__next__


class ThreadPoolExecutor(StockNames, Stock):  # type: ignore[misc]  # typeshed knows two of the names as plain fields
    """
    A ``concurrent.futures.ThreadPoolExecutor`` that does not take more than it can carry.

    What is written for the standard pool works unchanged. Besides, the queue is bounded, and ``max_workers=None`` is
    the number that `cgexec.recommend` gives for this container rather than for its machine. Every method may be called
    by any thread; only those that say so block.

    Args:
        max_workers: how many tasks run at once. None: `cgexec.recommend` says where it starts. CGEXEC_MAX_WORKERS is
            the default, CGEXEC_FORCE_MAX_WORKERS beats both.
        thread_name_prefix: what the threads are called, with a number behind it. Default: *name*.
        initializer: called with *initargs* in each thread when it starts; if it raises, the pool is broken.
        initargs: see *initializer*.
        name: what the pool is called in `stats`, errors and the log. Default: *thread_name_prefix*.
        queue_size: places for tasks that wait for a worker. Default: 1024, or 32 for each worker if that is more;
            ``math.inf`` is without a bound.
        when_full: what `submit` does without a place: ``"block"`` waits for one, first come first served; ``"raise"``
            raises `QueueFull`; ``"caller_runs"`` runs the task in the submitting thread, or waits if memory is short;
            ``"discard_oldest"`` cancels the task that has waited longest; ``"discard"`` returns a cancelled future. On
            an event loop's thread `submit` neither blocks nor runs the task: it raises `QueueFull` (see `run`). One of
            our workers never blocks: its task goes over the bound; nor do callbacks of expired tasks (see `options`).
        submit_timeout: seconds that ``"block"`` waits before it raises `QueueFull`; None is without end.
        max_wait: refuse (`QueueFull`, reason ``"wait"``) what would wait longer than so many seconds for a worker, at
            the rate at which tasks have been ending. None: no such limit.
        adaptive: whether the size follows the load: up while tasks wait and CPU is left, down when the quota runs out,
            never on idle; between `min_workers` and what memory and the limit on tasks allow, or *max_workers*.
            Default: exactly if *max_workers* is None; it starts at the recommended number either way. False keeps that
            number. See docs/explanation/adaptive-size.md.
        min_workers: the least size that follows the load, and the idle threads that stay. Default: what the requests
            cover, at least 1.
        idle_timeout: seconds after which an idle thread ends; None is never. Default: 60, never if the size is a fixed
            number that was given.
        memory_guard: hold tasks back while memory does not suffice for them, by the container's limit and what is in
            use: `memory_per_task` or ``options(memory=)`` each, else what is learned of their function. The last task
            is never shut out. Without a limit nothing is held. See docs/explanation/memory.md.
        memory_fuse: while this pool has work, have an allocation that would have the container killed raise MemoryError
            instead, by the soft RLIMIT_DATA of the process: every thread of it may meet that error. Linux only; without
            a limit, and for memory that is shared or a child process's, it does nothing. See docs/howto/memory-fuse.md.
        on_memory_error: what becomes of a task that ends with MemoryError (or OSError, ENOMEM): ``"raise"`` gives the
            error to its future; ``"retry"``, for tasks that may run twice, runs it again with fewer beside it, the
            fourth time alone, and only then gives the error.
        copy_context: run each task in a copy of the submitter's context variables. Default: what the standard pool of
            this Python does. `run` and `stream` always do.
        memory_per_task, io_ratio, cpu_per_task, releases_gil, processes, kind, reserve, basis, limits, usage: see
            `cgexec.recommend`.

    Raises:
        ValueError: an argument or a ``CGEXEC_*`` variable is out of range.
    """

    # Names that no subclass has by chance. None with CGEXEC_MODE=off: methods then are the standard ones or `_off`'s.
    _cgexec_pool: Pool | None = None
    _cgexec_dressed = False  # tasks need more than a call: a context, a look at the expected wait

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        name: str | None = None,
        queue_size: float | None = None,
        when_full: WhenFull = "block",
        submit_timeout: float | None = None,
        max_wait: float | None = None,
        adaptive: bool | None = None,
        min_workers: int | None = None,
        idle_timeout: float | EllipsisType | None = ...,
        memory_guard: bool = True,
        memory_fuse: bool = False,
        on_memory_error: OnMemoryError = "raise",
        copy_context: bool | None = None,
        memory_per_task: str | float | None = None,
        io_ratio: float | None = None,
        cpu_per_task: float | None = None,
        releases_gil: bool = True,
        processes: int | None = None,
        kind: Literal["thread", "process"] = "thread",
        reserve: str | float | None = None,
        basis: Literal["limit", "now", "request"] = "limit",
        limits: Limits | None = None,
        usage: Usage | None = None,
    ) -> None:
        prefix = thread_name_prefix or name or f"ThreadPoolExecutor-{_numbers()}"
        super().__init__(max_workers, prefix, initializer, initargs)
        self._cgexec_name = name or prefix
        told = {
            "memory_per_task": memory_per_task,
            "io_ratio": io_ratio,
            "cpu_per_task": cpu_per_task,
            "releases_gil": releases_gil,
            "processes": processes,
            "kind": kind,
            "reserve": reserve,
            "basis": basis,
            "limits": limits,
            "usage": usage,
        }
        kept = settings(
            max_workers=max_workers,
            stock_workers=self._max_workers,
            queue_size=queue_size,
            when_full=when_full,
            submit_timeout=submit_timeout,
            max_wait=max_wait,
            adaptive=adaptive,
            min_workers=min_workers,
            idle_timeout=idle_timeout,
            copy_context=copy_context,
            memory_guard=memory_guard,
            memory_fuse=memory_fuse,
            on_memory_error=on_memory_error,
            told=told,
        )
        if kept.mode == "off":
            self._max_workers, self._cgexec_dressed = kept.size.limit, kept.copy_context
            return

        def hire(state: Admission) -> Crew:
            return Crew(state, self._cgexec_name, prefix, initializer, initargs, kept.idle_timeout)

        self._cgexec_pool = pool = Pool(kept, self._cgexec_name, hire)
        self._cgexec_dressed = kept.copy_context or kept.policy.max_wait is not None
        # The threads hold the crew, not the executor: dropped by its user, it is collected, and what waits is finished.
        weakref.finalize(self, pool.crew.close).atexit = False

    # -- handing work in --------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """
        Have ``fn(*args, **kwargs)`` called by a worker and return its future.

        Without a place in the queue, *when_full* decides; ``"block"`` may block, except on threads that must not.

        Raises:
            QueueFull: there is no place, or the wait would be longer than *max_wait*.
            RuntimeError: the pool was shut down, or the interpreter is ending; or no thread could be started and none
                is there. Nothing is queued then.
        """
        pool = self._cgexec_pool
        if pool is None:
            return _off.submit(self, self._cgexec_dressed, fn, args, kwargs)
        if self._cgexec_dressed:
            return pool.submit((fn, args, kwargs))
        # What `Pool.submit` does, written out: most tasks come this way.
        state = pool.state
        task = Task()
        task.fn = fn
        task.args = args
        task.home = state
        task.since = monotonic()
        if kwargs:
            task.kwargs = kwargs
        if state.marking and here.worker is not None:
            task.nested = state.nesting = True
        try:
            answer = state.offer(task)
            if answer is None:
                return task
            error = pool.door.settle(answer, task)
        except BaseException:  # a signal's: what it left half done would be missed by others
            pool.crew.mend()
            raise
        if error is not None:
            try:
                raise error
            finally:
                del error  # or: error, traceback, this frame, error
        return task

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """
        Return an iterator over the results of ``map(fn, *iterables)``, in order.

        Without *buffersize* everything is submitted at once, as by the standard pool, waiting for places as it must;
        with it, at most so many tasks are submitted whose results have not been taken, so an endless iterable takes
        constant memory. *when_full* does not apply. Closed early, or dropped after the first result was asked for, the
        iterator cancels what has not started.

        Args:
            fn: takes as many arguments as there are iterables.
            *iterables: the first arguments of the calls, the second ones, and so on; the shortest ends it.
            timeout: seconds from now until all results must have come, waiting for places included; None is without
                end.
            chunksize: ignored, as by the standard thread pool.
            buffersize: see above; as in Python 3.14, here on every version.

        Raises:
            TimeoutError: by the iterator, after *timeout*.
        """
        mapping.check_buffersize(buffersize)
        pool = self._cgexec_pool
        if pool is None and buffersize is None:
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)
        end = mapping.deadline(timeout)
        # Who overrides or patches submit() expects map() to go through it, as the standard one does.
        asked = pool is None or self.submit != _SUBMIT.__get__(self)
        submit = functools.partial(self.submit, fn) if asked or pool is None else pool.submitter(fn, end=end)
        # With a buffer the results need the pool until they are all there, so they keep it.
        keep = None if buffersize is None else self
        return mapping.map_over(submit, zip(*iterables, strict=False), end, buffersize, keep)

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Call ``fn(*args, **kwargs)`` in a worker and return its result; the asyncio way in.

        Waits for a place without blocking the event loop, in one line with threads that wait in `submit`, whatever
        *when_full* says. If the awaiting coroutine is cancelled, so is the call, unless it runs already: then it goes
        on and keeps its worker until it ends. Runs in a copy of the current context. Under trio: `cgexec.anyio.run`.

        Raises:
            QueueFull: after *submit_timeout* seconds without a place, or the wait would be longer than *max_wait*.
            RuntimeError: the pool was shut down.
        """
        loop = awaiting.AsyncioLoop()
        if self._cgexec_pool is None:
            result: T = await _off.run(self, fn, args, kwargs, loop)
        else:
            result = await self._cgexec_pool.run((fn, args, kwargs), Extra(current_context()), loop)
        return result

    def stream(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> AsyncIterator[T]:
        """
        Iterate over the results of ``map(fn, *iterables)`` with ``async for``; the asyncio way to `map`.

        Runs ahead of the consumer by at most *buffersize* tasks, so a slow consumer slows the pool down and an endless
        iterable takes constant memory. Leaving the loop early cancels what has not started, at the latest when the
        iterator is closed (``contextlib.aclosing``). Under trio: `cgexec.anyio.stream`.

        Args:
            fn: takes as many arguments as there are iterables.
            *iterables: ordinary ones, or a single asynchronous one, which a task of its own asks.
            buffersize: tasks handed in whose results have not been taken. Default: twice the workers.
            ordered: False gives results as they come.
        """
        mapping.check_buffersize(buffersize)
        calls = streaming.each_call(iterables)
        if self._cgexec_pool is None:
            ahead = buffersize or 2 * self._max_workers
            return _off.stream(self, fn, calls, ahead, ordered, awaiting.AsyncioLoop)
        return self._cgexec_pool.stream(fn, calls, buffersize, ordered, Extra(), awaiting.AsyncioLoop, self)

    def options(
        self,
        *,
        memory: str | float | None = None,
        queue_timeout: float | None = None,
        run_timeout: float | None = None,
        retry_on_memory_error: bool | None = None,
    ) -> Options:
        """
        Return a light view of the pool whose `submit`, `map`, `run` and `stream` are called with these.

        Args:
            memory: the most that such a task holds, in bytes or as a quantity (``"200Mi"``). Default: what the pool was
                told, else what is learned of the function.
            queue_timeout: a task that has waited so long for a worker is dropped: its future raises TimeoutError.
                In its callbacks `submit` never blocks, nor may anything else: their thread keeps the time of all pools.
            run_timeout: a task that runs longer is counted in ``stats().overdue`` and logged once, with its stack. It
                goes on and keeps its worker: a thread cannot be ended from outside (see `cgexec.cancel`).
            retry_on_memory_error: such a task may run twice, and is run again when memory runs out for it (True), or
                never is (False). Default: what the pool was told (``on_memory_error``).
        """
        return view(self, memory, queue_timeout, run_timeout, retry_on_memory_error)

    # -- looking ----------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return the pool's numbers at this instant. Takes microseconds, and some more for each worker."""
        return _off.stats(self, self._cgexec_name) if self._cgexec_pool is None else self._cgexec_pool.stats()

    def profile(self) -> Profile:
        """
        Return what was learned about the tasks: ``cgexec.recommend(**pool.profile().as_kwargs())`` closes the circle.
        With a fixed size nobody looks by time, so the I/O ratio comes from the totals and is an upper bound.
        """
        return Profile() if self._cgexec_pool is None else self._cgexec_pool.profile()

    def explain(self) -> str:
        """Return in a few lines why the pool has the size it has, and what it is doing."""
        return _off.explain(self, self._cgexec_name) if self._cgexec_pool is None else self._cgexec_pool.explain()

    def __repr__(self) -> str:
        seen = ThreadPoolExecutor.stats(self)  # a subclass may call something else `stats`
        return f"<cgexec.{type(self).__name__} {self._cgexec_name!r}: {summary(seen)}>"

    # -- changing and ending ----------------------------------------------------------------------------------------

    def resize(self, max_workers: int) -> None:
        """
        Change how many tasks may run at once. Does not block; running tasks are left to end, surplus threads then
        leave.

        As if it had been said when the pool was made: the size is fixed from now on, or with ``adaptive=True`` the
        most. A default *queue_size* follows. Nothing happens with CGEXEC_MODE=off or CGEXEC_FORCE_MAX_WORKERS, but for
        a line in the log; with CGEXEC_MODE=observe only what `stats` says would be changes.
        """
        limit = check_workers("max_workers", max_workers)
        if self._cgexec_pool is None:
            _LOGGER.info(
                "[resize-ignored] pool %r: resize(%d) is passed over: CGEXEC_MODE=off", self._cgexec_name, limit
            )
        else:
            self._cgexec_pool.resize(limit)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """
        Accept nothing more, and finish what waits or, with *cancel_futures*, cancel it. A blocked submit raises.

        Blocks until every task has ended and every thread is gone, unless *wait* is False. RuntimeError: see `drain`;
        it is closed all the same.
        """
        if self._cgexec_pool is None:
            super().shutdown(wait, cancel_futures=cancel_futures)
        else:
            self._cgexec_pool.shutdown(wait=wait, cancel=cancel_futures)

    def drain(self, timeout: float | None = None) -> Leftovers:
        """
        Accept nothing more, wait until everything has ended or *timeout* seconds have gone by, and return what is left.

        What has not started then is cancelled and returned with its call, what still runs with its age. Blocks. A
        process that ends after this still waits for what runs: `cgexec.cancel` asks, nothing ends a thread.

        Raises:
            RuntimeError: called by a worker of this pool or an expired task's callback, which would wait for itself; or
                by a signal handler or finalizer in the middle of a pool's own work. Nothing is drained then: set an
                event, and drain where it is waited for.
        """
        timeout = check_seconds("timeout", timeout, least=0)
        return _off.drain(self, timeout) if self._cgexec_pool is None else self._cgexec_pool.drain(timeout)

    async def adrain(self, timeout: float | None = None) -> Leftovers:
        """Do what `drain` does without blocking the event loop. Under trio: `cgexec.anyio.drain`."""
        return await self._cgexec_adrain(timeout, awaiting.AsyncioLoop())

    async def _cgexec_adrain(self, timeout: float | None, loop: awaiting.Loop) -> Leftovers:
        timeout = check_seconds("timeout", timeout, least=0)
        if self._cgexec_pool is None:
            return await _off.adrain(self, timeout, loop)
        return await self._cgexec_pool.adrain(timeout, loop)


_SUBMIT = ThreadPoolExecutor.submit
