"""
The threads of a pool. They belong to the state machine, never to the executor, which so can be collected while they
run.

Everything here is told what to do by the state machine, and does it without the lock.
"""

import heapq
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures.thread import BrokenThreadPool
from functools import partial
from time import monotonic, sleep
from typing import Any, Protocol

from cgexec._memory.fuse import fuse
from cgexec._pool import endings, life, mending, overdue, sizes, ticker
from cgexec._pool.admission import Admission
from cgexec._pool.here import here
from cgexec._pool.records import Chore, Closed, Closing, Verdict, Worker
from cgexec._pool.serving import work
from cgexec._pool.taken import end_taken
from cgexec._pool.task import Task
from cgexec._settings import Care

__all__ = ["SHUT_DOWN", "Crew", "do_all"]

# The logger and the words of the standard library, which programs and its own tests look for.
_STOCK_LOGGER = logging.getLogger("concurrent.futures")
_LOGGER = logging.getLogger("cgexec")
SHUT_DOWN = Closed(RuntimeError, "cannot schedule new futures after shutdown")
_EXITING = Closed(RuntimeError, "cannot schedule new futures after interpreter shutdown")
_BROKEN = Closed(BrokenThreadPool, "A thread initializer failed, the thread pool is not usable anymore", final=True)

# How often a worker that has to stay asks whether it still has to, in seconds; or idle_timeout if that is more.
_LOOK_AGAIN = 1.0
_LOOK_AT_EXIT = 0.02
# After the system refused a thread, seconds until another is tried.
_RETRY_THREAD = 1.0


class Watching(Protocol):
    """Who looks at memory; *due* is when to do so, in monotonic seconds."""

    due: float

    def look(self, asking: Worker | None = None) -> None:
        """Look, and call whoever may start now."""


class _Nobody:
    """The watch of a pool that does not mind memory."""

    due = math.inf

    def look(self, asking: Worker | None = None) -> None:
        """Have seen nothing."""


_NOBODY = _Nobody()


class Crew:
    """
    Starts and calls workers, and ends what the state machine took out.

    Thread-safe. Its lock guards the threads and the free numbers, and nothing else is done under it. Re-entrant, as a
    finalizer that runs in the middle may submit.
    """

    def __init__(
        self,
        state: Admission,
        name: str,
        prefix: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        idle_timeout: float | None,
    ) -> None:
        self.state = state
        self.name = name
        self.idle_timeout = idle_timeout
        self.watch: Watching = _NOBODY  # who looks at memory for it
        self.care = Care()
        self._prefix = prefix
        self._initializer = initializer
        self._initargs = initargs
        self._lock = threading.RLock()
        self._threads: dict[Worker, threading.Thread] = {}
        self._leaving: list[threading.Thread] = []
        self._numbers: list[int] = []  # given back
        life.register(self)

    # -- what others ask of it ------------------------------------------------------------------------------------

    def act(self, worker: Worker, task: Task | None = None) -> None:
        """
        Call the worker, or start it if it has no thread.

        Raises:
            RuntimeError: no thread can be started and none is there; *task*, which it was for, is not queued then.
        """
        if worker.thread is None:
            self._start(worker, task)
            return
        try:
            worker.wake.release()
        except RuntimeError:  # already woken, by whoever mended an interrupted call
            return

    def call_all(self, workers: Iterable[Worker], chores: Iterable[Chore] = ()) -> None:
        """Act for each of the workers, and do the chores."""
        do_all([*(partial(self.act, worker) for worker in workers), *chores])

    def mend(self) -> None:
        """Set right what an exception in the middle of a call may have left undone, though another comes meanwhile."""
        try:
            self._mend()
        except BaseException:
            self._mend()
            raise

    def _mend(self) -> None:
        if isinstance(sys.exception(), MemoryError):
            fuse().give_out(everything=here.worker is None)
        workers = mending.mend(self.state, threading.get_ident())
        if isinstance(workers, list):
            do_all([partial(self.call_all, workers), partial(end_taken, self.state)])
        if self.state.thread_cap is not None:
            self.look_after(_RETRY_THREAD)

    def close(
        self, why: Closed = SHUT_DOWN, *, drop: bool = False, note: Callable[[Task], object] | None = None
    ) -> bool:
        """
        Accept nothing more; cancel what waits if *drop*, after *note* was called with it.

        Returns:
            False if that is done a little later: the caller has interrupted a locked part, and must not wait for it.
        """
        closing = endings.close(self.state, why, drop="cancelled" if drop else None, note=note)
        if not isinstance(closing, Closing):
            self.state.later(partial(self.close, why, drop=drop))
            return False
        do_all([partial(self.call_all, closing.called, closing.chores), partial(end_taken, self.state)])
        return True

    def close_at_exit(self) -> None:
        """Let what waits be finished and idle workers go: the interpreter is about to join them."""
        self.close(_EXITING)

    def after_fork(self) -> None:
        """Be closed for good: the threads are the parent's, and so is whatever waits and runs."""
        forker = here.worker if here.state is self.state else None  # a task of ours that forked goes on in the child
        mending.after_fork(self.state, Closed(RuntimeError, life.FORKED, final=True), forker)
        self._lock = threading.RLock()
        self._threads, self._leaving = {}, []

    def threads(self, *, leaving: bool = False) -> set[threading.Thread]:
        """Return the threads of the pool; with *leaving* also those that have just been let go."""
        with self._lock:
            threads = {*self._threads.values(), *(self._leaving if leaving else ())}
            return {thread for thread in threads if thread.ident is not None}  # started

    def look_after(self, seconds: float) -> None:
        """Have `tick` called in so many seconds, or sooner."""
        ticker.call_at(self, monotonic() + seconds)

    def expect_end(self, task: Task) -> None:
        """Look after a task that starts, if it should not run for long."""
        if task.extra is not None and task.extra.run_timeout is not None:
            self.look_after(task.extra.run_timeout)

    def tick(self, now: float) -> float | None:
        """Do what is due by time; return when to come again, None if nothing is expected."""
        if self.state.thread_cap is not None:
            answer = sizes.lift_cap(self.state)
            if isinstance(answer, tuple):
                self.call_all([] if answer[0] is None else [answer[0]], answer[1])
        dues = [overdue.attend(self.state, self.name, now, self.call_all)]
        stalled = sizes.stalled(self.state, now)
        if isinstance(stalled, tuple):
            called, chores, again = stalled
            self.call_all(called, chores)
            if again:
                dues.append(now + _RETRY_THREAD)
        return min((due for due in dues if due is not None), default=None)

    # -- threads --------------------------------------------------------------------------------------------------

    def _start(self, worker: Worker, task: Task | None) -> None:
        if life.is_over():
            self._refuse(worker, task, RuntimeError(_EXITING.text))
            return
        with self._lock:
            worker.number = heapq.heappop(self._numbers) if self._numbers else len(self._threads)
            name = f"{self._prefix}_{worker.number}"
            thread = threading.Thread(target=work, args=(self, worker), name=name, daemon=False)
            self._threads[worker] = thread
        fuse().expect_thread()
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            if thread.ident is not None:  # it runs; an interrupted wait for its start can end in such an error, too
                return
            self._gone(worker)
            self._refuse(worker, task, error)

    def take_post(self, worker: Worker) -> bool:
        """
        Have the current thread be that worker; False if another is.

        A submitter that is interrupted while it starts a thread cannot know whether it did. It starts another, and the
        one that comes second finds the post taken.
        """
        with self._lock:
            if worker.thread is not None:
                return False
            worker.thread = self._threads[worker] = threading.current_thread()
            worker.ident = threading.get_ident()
            return True

    def _refuse(self, worker: Worker, task: Task | None, error: Exception) -> None:
        why = Closed(RuntimeError, str(error))
        if not life.is_over():
            why = Closed(RuntimeError, f"{error}: no worker of pool {self.name!r} is there, so the task was not queued")
        stranded = sizes.refused(self.state, worker, task, why.make)
        stranded = stranded if isinstance(stranded, list) else []
        if not life.is_over():
            self.look_after(_RETRY_THREAD)
        # Nobody is there to run them. The futures of others end so; who hands in *task* is told here.
        end_taken(self.state)
        if task in stranded:
            raise RuntimeError(why.text) from error
        if not stranded and not life.is_over():
            _LOGGER.warning(
                "pool %r: the system refused a thread (%s); going on with %d for now, what waits stays queued. "
                "Raise the limit on tasks (pids.max, ulimit -u) or lower max_workers.",
                self.name, error, self.state.allowed,
            )  # fmt: skip

    def _gone(self, worker: Worker) -> None:
        with self._lock:
            self._threads.pop(worker, None)
            heapq.heappush(self._numbers, worker.number)
            self._leaving = [thread for thread in self._leaving if thread.is_alive()]
            if worker.thread is not None:
                self._leaving.append(worker.thread)

    # -- what a worker thread does --------------------------------------------------------------------------------

    def initialize(self) -> bool:
        """Run the initializer in this thread; False if it failed, and with it the pool."""
        if self._initializer is None:
            return True
        try:
            self._initializer(*self._initargs)
        except BaseException:  # whatever it raises breaks the pool, as in the standard library
            _STOCK_LOGGER.critical("Exception in initializer:", exc_info=True)
            closing = endings.close(self.state, _BROKEN, drop="failed")
            assert isinstance(closing, Closing), "a worker thread interrupts nobody"
            self.call_all(closing.called, closing.chores)
            end_taken(self.state)
            return False
        return True

    def park(self, worker: Worker) -> bool:
        """Wait to be called; False if the worker retires instead."""
        assert self.idle_timeout is not None, "without it a worker just waits"
        timeout = min(self.idle_timeout, threading.TIMEOUT_MAX)
        while not worker.wake.acquire(timeout=timeout):
            if sizes.retire(self.state, worker) is True:
                return False
            timeout = max(timeout, _LOOK_AGAIN)
        return True

    def look_and_ask(self, worker: Worker) -> Task | Verdict:
        """
        Look at memory, as it did not suffice, and ask once more; a second refusal stands until others look.

        When the interpreter is ending nobody else does, as the ticker has been stopped: then one looks again oneself.
        """
        while True:
            self.watch.look()
            answer = self.state.next(worker, monotonic(), 0)
            worker.looked = False
            if answer is not Verdict.PARK or not self.state.held or not life.is_over():
                return answer
            sleep(_LOOK_AT_EXIT)
            worker.looked = True

    def lose(self, worker: Worker, error: BaseException | None = None) -> None:
        """Go on without a worker whose thread ends by an error that is none of a task's."""
        task, successor, chores = sizes.lost(self.state, worker)
        self._gone(worker)
        if task is not None and not task.done():
            task.drop_call()
            lost = RuntimeError("the worker thread ended by an error of its own; see the log")
            lost.__cause__ = error
            task.set_exception(lost)
        self.call_all([] if successor is None else [successor], chores)

    def leave(self, worker: Worker) -> None:
        """Forget the thread of a worker that leaves; of a closed pool all are kept, for whoever joins them."""
        if self.state.closed is None:  # a benign race: a thread kept too long is joined once more
            self._gone(worker)


def do_all(chores: Iterable[Chore]) -> None:
    """Do each of the chores, whatever the others raise (callbacks are anybody's code); then raise the first error."""
    first: BaseException | None = None
    for chore in chores:
        try:
            chore()
        except BaseException as error:  # noqa: BLE001  # raised below
            first = first or error
    if first is not None:
        raise first
