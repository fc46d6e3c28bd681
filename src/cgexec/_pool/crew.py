"""
The threads of a pool. They belong to the state machine, never to the executor, which so can be collected while they
run.

Everything here is told what to do by the state machine, and does it without the lock.
"""

import heapq
import threading
from collections.abc import Callable
from concurrent.futures.thread import BrokenThreadPool
from time import monotonic
from typing import Any

from cgexec._memory.allocator import is_on_main_arena
from cgexec._pool import life, sizes, ticker
from cgexec._pool.admission import Admission
from cgexec._pool.beginning import begin
from cgexec._pool.guard import is_owned
from cgexec._pool.hands import EXITING, RETRY, Hands
from cgexec._pool.here import here
from cgexec._pool.log import Log
from cgexec._pool.records import Closed, Verdict, Worker
from cgexec._pool.serving import work
from cgexec._pool.taken import end_taken
from cgexec._pool.task import Task

__all__ = ["Crew"]

# The logger of the standard library, which programs and its own tests look for.
_STOCK_LOGGER = Log("concurrent.futures")
_LOGGER = Log("cgexec")
_BROKEN = Closed(BrokenThreadPool, "A thread initializer failed, the thread pool is not usable anymore", final=True)

# How often a worker that has to stay asks whether it still has to, in seconds; or idle_timeout if that is more.
_LOOK_AGAIN = 1.0
# And how often one looks at memory that nobody else would look at.
_LOOK_HELD = 0.02


class Crew(Hands):
    """
    `Hands` with threads of its own.

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
        self.idle_timeout = idle_timeout
        self._prefix = prefix
        self._initializer = initializer
        self._initargs = initargs
        self._lock = threading.RLock()
        self._threads: dict[Worker, threading.Thread] = {}
        self._leaving: list[threading.Thread] = []
        self._numbers: list[int] = []  # given back
        super().__init__(state, name)
        self.shares_arena = True

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

    def mend_once(self) -> None:
        """Do what `Hands` does, and try again soon to have the threads that were refused."""
        super().mend_once()
        if self.state.thread_cap is not None:
            self.look_after(RETRY)

    def after_fork(self) -> None:
        """Be closed for good: the threads are the parent's, and so is whatever waits and runs."""
        forker = here.worker if here.state is self.state else None  # a task of ours that forked goes on in the child
        self.forget_parent(forker)
        self._lock = threading.RLock()
        self._threads, self._leaving = {}, []

    def threads(self, *, leaving: bool = False) -> set[threading.Thread]:
        """Return the threads of the pool; with *leaving* also those that have just been let go."""
        with self._lock:
            threads = {*self._threads.values(), *(self._leaving if leaving else ())}
            return {thread for thread in threads if thread.ident is not None}  # started

    def is_inside(self) -> bool:
        """Return whether the current thread was interrupted in a part of this pool, or of another, that others need."""
        return is_owned(self._lock) or super().is_inside()

    def rouse(self, now: float = 0.0) -> None:
        """
        Have the pool looked at, as there is work. Called when a worker wakes or starts, and now and then with the time,
        between two tasks: then the worker looks itself if nobody did when it was due.
        """
        sleeper = self.sleeper
        if sleeper is None:
            return
        if sleeper.asleep:
            sleeper.wake()
        elif now > sleeper.late:
            sleeper.stand_in()

    def tick(self, now: float) -> float | None:
        """Do what is due by time; return when to come again, None if nothing is expected."""
        if self.state.thread_cap is not None:
            answer = sizes.lift_cap(self.state)
            if isinstance(answer, tuple):
                self.call_all([] if answer[0] is None else [answer[0]], answer[1])
        return super().tick(now)

    # -- threads --------------------------------------------------------------------------------------------------

    def _start(self, worker: Worker, task: Task | None) -> None:
        if life.is_over():
            self._refuse(worker, task, RuntimeError(EXITING.text))
            return
        with self._lock:
            worker.number = heapq.heappop(self._numbers) if self._numbers else len(self._threads)
            name = f"{self._prefix}_{worker.number}"
            thread = threading.Thread(target=work, args=(self, worker), name=name, daemon=False)
            self._threads[worker] = thread
        try:
            begin(thread)
        except (RuntimeError, MemoryError) as error:
            if thread.ident is not None:  # it runs; an interrupted wait for its start can end in such an error, too
                return
            self._gone(worker)
            self._refuse(worker, task, error)

    def take_post(self, worker: Worker) -> bool:
        """
        Have the current thread be that worker; False if another is.

        A submitter that is interrupted while it starts a thread cannot know whether it did. It starts another, and the
        one that comes second finds the post taken. One that took too long to begin finds that nobody waits any more.
        """
        with self._lock:
            if worker.thread is not None or worker not in self._threads:
                return False
            worker.thread = self._threads[worker] = threading.current_thread()
            worker.ident = threading.get_ident()
        if self.shares_arena and self.watch.reading is not None and not is_on_main_arena():
            self.shares_arena = False
        return True

    def _refuse(self, worker: Worker, task: Task | None, error: Exception) -> None:
        why = Closed(RuntimeError, str(error))
        if not life.is_over():
            why = Closed(RuntimeError, f"{error}: no worker of pool {self.name!r} is there, so the task was not queued")
        stranded = sizes.refused(self.state, worker, task, why.make)
        stranded = stranded if isinstance(stranded, list) else []
        if not life.is_over():
            self.look_after(RETRY)
        # Nobody is there to run them. The futures of others end so; who hands in *task* is told here.
        end_taken(self.state)
        if task in stranded:
            raise RuntimeError(why.text) from error
        if not stranded and not life.is_over():
            _LOGGER.warning(
                "[thread-refused] pool %r: the system refused a thread (%s); going on with %d for now, what waits "
                "stays queued. "
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
            self.break_down(_BROKEN)
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

        Where nobody will, one parks here and looks again oneself: the ticker is stopped when the interpreter is ending,
        and the system may have refused it a thread.
        """
        self.watch.look()
        while True:
            answer = self.state.next(worker, monotonic(), 0)
            worker.looked = False
            if answer is not Verdict.PARK or not self.state.held:
                return answer
            if ticker.expects(self.watch) and not life.is_over():
                return answer
            self.run_errands(worker)
            worker.wake.acquire(timeout=_LOOK_HELD)
            if monotonic() >= self.watch.due:  # of many that wait here one is enough
                self.watch.look()
            worker.looked = True

    def run_errands(self, worker: Worker) -> None:
        """Do what the state machine left to the worker."""
        if worker.errand is not None:
            errand, worker.errand = worker.errand, None
            self.act(errand)
        if worker.chores is not None:
            chores, worker.chores = worker.chores, None
            self.call_all((), chores)

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
