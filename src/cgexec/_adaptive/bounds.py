"""Between which sizes a pool may move, worked out again while it runs. Pure but for `derive`, which reads limits."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from cgexec._kernel.files import need_descriptor
from cgexec._recommend import Recommendation, recommend
from cgexec._sizing import STACK
from cgexec._usage import Usage

__all__ = ["Bounds", "Range", "bounds", "derive", "lowered", "without_own"]


class Range(NamedTuple):
    """
    What was said about the sizes a pool may have.

    Attributes:
        told: the arguments of `recommend`.
        least, most: given bounds; None is whatever the limits say.
        first: the recommendation the pool began with.
    """

    told: Mapping[str, Any]
    least: int | None
    most: int | None
    first: Recommendation


class Bounds(NamedTuple):
    """The sizes that are possible now, and the CPUs of this process; *by_quota*: they are what the quota allows."""

    floor: int
    ceiling: int
    cpus: float
    by_quota: bool = False


def bounds(range_: Range, answer: Recommendation) -> Bounds:
    """Return what holds by the limits and by what was said. A given least beats the ceiling: somebody insists."""
    ceiling = answer.ceiling if range_.most is None else min(answer.ceiling, range_.most)
    floor = min(answer.min_workers, ceiling) if range_.least is None else range_.least
    by_quota = range_.told.get("limits") is None and answer.limits.cpus == answer.limits.cpu_quota
    return Bounds(floor, max(floor, ceiling), answer.limits.cpus / answer.workload.processes, by_quota)


def lowered(now: Bounds, before: float | None, quota: float | None) -> Bounds | None:
    """
    Return the bounds after the quota fell from *before*; None if it did not, or was not what bound.

    `derive` reads a score of files, and beside hundreds of threads that compute it waits for the interpreter lock after
    each: for more than a second. This does not.
    """
    if not now.by_quota or before is None or quota is None or quota >= before:
        return None
    return now._replace(cpus=now.cpus * quota / before)


def derive(range_: Range, workers: int) -> Bounds:
    """
    Return what holds now, with *workers* threads started. Takes less than a millisecond.

    Raises:
        OSError: the process has no more descriptors to look with. Limits that cannot be read would seem not to be.
        ValueError: somebody has put nonsense in the environment.
    """
    need_descriptor()
    told = dict(range_.told)
    if told.get("usage") is None:
        answer = recommend(**told)
        told |= {"limits": answer.limits, "usage": without_own(answer.usage, range_.first.usage, workers)}
    found = bounds(range_, recommend(**told))
    need_descriptor()
    return found


def without_own(usage: Usage, before: Usage, workers: int) -> Usage:
    """
    Return the usage without what the pool's own tasks and threads use, as it stood *before* there was any.

    Counted, they would lower the ceiling as the pool grows, and raise it as it shrinks: up and down for ever.
    """
    own = max(0, (usage.process_bytes or 0) - (before.process_bytes or 0))
    return dataclasses.replace(
        usage,
        process_bytes=None if usage.process_bytes is None else usage.process_bytes - own,
        headroom_bytes=usage.headroom_bytes + own,
        process_address_space=None
        if usage.process_address_space is None
        else max(0, usage.process_address_space - workers * STACK),
        pids=None if usage.pids is None else max(0, usage.pids - workers),
        pids_headroom=None if usage.pids_headroom is None else usage.pids_headroom + workers,
    )
