"""
The table: every metric with name, unit, help and where its value comes from. Pure.

Names are OpenTelemetry's (dots, no unit); Prometheus' are made from them (underscores, base unit, ``_total``).
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args

from cgexec._errors import Reason
from cgexec._limits import Limits
from cgexec._pool.look import Stats
from cgexec._usage import Usage

__all__ = ["CONTAINER", "POOL", "PROCESS", "UNKNOWN_WHEN_OFF", "Container", "Metric", "every", "prometheus_name"]

T = TypeVar("T")
# By the values of the labels; () where a metric has none.
Values = Mapping[tuple[str, ...], float]


class Metric(NamedTuple, Generic[T]):
    """
    A row.

    Attributes:
        name: without prefix.
        kind: a counter only grows, as long as the process lives (the container, for its own).
        unit: in UCUM, as OpenTelemetry writes it: ``"s"``, ``"By"``, ``"{task}"``, ``"1"``.
        help: one line.
        value: the number, one by label values, or None for "not there" or "not known".
        labels: beside the pool's name.
        across: what makes one number of those of several processes.
    """

    name: str
    kind: Literal["gauge", "counter"]
    unit: str
    help: str
    value: Callable[[T], float | Values | None]
    labels: tuple[str, ...] = ()
    across: Literal["sum", "max", "min"] = "sum"


class Container(NamedTuple):
    """What the container is allowed, and what it uses now."""

    limits: Limits
    usage: Usage


def _rejected(stats: Stats) -> Values:
    # Every reason from the start: a rate of what appears with its first event misses that event.
    counts = {**dict.fromkeys(get_args(Reason), 0), **stats.rejected}
    return {(reason,): count for reason, count in counts.items()}


def _ended(stats: Stats) -> Values:
    return {
        ("completed",): stats.completed,
        ("failed",): stats.failed,
        ("cancelled",): stats.cancelled,
        ("discarded",): stats.discarded,
        ("expired",): stats.expired,
    }


_WOULD = ("blocked", "rejected", "discarded", "ran_in_caller", "held")


def _would(stats: Stats) -> Values:
    return {(what,): stats.would.get(what, 0) for what in _WOULD} if stats.mode == "observe" else {}


def _info(stats: Stats) -> Values:
    return {(stats.mode, stats.bound_by or "said"): 1}


def _changed(stats: Stats) -> float | None:
    return None if stats.last_change is None else stats.last_change.seconds_ago


# What `wrap` says for "no limit" where CGEXEC_MODE takes its own away.
_UNLIMITED = 1 << 30


def _limit(stats: Stats) -> int | None:
    return None if stats.limit >= _UNLIMITED else stats.limit


POOL: tuple[Metric[Stats], ...] = (
    Metric("pool.info", "gauge", "1", "1; mode, and the term that decided the size, are its labels.",
           _info, ("mode", "bound_by"), "max"),
    Metric("pool.limit", "gauge", "{task}", "Tasks that may run at once.", _limit),
    Metric("pool.workers", "gauge", "{thread}", "Threads there are, idle ones included.", lambda pool: pool.workers),
    Metric("pool.idle", "gauge", "{thread}", "Threads that wait for a task.", lambda pool: pool.idle),
    Metric("pool.running", "gauge", "{task}", "Tasks that run.", lambda pool: pool.running),
    Metric("pool.waiting", "gauge", "{task}", "Tasks in the queue.", lambda pool: pool.waiting),
    Metric("pool.blocked", "gauge", "{task}", "Submitters that wait for a place.", lambda pool: pool.blocked),
    Metric("pool.queue.size", "gauge", "{task}", "Places for waiting tasks.", lambda pool: pool.queue_size),
    Metric("pool.submitted", "counter", "{task}", "Tasks accepted.", lambda pool: pool.submitted),
    Metric("pool.ended", "counter", "{task}", "Tasks that ended, by outcome.", _ended, ("outcome",)),
    Metric("pool.rejected", "counter", "{task}", "Submits refused, by reason.", _rejected, ("reason",)),
    Metric("pool.over_bound", "counter", "{task}", "Tasks accepted beyond the queue's bound.",
           lambda pool: pool.over_bound),
    Metric("pool.ran_in_caller", "counter", "{task}", "Tasks run by their submitters.",
           lambda pool: pool.ran_in_caller),
    Metric("pool.overdue", "counter", "{task}", "Tasks found running longer than their run_timeout.",
           lambda pool: pool.overdue),
    Metric("pool.blocked.time", "counter", "s", "How long submitters were blocked, all together.",
           lambda pool: pool.blocked_seconds),
    Metric("pool.task.time", "counter", "s", "Time spent in tasks, all together.", lambda pool: pool.task_seconds),
    Metric("pool.cpu.time", "counter", "s", "CPU time of the workers, sampled.", lambda pool: pool.cpu_seconds),
    Metric("pool.held.time", "counter", "s", "How long tasks were held back by memory.",
           lambda pool: pool.held_seconds),
    Metric("pool.held.age", "gauge", "s", "How long what waits has been held back by memory; 0 if it is not.",
           lambda pool: pool.held_for or 0.0, across="max"),
    Metric("pool.oldest_waiting.age", "gauge", "s", "How long the head of the queue has been waiting; 0 if empty.",
           lambda pool: pool.oldest_waiting or 0.0, across="max"),
    Metric("pool.longest_running.age", "gauge", "s", "How long the longest running task has been running; 0 if none.",
           lambda pool: pool.longest_running or 0.0, across="max"),
    Metric("pool.estimated_wait", "gauge", "s", "How long a task submitted now would wait; absent until known.",
           lambda pool: pool.estimated_wait, across="max"),
    Metric("pool.resized", "counter", "1", "How often the size was changed, by direction.",
           lambda pool: {("larger",): pool.grown, ("smaller",): pool.shrunk}, ("direction",)),
    Metric("pool.size.age", "gauge", "s", "Time since the size last changed; absent if it never has.",
           _changed, across="min"),
    Metric("pool.healthy", "gauge", "1", "0 once nothing could be started for memory for too long, see stats().",
           lambda pool: float(pool.healthy), across="min"),
    Metric("pool.memory_errors", "counter", "{task}", "Runs of tasks that ended with MemoryError (the fuse's too).",
           lambda pool: pool.memory_errors),
    Metric("pool.memory_retries", "counter", "{task}", "Those after which the task was run again.",
           lambda pool: pool.memory_retries),
    Metric("pool.would", "counter", "{task}", "With CGEXEC_MODE=observe: what would have happened.",
           _would, ("what",)),
    Metric("pool.would.limit", "gauge", "{task}", "With CGEXEC_MODE=observe: tasks that would run at once.",
           lambda pool: pool.would.get("limit")),
)  # fmt: skip
# With CGEXEC_MODE=off the pool is the standard one, which does not tell the rest.
UNKNOWN_WHEN_OFF = frozenset(
    row.name for row in POOL if row.name not in ("pool.info", "pool.limit", "pool.workers", "pool.waiting")
)

# The same whichever pool of the process is asked.
PROCESS: tuple[Metric[Stats], ...] = (
    Metric("memory.reliefs", "counter", "1", "How often memory was asked back from the interpreter and the allocator.",
           lambda pool: pool.reliefs),
    Metric("memory.fuse", "gauge", "By", "Private memory that may be mapped before allocations fail.",
           lambda pool: pool.fuse),
    Metric("memory.relieved", "counter", "By", "What that gave back, all together.", lambda pool: pool.relieved_bytes),
)  # fmt: skip

# Of the container: every process in it sees the same, so the greatest of theirs is the one.
CONTAINER: tuple[Metric[Container], ...] = (
    Metric("cpu.limit", "gauge", "{cpu}", "CPUs that may really be used.", lambda here: here.limits.cpus, across="max"),
    Metric("cpu.request", "gauge", "{cpu}", "The CPU request, as far as it is told.",
           lambda here: here.limits.cpu_request, across="max"),
    Metric("cpu.periods", "counter", "1", "Periods of the CPU quota in which something ran.",
           lambda here: here.usage.nr_periods, across="max"),
    Metric("cpu.throttled_periods", "counter", "1", "Those in which the quota was used up.",
           lambda here: here.usage.nr_throttled, across="max"),
    Metric("cpu.throttled.time", "counter", "s", "Time throttled, summed over CPUs.",
           lambda here: here.usage.throttled_seconds, across="max"),
    Metric("cpu.stalled.time", "counter", "s", "Time in which some task waited for a CPU (PSI).",
           lambda here: here.usage.psi_cpu_some, across="max"),
    Metric("memory.limit", "gauge", "By", "The memory to plan with: the tightest limit.",
           lambda here: here.limits.memory_bytes, across="max"),
    Metric("memory.request", "gauge", "By", "The memory request, as far as it is told.",
           lambda here: here.limits.memory_request, across="max"),
    Metric("memory.used", "gauge", "By", "Memory that reclaim cannot give back.",
           lambda here: here.usage.memory_bytes, across="max"),
    Metric("memory.working_set", "gauge", "By", "Memory as the kubelet counts it, which decides about eviction.",
           lambda here: here.usage.working_set_bytes, across="max"),
    Metric("memory.headroom", "gauge", "By", "Memory left before any limit is reached.",
           lambda here: here.usage.headroom_bytes, across="min"),
    Metric("memory.stalled.time", "counter", "s", "Time in which all tasks stalled on memory (PSI).",
           lambda here: here.usage.psi_memory_full, across="max"),
    Metric("memory.oom_kills", "counter", "{process}", "Processes killed for the container's memory limit.",
           lambda here: here.usage.oom_kills, across="max"),
    Metric("pids.used", "gauge", "{thread}", "Tasks (threads count) of the container.", lambda here: here.usage.pids,
           across="max"),
    Metric("pids.limit", "gauge", "{thread}", "Tasks that it may have.", lambda here: here.limits.pids_limit,
           across="max"),
)  # fmt: skip

_SUFFIX = {"s": "_seconds", "By": "_bytes"}


def every() -> tuple[Metric[Stats] | Metric[Container], ...]:
    """Return all rows."""
    return (*POOL, *PROCESS, *CONTAINER)


def prometheus_name(metric: Metric[Any]) -> str:
    """Return the name by Prometheus' rules: prefix, base unit, and ``_total`` for counters."""
    stem = metric.name.replace(".", "_").removesuffix("_time")
    return f"cgexec_{stem}{_SUFFIX.get(metric.unit, '')}{'_total' if metric.kind == 'counter' else ''}"
