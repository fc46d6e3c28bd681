"""What a pool looks like from outside: its numbers, and what they let one expect. Pure; times are handed in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from cgexec._memory.footprints import Learned
from cgexec._pool.admission import Admission
from cgexec._pool.records import Change, Verdict
from cgexec._pool.task import GONE, Task

__all__ = ["Estimate", "Sight", "SizeChange", "Stats", "estimate", "look", "summary"]

# Held back for so long, in seconds, a pool is not healthy; with tasks running only after so many times what they
# usually take, or so long where none has ended yet.
UNHEALTHY_S, _UNHEALTHY_TIMES, _UNHEALTHY_UNKNOWN_S = 60.0, 2, 600.0


@dataclass(frozen=True, slots=True)
class SizeChange:
    """A change of a pool's size, *seconds_ago*."""

    old: int
    new: int
    why: str
    seconds_ago: float


@dataclass(frozen=True, slots=True)
class Stats:
    """
    A pool at one instant. Times are in seconds; None is "there is none" or "not known yet".

    `submitted` is what was accepted: the sum of completed, failed, cancelled, discarded, expired, running and waiting.

    Attributes:
        name: the pool's name.
        mode: ``"enforce"``, ``"observe"`` or ``"off"`` (CGEXEC_MODE); with ``"off"`` most numbers are not known.
        limit: how many tasks may run at once.
        workers: threads there are, idle ones included.
        idle: threads that wait for a task.
        running: tasks that run, those run by their submitters included.
        waiting: tasks in the queue.
        blocked: submitters that wait for a place, awaiting ones included.
        queue_size: places for waiting tasks; ``math.inf`` is without a bound.
        cancelled: before they started, or ended by `TaskCancelled`.
        discarded: pushed out or turned away by ``when_full="discard_oldest"`` or ``"discard"``.
        expired: waited longer than their ``queue_timeout``.
        rejected: refused submits by reason.
        over_bound: accepted beyond `queue_size` because their submitter could not wait.
        ran_in_caller: run by their submitters (``when_full="caller_runs"``).
        overdue: tasks found running longer than their ``run_timeout``.
        blocked_seconds: how long submitters have been blocked, all together.
        oldest_waiting: how long the head of the queue has been waiting.
        longest_running: how long the longest running task has been running, `longest_running_function` its function.
        estimated_wait: how long a task submitted now would wait, at the rate at which tasks have been ending.
        task_seconds: time spent in tasks, all together.
        cpu_seconds: CPU time of the workers, all together. Sampled: what a running task used since it started, or in
            the last tenth of a second, may be missing.
        last_change: the last change of the size, and why.
        grown: how often the size was made larger.
        shrunk: how often it was made smaller.
        adaptive: whether the size follows the load, between `min_workers` and `ceiling`.
        min_workers: the least it may have, memory's gate excepted; None where the size is fixed, as the next two.
        ceiling: the most it may have by memory, tasks, cap and what was said.
        size_reason: why it has the size it has, as decided last.
        throttled: the share of the quota's periods in which it ran out, at the last look; None without a quota too.
        held_for: how long what waits has been held back by memory; None if it is not.
        held_seconds: how long that was so, all together, as far as it was looked at.
        healthy: False once nothing could be started for memory for more than a minute, and for twice as long as tasks
            usually take where some run (ten minutes where none has ended yet): something keeps the memory, and a
            restart may be the way out. For a readiness probe.
        memory_used: of the container, what reclaim cannot give back, in bytes, at the last look; None before the first
            task, without a limit, and with ``memory_guard=False``. Where only CGEXEC_MEMORY limits it and no cgroup
            counts, what this process holds.
        memory_limit: what it is held against: the tightest ``memory.max`` or ``memory.high``, or CGEXEC_MEMORY.
        footprints: by function, what a call is counted with, from how many calls, and how sure that is; the second of
            one name is "name (2)". Of the whole process, as is all that follows.
        reliefs: how often memory was asked back (``gc.collect()``, ``malloc_trim``) before tasks were held on.
        relieved_bytes: what that gave back, all together.
        oom_kills: processes that the kernel has killed for this container's memory limit.
        memory_errors: runs of this pool's tasks that ended with MemoryError.
        memory_retries: those after which the task was run again (``on_memory_error="retry"``).
        fuse: the bytes of private memory that the process may have mapped before allocations fail; None while no fuse
            is armed (``memory_fuse=True``).
        closed: why nothing is accepted any more.
        would: with CGEXEC_MODE=observe what would have happened: the size (``"limit"``), and how often a submit would
            have been ``"blocked"``, ``"rejected"``, ``"discarded"`` or ``"ran_in_caller"``, and a start ``"held"``.
        bound_by: the term of `Recommendation` that decided the size the pool was made with; None if it was said.
    """

    name: str
    mode: str
    limit: int
    workers: int = 0
    idle: int = 0
    running: int = 0
    waiting: int = 0
    blocked: int = 0
    queue_size: float = 0
    submitted: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    discarded: int = 0
    expired: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict, hash=False)
    over_bound: int = 0
    ran_in_caller: int = 0
    overdue: int = 0
    blocked_seconds: float = 0.0
    oldest_waiting: float | None = None
    longest_running: float | None = None
    longest_running_function: str | None = None
    estimated_wait: float | None = None
    task_seconds: float = 0.0
    cpu_seconds: float = 0.0
    last_change: SizeChange | None = None
    grown: int = 0
    shrunk: int = 0
    adaptive: bool = False
    min_workers: int | None = None
    ceiling: int | None = None
    size_reason: str | None = None
    throttled: float | None = None
    held_for: float | None = None
    held_seconds: float = 0.0
    healthy: bool = True
    memory_used: int | None = None
    memory_limit: int | None = None
    footprints: Mapping[str, Learned] = field(default_factory=dict, hash=False)
    reliefs: int = 0
    relieved_bytes: int = 0
    oom_kills: int | None = None
    memory_errors: int = 0
    memory_retries: int = 0
    fuse: int | None = None
    closed: str | None = None
    would: Mapping[str, int] = field(default_factory=dict, hash=False)
    bound_by: str | None = None


def summary(seen: Stats) -> str:
    """Return in half a line how a pool stands."""
    if seen.mode == "off":
        return f"CGEXEC_MODE=off, {seen.limit} workers, {seen.waiting} waiting"
    places = "" if seen.queue_size == inf else f" of {seen.queue_size:g}"
    end = "" if seen.closed is None else ", closed"
    return f"{seen.running} of {seen.limit} running, {seen.waiting}{places} waiting{end}"


class Estimate(NamedTuple):
    """*wait*: of a task submitted now. *place*: until the next place is free. Seconds; None if nothing is known."""

    wait: float | None
    place: float | None


class Sight(NamedTuple):
    """The numbers of a pool, taken under its lock, and the task whose function has to be named outside."""

    numbers: dict[str, Any]  # fields of Stats
    longest: Task | None


def estimate(state: Admission, now: float) -> Estimate:
    """Return how long things will take, as far as they do as of late."""
    answer = state.enter(lambda: _estimate(state, now))
    return answer if isinstance(answer, Estimate) else Estimate(None, None)


def _estimate(state: Admission, now: float) -> Estimate:
    ages = [now - worker.since for worker in state.staff if worker.task is not None]
    # A task that has been running for long tells more than those that ended before it.
    seconds = max(state.tally.mean_seconds() or 0.0, sum(ages) / len(ages) if ages else 0.0)
    free = state.allowed - state.running
    before = state.waiting() + len(state.line) + 1 - free
    if before <= 0:
        return Estimate(0.0, 0.0)
    if not seconds:
        return Estimate(None, None)
    each = seconds / state.allowed
    return Estimate(before * each, (len(state.line) + 1) * each)


def look(state: Admission, now: float) -> Sight:
    """Return the numbers of a pool at one instant."""
    answer = state.enter(lambda: _look(state, now))
    # Asked by a signal handler or a finalizer in the middle of a locked part: what it sees may be off by one.
    return _look(state, now) if isinstance(answer, Verdict) else answer


def _look(state: Admission, now: float) -> Sight:
    tally = state.tally
    busy = [(worker.since, worker.task) for worker in state.staff if worker.task is not None]
    busy += [(since, task) for task, since in state.inline.items()]
    since, longest = min(busy, key=lambda each: each[0], default=(now, None))
    oldest = next((task.since for task in state.queue if task.place != GONE), None)
    running, waiting = state.running + len(state.inline), state.waiting()
    ended = tally.completed + tally.failed + tally.cancelled + tally.discarded + tally.expired
    numbers = {
        "limit": state.allowed,
        "workers": len(state.staff),
        "idle": len(state.parked),
        "running": running,
        "waiting": waiting,
        "blocked": len(state.line),
        "queue_size": state.places,
        "submitted": ended + running + waiting,
        "completed": tally.completed,
        "failed": tally.failed,
        "cancelled": tally.cancelled,
        "discarded": tally.discarded,
        "expired": tally.expired,
        "rejected": dict(tally.rejected),
        "over_bound": tally.over_bound,
        "ran_in_caller": tally.ran_in_caller,
        "overdue": tally.overdue,
        "blocked_seconds": tally.blocked_seconds,
        "oldest_waiting": None if oldest is None else now - oldest,
        "longest_running": None if longest is None else now - since,
        "estimated_wait": _estimate(state, now).wait,
        "task_seconds": tally.task_seconds,
        "cpu_seconds": tally.cpu_seconds + sum(worker.cpu_seconds for worker in state.staff),
        "held_for": None if state.held_since is None else now - state.held_since,
        "held_seconds": tally.held_seconds,
        "healthy": state.held_since is None or now - state.held_since < _patience(running, tally.mean_seconds()),
        "would_hold": tally.would_hold,
        "memory_errors": tally.memory_errors,
        "memory_retries": tally.memory_retries,
        "grown": tally.grown,
        "shrunk": tally.shrunk,
        "last_change": _change(state.change, now),
        "closed": None if state.closed is None else state.closed.text,
    }
    return Sight(numbers, longest)


def _patience(running: int, usual: float | None) -> float:
    """Return how long, in seconds, a hold is no wonder."""
    if not running:
        return UNHEALTHY_S
    return _UNHEALTHY_UNKNOWN_S if usual is None else max(UNHEALTHY_S, _UNHEALTHY_TIMES * usual)


def _change(change: Change | None, now: float) -> SizeChange | None:
    return None if change is None else SizeChange(change.old, change.new, change.why, now - change.when)
