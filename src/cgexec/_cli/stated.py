"""``--as cpu=2,memory=4Gi``: the limits of a container one is not in. Pure."""

import math
from collections.abc import Callable
from dataclasses import replace

from cgexec._kernel.host import Host
from cgexec._limits import Limits, request_notes
from cgexec._quantity import format_bytes, format_cpus, parse_bytes, parse_exact
from cgexec._usage import Usage, idle_usage

__all__ = ["KEYS", "stated"]

_WORD = "--as"
_LEAST_MEMORY = 1 << 20


def _cpus(text: str) -> float:
    value = parse_exact(text)
    if not 0 < value <= 1_000_000:
        raise ValueError(f"expected a number of CPUs above 0, such as 2 or 500m, got {text!r}")
    return float(value)


def _memory(text: str) -> int:
    return parse_bytes(text, name="memory", least=_LEAST_MEMORY)


def _held(text: str) -> int:
    return 0 if parse_exact(text) == 0 else _memory(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:12]) < 1 << 32):
        raise ValueError(f"expected a whole number above 0, got {text!r}")
    return int(text)


_PARSERS: dict[str, Callable[[str], float]] = {
    "cpu": _cpus,
    "memory": _memory,
    "cpu-request": _cpus,
    "memory-request": _memory,
    "pids": _count,
    "held": _held,
}
KEYS = tuple(_PARSERS)


def stated(text: str, host: Host) -> tuple[Limits, Usage]:
    """
    Return the limits that *text* states, and a use of nothing but ``held``: what the process itself holds, else 0.

    Raises:
        ValueError: an unknown key, a key given twice, or a value that makes no sense.
    """
    values = _parse(text)
    notes = []
    cpu, memory = values.get("cpu"), values.get("memory")
    if cpu is None:
        notes.append(f"cpu= is not stated, so this machine's {format_cpus(host.cpus)} stand in for it")
    if memory is None:
        notes.append(f"memory= is not stated, so this machine's {format_bytes(host.memory_bytes)} stand in for it")
    if "held" not in values:
        notes.append("what the process itself holds is taken as nothing: add held=300Mi for a service that holds that")
    memory_bytes = int(memory) if memory is not None else host.memory_bytes
    pids = values.get("pids")
    request = values.get("memory-request")
    limits = Limits(
        cpus=cpu if cpu is not None else float(host.cpus),
        cpu_quota=cpu,
        cpu_set=host.cpus if cpu is None else math.ceil(cpu),
        memory_bytes=memory_bytes,
        memory_limit=None if memory is None else int(memory),
        memory_high=None,
        swap_limit=None,
        oom_group=None,
        pids_limit=None if pids is None else int(pids),
        address_space_limit=None,
        cpu_request=values.get("cpu-request"),
        memory_request=None if request is None else int(request),
        cgroup_version=None,
        sources={
            "cpus": _WORD if cpu is not None else "host",
            "cpu_quota": _WORD,
            "memory_bytes": _WORD if memory is not None else host.memory_source,
            "memory_limit": _WORD,
            "pids_limit": _WORD,
            "cpu_request": _WORD,
            "memory_request": _WORD,
        },
        notes=(),
    )
    noted = replace(limits, notes=(*notes, *request_notes(limits)))
    return noted, idle_usage(memory_bytes, int(values.get("held", 0)))


def _parse(text: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if key not in _PARSERS or not equals:
            raise ValueError(f"--as {text!r}: {part.strip()!r} is not one of {', '.join(f'{key}=...' for key in KEYS)}")
        if key in values:
            raise ValueError(f"--as {text!r}: {key}= stands there twice")
        try:
            values[key] = _PARSERS[key](value.strip())
        except ValueError as error:
            raise ValueError(f"--as {part.strip()}: {error}") from None
    return values
