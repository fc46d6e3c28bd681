"""What a pool is told by its arguments and by the environment, checked and put together."""

import math
import os
from collections.abc import Mapping
from fractions import Fraction
from types import EllipsisType
from typing import Any, Literal, NamedTuple, SupportsIndex, get_args

from cgexec._adaptive.bounds import Range, bounds
from cgexec._environ import NOT_TOLD, told_mode, told_workers
from cgexec._memory.fuse import why_no_fuse
from cgexec._quantity import as_integer
from cgexec._recommend import Recommendation, gil_enabled, recommend
from cgexec._sizing import QUEUE_LEAST, QUEUE_PER_WORKER
from cgexec._workload import Workload, workload

__all__ = [
    "Care",
    "Mode",
    "OnMemoryError",
    "Policy",
    "Settings",
    "Size",
    "WhenFull",
    "check_seconds",
    "check_workers",
    "default_places",
    "settings",
]

WhenFull = Literal["block", "raise", "caller_runs", "discard_oldest", "discard"]
OnMemoryError = Literal["raise", "retry"]
Mode = Literal["off", "observe", "enforce"]

# Idle threads of a pool that the library sizes stay so long, in seconds. Chosen by hand: what comes every minute finds
# one.
IDLE_SECONDS = 60.0


class Policy(NamedTuple):
    """What the owner of the pool wants done; times in seconds, None is without end."""

    when_full: WhenFull = "block"
    submit_timeout: float | None = None
    max_wait: float | None = None
    observe: bool = False  # nothing is held or refused, only counted


class Size(NamedTuple):
    """A number of workers and who decided it."""

    limit: int
    why: str
    recommendation: Recommendation | None = None
    forced: bool = False  # by whoever runs the service: no argument and no call changes it
    range: Range | None = None  # None: the number is fixed


class Care(NamedTuple):
    """
    How a pool minds memory.

    Attributes:
        guard: whether what starts is bounded by it.
        needs: what each task is said to need, in bytes; None to learn it.
        reserve: what stays free, a share of the limit (a Fraction) or bytes; None is the default.
        processes: how many share the container; None to count those that are seen.
        observe: nothing is held, only counted.
        fuse: whether an allocation fails before the kernel would kill.
        retry: whether a task is run again that memory ran out for.
        children: the tasks run in child processes of this one.
        callers: whoever submits may run a task, too.
    """

    guard: bool = False
    needs: int | None = None
    reserve: Fraction | int | None = None
    processes: int | None = None
    observe: bool = False
    fuse: bool = False
    retry: bool = False
    children: bool = False
    callers: bool = False


class Settings(NamedTuple):
    """What a pool keeps to."""

    mode: Mode
    size: Size
    places: float
    places_given: bool
    least: int
    idle_timeout: float | None
    policy: Policy
    copy_context: bool
    would: int | None  # the limit that would hold if the pool did more than observe
    care: Care
    adaptive: bool | None  # as it was said


def settings(
    *,
    max_workers: int | None,
    stock_workers: int,
    queue_size: float | None,
    when_full: WhenFull,
    submit_timeout: float | None,
    max_wait: float | None,
    adaptive: bool | None,
    min_workers: int | None,
    idle_timeout: float | EllipsisType | None,  # Ellipsis: not given
    copy_context: bool | None,
    memory_guard: bool,
    memory_fuse: bool,
    on_memory_error: OnMemoryError,
    told: Mapping[str, Any],  # the arguments of recommend()
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """
    Return what a pool with these arguments keeps to.

    Raises:
        ValueError: an argument or a ``CGEXEC_*`` variable is out of range, or two contradict each other.
    """
    mode = told_mode(environ)
    if max_workers is not None:
        max_workers = check_workers("max_workers", max_workers)
    if min_workers is not None:
        min_workers = check_workers("min_workers", min_workers)
    size = _size(max_workers, adaptive, min_workers, told, environ)
    if when_full not in get_args(WhenFull):
        raise ValueError(f"when_full={when_full!r}: expected one of {', '.join(map(repr, get_args(WhenFull)))}")
    submit_timeout = check_seconds("submit_timeout", submit_timeout, least=0)
    policy = Policy(when_full, submit_timeout, check_seconds("max_wait", max_wait, least=0), mode == "observe")
    if submit_timeout is not None and when_full != "block":
        raise ValueError(
            f'submit_timeout={submit_timeout:g} is how long when_full="block" waits for a place; with '
            f"when_full={when_full!r} nothing waits"
        )
    least = size.recommendation.min_workers if size.recommendation is not None else 1
    if min_workers is not None:
        least = min_workers
        if least > size.limit and not size.forced:
            raise ValueError(f"min_workers={least} is more than the {size.limit} workers of the pool ({size.why})")
    places = default_places(size.limit) if queue_size is None else _places(queue_size)
    if isinstance(idle_timeout, EllipsisType):
        idle_timeout = None if max_workers is not None and size.range is None else IDLE_SECONDS
    enforced = size
    if mode != "enforce" and not size.forced:
        enforced = Size(max_workers or stock_workers, f"CGEXEC_MODE={mode}", range=size.range)
    return Settings(
        mode=mode,
        size=enforced._replace(recommendation=size.recommendation),
        places=places,
        places_given=queue_size is not None,
        least=min(least, size.limit),
        idle_timeout=check_seconds("idle_timeout", idle_timeout, least=0),
        policy=policy,
        copy_context=bool(copy_context),
        would=size.limit if mode == "observe" else None,
        care=_care(memory_guard, memory_fuse, on_memory_error, when_full, told, mode, environ),
        adaptive=adaptive,
    )


def _care(
    guard: bool,
    fuse: bool,
    on_memory_error: OnMemoryError,
    when_full: WhenFull,
    told: Mapping[str, Any],
    mode: Mode,
    environ: Mapping[str, str],
) -> Care:
    if on_memory_error not in get_args(OnMemoryError):
        raise ValueError(
            f"on_memory_error={on_memory_error!r}: expected one of {', '.join(map(repr, get_args(OnMemoryError)))}"
        )
    if not guard and (fuse or on_memory_error == "retry"):
        what = "memory_fuse=True" if fuse else 'on_memory_error="retry"'
        raise ValueError(f"{what} needs the memory guard, which decides what may run; leave memory_guard=False out")
    if fuse and (why := why_no_fuse()):
        raise ValueError(f"memory_fuse=True cannot work here: {why}. Leave it out; the memory guard works without it")
    work = _workload(told, environ)
    enforced = mode == "enforce"
    return Care(
        guard=bool(guard),
        fuse=bool(fuse) and enforced,
        retry=on_memory_error == "retry" and enforced,
        needs=work.memory_per_task,
        reserve=work.reserve,
        processes=None if work.processes_source == NOT_TOLD else work.processes,
        observe=mode == "observe",
        callers=when_full == "caller_runs",
    )


def _workload(told: Mapping[str, Any], environ: Mapping[str, str]) -> Workload:
    without_facts = {name: value for name, value in told.items() if name not in ("limits", "usage")}
    return workload(**without_facts, gil=gil_enabled(), environ=environ)


def _size(
    max_workers: int | None,
    adaptive: bool | None,
    min_workers: int | None,
    told: Mapping[str, Any],
    environ: Mapping[str, str],
) -> Size:
    """Return the size a pool would have if nobody had switched the library off."""
    if adaptive not in (None, True, False):
        raise ValueError(
            f"adaptive={adaptive!r}: expected True, False, or None (it follows the load if max_workers is None)"
        )
    forced = told_workers(environ, "CGEXEC_FORCE_MAX_WORKERS")
    default = told_workers(environ, "CGEXEC_MAX_WORKERS")
    # Nonsense is refused even where the number is fixed: nobody should find out in the pod without the override.
    _workload(told, environ)
    if forced is not None:
        return Size(forced, f"CGEXEC_FORCE_MAX_WORKERS={forced}", forced=True)
    most, why = max_workers, f"max_workers={max_workers}"
    if most is None and default is not None:
        most, why = default, f"CGEXEC_MAX_WORKERS={default}"
    if most is not None and not adaptive:
        return Size(most, why)
    answer = recommend(**told)
    if adaptive is False:
        return Size(answer.max_workers, "cgexec.recommend()", answer)
    if most is not None and min_workers is not None and min_workers > most:
        raise ValueError(f"min_workers={min_workers} is more than the {most} workers of the pool ({why})")
    range_ = Range(told, min_workers, most, answer)
    floor, ceiling, *_ = bounds(range_, answer)
    start = max(floor, min(answer.max_workers, ceiling))
    within = "" if start == answer.max_workers else f", kept between {floor} and {ceiling}"
    return Size(start, f"cgexec.recommend(){within}", answer, range=range_)


def default_places(limit: int) -> int:
    """Return how many tasks may wait where nobody said: enough for programs that submit hundreds before they look."""
    return max(QUEUE_LEAST, QUEUE_PER_WORKER * limit)


def _places(value: float) -> float:
    if value == math.inf:
        return value
    places = as_integer(value)
    if places is None or places < 0:
        raise ValueError(
            f"queue_size={value!r}: expected a whole number of places from 0, math.inf for no bound, "
            "or None for the default"
        )
    return places


def check_workers(name: str, value: SupportsIndex) -> int:
    """Return a number of workers, in the standard library's words where it has some."""
    workers = as_integer(value)
    if workers is None:
        raise ValueError(
            f"{name}={value!r}: expected a whole number of workers, at least 1, as an integer: no float, though the "
            "standard pool takes it, and no bool"
        )
    if workers <= 0:
        raise ValueError(f"{name} must be greater than 0")
    return workers


def check_seconds(name: str, value: float | None, *, least: float) -> float | None:
    """Return a time in seconds, None for none."""
    if value is None or value == math.inf:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
        raise ValueError(f"{name}={value!r}: expected seconds, at least {least:g}, or None for no limit")
    return float(value)
