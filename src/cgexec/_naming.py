"""What the numbers of `Limits` are called: a limit only where one is set, and what the kernel does at it. Pure."""

from typing import TypeVar

from cgexec._limits import IGNORED, Limits
from cgexec._quantity import format_bytes, format_cpus

__all__ = ["cpu_bound", "cpu_enforcement", "limit_of_use", "memory_bound", "memory_enforcement", "seen_or_not"]

Number = TypeVar("Number", int, float)

_TOLD_MEMORY = ("CGEXEC_MEMORY", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")


def cpu_bound(limits: Limits) -> str:
    """Return a name for what decided `Limits.cpus`."""
    if limits.cpus == limits.cpu_quota:
        return "the CPU limit"
    source = limits.sources.get("cpus", "")
    return "the machine's number of CPUs" if source == "host" else f"the number of CPUs ({source})"


def memory_bound(limits: Limits) -> str:
    """Return a name for what decided `Limits.memory_bytes`."""
    if limits.memory_bytes == limits.memory_limit:
        return "the memory limit"
    if limits.memory_bytes == limits.memory_high:
        return "memory.high"
    source = limits.sources.get("memory_bytes", "")
    return source if source in _TOLD_MEMORY else "the machine's memory"


def limit_of_use(memory_bytes: Number, level_limit: Number | None, *, is_own: bool) -> Number:
    """Return what the use of a level is a share of: `Limits.memory_bytes`; where others share the level, its limit."""
    return memory_bytes if is_own or level_limit is None else level_limit


def cpu_enforcement(limits: Limits) -> str:
    """Say what happens to a container that wants more CPUs (sched-bwc.rst), and with how many is planned instead."""
    if limits.cpu_quota is None:
        text = f"No CPU limit {seen_or_not(limits)}: beyond the request there is what others leave."
    else:
        text = f"The limit of {format_cpus(limits.cpu_quota)} is what the kernel enforces, by throttling."
    if limits.cpus == limits.cpu_quota:
        return text
    source = limits.sources.get("cpus", "")
    cpus = format_cpus(limits.cpus)
    return f"{text} cgexec plans with {f'the {cpus} of the machine' if source == 'host' else f'{cpus} ({source})'}."


def seen_or_not(limits: Limits) -> str:
    """Say why there is no quota: hardly ever can it be told from one that cannot be seen."""
    return "applies" if limits.sources.get("cpu_quota", "").startswith(IGNORED) else "is visible"


def memory_enforcement(limits: Limits) -> str:
    """Say what happens to a container that wants more memory (cgroup-v2.rst), and with how much is planned instead."""
    hard, high = limits.memory_limit, limits.memory_high
    if high is not None and (hard is None or high < hard):
        kills = "no limit at which it kills is visible" if hard is None else f"it kills at {format_bytes(hard)}"
        text = f"Above memory.high, {format_bytes(high)}, the kernel throttles every allocation; {kills}."
    elif hard is not None:
        text = f"The limit of {format_bytes(hard)} is where the kernel kills."
    else:
        text = "No memory limit is visible; without one the kernel kills when the machine's memory is used up."
    if limits.memory_bytes in (hard, high):
        return text
    return f"{text} cgexec plans with {format_bytes(limits.memory_bytes)} ({limits.sources.get('memory_bytes', '')})."
