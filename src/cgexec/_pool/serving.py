"""What the thread of a worker does: ask for a task, run it, ask again."""

from time import monotonic, sleep, thread_time
from typing import TYPE_CHECKING, Any

from cgexec._memory.fuse import fuse
from cgexec._pool.here import here
from cgexec._pool.log import Log
from cgexec._pool.records import Verdict, Worker
from cgexec._pool.task import Task, is_a

if TYPE_CHECKING:
    from cgexec._pool.crew import Crew

__all__ = ["work"]

# The logger and the words of the standard library.
_STOCK_LOGGER = Log("concurrent.futures")
# How often a busy worker reads its CPU clock, in seconds: a system call, so not for every task.
_CPU_EVERY = 0.1
_NO_MEMORY = 0.01  # until a worker asks again that had no memory to do so


def work(crew: "Crew", worker: Worker) -> None:
    """Be a worker: ask, run, ask again."""
    if not crew.take_post(worker):
        return
    here.worker, here.state = worker, crew.state
    try:
        if crew.initialize():
            _serve(crew, worker)
            crew.leave(worker)
        else:
            crew.lose(worker)
    except BaseException as error:  # an asynchronous exception, or MemoryError where no task was running
        if is_a(error, MemoryError):
            fuse().give_out()
        _STOCK_LOGGER.critical("Exception in worker", exc_info=True)
        crew.lose(worker, error)


def _mishap(task: Task, error: BaseException) -> int:
    """See to it that the future of a task has ended, though something beside the task went wrong; return how."""
    if is_a(error, MemoryError):
        fuse().give_out()
    _STOCK_LOGGER.critical("Exception in worker", exc_info=error)
    if not task.done():
        task.drop_call()
        task.set_exception(error)
    return task.outcome()


def _serve(crew: "Crew", worker: Worker) -> None:
    ask, wait, idle_timeout, park = crew.state.next, worker.wake.acquire, crew.idle_timeout, Verdict.PARK
    watch, look = crew.watch, Verdict.LOOK
    outcome = 0
    cpu_due = 0.0
    while True:
        now = monotonic()
        if now >= cpu_due:
            cpu_due = now + _CPU_EVERY
            worker.cpu_seconds = thread_time()
            crew.rouse(now)
        if now >= watch.due:
            watch.look(worker)
        try:
            task: Any = ask(worker, now, outcome)  # a task, LOOK, PARK or LEAVE: told apart by hand, below
        except MemoryError:  # nothing is lost by it; others will let memory go
            fuse().give_out()
            outcome = 0 if worker.task is None else outcome
            sleep(_NO_MEMORY)
            continue
        if task is look:
            task = crew.look_and_ask(worker)
        if worker.errand is not None or worker.chores is not None:
            crew.run_errands(worker)
        if task is park:
            outcome = 0
            if idle_timeout is None:
                wait()
            elif not crew.park(worker):
                return
            crew.rouse()
            if not worker.handed or worker.task is None:
                continue
            worker.handed = False
            task = worker.task
        elif task.__class__ is not Task:
            return
        if task.extra is not None:
            crew.expect_end(task)
        try:
            outcome = task.run()
        except BaseException as error:  # noqa: BLE001  # a done-callback's, a MemoryError, or somebody else has ended the future
            outcome = _mishap(task, error)
        # Kept until the next is there: let go by the state machine, its result might be finalized under the lock.
