"""
One picture of a container and its pools, made of what was said now and a moment before. Pure.

The numbers may be another process's word, so each is taken only if it is a number, and each text only as far as it can
be printed.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cgexec._naming import limit_of_use
from cgexec._plain import plain
from cgexec._quantity import format_bytes

__all__ = ["Bar", "Frame", "PoolRow", "make_frame"]

# A pool's process and its number there: two pools may have one name.
_Key = tuple[float, float | None]


class Bar(NamedTuple):
    """Something used of something: *share* of 1, None if there is no limit to it."""

    label: str
    share: float | None
    text: str


class PoolRow(NamedTuple):
    """A line of the table of pools; texts are what is shown, *trouble* is what is wrong, "" if nothing is."""

    name: str
    running: str
    share: float
    waiting: str
    oldest: str
    longest: str
    rate: str
    refused: str
    trouble: str


class Frame(NamedTuple):
    """All that is shown; *notice*: what is to be known of it, "" if nothing is."""

    title: str
    bars: tuple[Bar, ...]
    facts: tuple[str, ...]
    pools: tuple[PoolRow, ...]
    notice: str = ""


def make_frame(
    now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], *, where: str, clock: str
) -> Frame:
    """
    Return the frame.

    Args:
        now: what each process says; at least one, all in one container.
        before: what they said at the last frame, for rates; may be empty, and then rates are since the beginning.
        where: a name for what is looked at.
        clock: the time of day.
    """
    container = now[0]
    limits, usage = _mapping(container.get("limits")), _mapping(container.get("usage"))
    old = _mapping(before[0].get("usage")) if before else None
    seconds = (_number(container.get("time")) or 0) - (_number(before[0].get("time")) or 0) if before else 0.0
    return Frame(
        title=f"cgexec  {where}  {clock}",
        bars=tuple(_bars(limits, usage)),
        facts=tuple(_facts(limits, usage, old, seconds)),
        pools=tuple(_rows(now, before)),
    )


def _bars(limits: Mapping[str, Any], usage: Mapping[str, Any]) -> Iterator[Bar]:
    limit, request = _number(limits.get("memory_bytes")), _number(limits.get("memory_request"))
    is_own = usage.get("level_is_own") is not False  # of a service with an older version nothing is known
    if limit is not None:
        limit = limit_of_use(limit, _number(usage.get("level_limit")), is_own=is_own)
    for label, name in (("memory", "memory_bytes"), ("working set", "working_set_bytes")):
        used = _number(usage.get(name))
        if used is not None:
            text = format_bytes(used) + (f" of {format_bytes(limit)}" if limit else "")
            if name == "working_set_bytes" and request and is_own:
                text += f", {used / request:.0%} of request"
            yield Bar(label, used / limit if limit else None, text)
    pids, left = _number(usage.get("pids")), _number(usage.get("pids_headroom"))
    if pids is not None:
        most = _number(limits.get("pids_limit")) if left is None else pids + left
        yield Bar("tasks (pids)", pids / most if most else None, f"{pids:.0f}" + (f" of {most:.0f}" if most else ""))


def _facts(
    limits: Mapping[str, Any], usage: Mapping[str, Any], old: Mapping[str, Any] | None, seconds: float
) -> Iterator[str]:
    cpus = _number(limits.get("cpus"))
    if cpus is not None:
        yield f"CPUs {cpus:.4g}"

    periods, throttled = (_growth(usage, old, name, "nr_throttled") for name in ("nr_periods", "nr_throttled"))
    if periods is not None and throttled is not None and _number(limits.get("cpu_quota")) is not None:
        yield f"throttled {min(1.0, throttled / periods):.0%}" if periods > 0 else "throttled 0%"
    if seconds > 0:  # since the container began they say nothing about now
        for label, name in (("memory stalls", "psi_memory_full"), ("CPU waits", "psi_cpu_some")):
            stalled = _growth(usage, old, name, name)
            if stalled is not None:
                yield f"{label} {stalled / seconds:.0%}"
    kills = _number(usage.get("oom_kills"))
    if kills:
        yield f"OOM kills {kills:.0f}"


def _growth(usage: Mapping[str, Any], old: Mapping[str, Any] | None, name: str, source: str) -> float | None:
    """
    Return by how much a counter has grown since the last frame, in all where there was none.

    None where it is no longer the same one: the process is in another cgroup, or the cgroup was made anew.
    """
    new = _number(usage.get(name))
    if new is None or old is None:
        return new
    then = _number(old.get(name))
    file, old_file = (_mapping(one.get("sources")).get(source) for one in (usage, old))
    return None if then is None or new < then or file != old_file else new - then


def _rows(now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> Iterator[PoolRow]:
    old = {key: (pool, when) for key, pool, when in _pools(before)}
    several = len({key[0] for key, _, _ in _pools(now)}) > 1
    for key, pool, when in _pools(now):
        limit, running = _number(pool.get("limit")) or 0.0, _number(pool.get("running")) or 0.0
        name = _printable(pool.get("name"))
        yield PoolRow(
            name=f"{name} ({key[0]:.0f})" if several else name,
            running=f"{running:.0f} of {limit:.0f}",
            share=running / limit if limit else 0.0,
            waiting=f"{_number(pool.get('waiting')) or 0:.0f}",
            oldest=_duration(_number(pool.get("oldest_waiting"))),
            longest=_longest(pool),
            rate=_rate(pool, when, *old.get(key, (None, 0.0))),
            refused=f"{sum(_numbers(_mapping(pool.get('rejected')).values())):.0f}",
            trouble=_trouble(pool),
        )


def _pools(said: Sequence[Mapping[str, Any]]) -> Iterator[tuple[_Key, Mapping[str, Any], float]]:
    for process in said:
        pools = process.get("pools")
        for pool in pools if isinstance(pools, list) else ():
            seen = _mapping(pool)
            key = (_number(process.get("pid")) or 0.0, _number(seen.get("number")))
            yield key, seen, _number(process.get("time")) or 0.0


def _rate(pool: Mapping[str, Any], when: float, old: Mapping[str, Any] | None, then: float) -> str:
    names = ("completed", "failed")
    if old is None or when <= then:
        return "-"
    ended = sum((_number(pool.get(name)) or 0.0) - (_number(old.get(name)) or 0.0) for name in names)
    return f"{max(0.0, ended) / (when - then):.3g}/s"


def _longest(pool: Mapping[str, Any]) -> str:
    seconds = _number(pool.get("longest_running"))
    if seconds is None:
        return "-"
    name = _printable(pool.get("longest_running_function"))
    return f"{_duration(seconds)} {'.'.join(name.split('.')[-2:])}".rstrip()


def _trouble(pool: Mapping[str, Any]) -> str:
    held = _number(pool.get("held_for"))
    if held is not None:
        return f"held by memory for {_duration(held)}"
    if pool.get("closed") is not None:
        return "closing"
    blocked = _number(pool.get("blocked"))
    if blocked:
        return f"{blocked:.0f} submitters blocked"
    return "" if pool.get("mode") in ("enforce", None) else f"CGEXEC_MODE={_printable(pool.get('mode'))}"


# -- what others say -------------------------------------------------------------------------------------------------


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e30 or math.isnan(value):
        return None
    return float(value)


def _numbers(values: Iterable[object]) -> Iterator[float]:
    return (number for value in values if (number := _number(value)) is not None)


def _printable(value: object) -> str:
    return plain(value[:200]) if isinstance(value, str) else ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.0f} h"
