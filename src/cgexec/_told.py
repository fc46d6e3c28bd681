"""What `recommend` can be told, as the keyword arguments of whatever passes them on."""

from typing import Literal, TypedDict

from cgexec._limits import Limits
from cgexec._usage import Usage

__all__ = ["Told"]


class Told(TypedDict, total=False):
    """The arguments of `cgexec.recommend`; see there."""

    memory_per_task: str | float | None
    io_ratio: float | None
    cpu_per_task: float | None
    releases_gil: bool
    processes: int | None
    kind: Literal["thread", "process"]
    reserve: str | float | None
    basis: Literal["limit", "now", "request"]
    limits: Limits | None
    usage: Usage | None
