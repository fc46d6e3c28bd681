"""
The machine below the container: CPUs, memory, affinity, scheduling, address space.

The only module that asks which platform this is.

For ``root="/"`` the system is asked; for another root only the files below it speak, so that a captured machine is
answered for as it was.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from cgexec._kernel import parse
from cgexec._kernel.files import Files

if TYPE_CHECKING:
    from cgexec._kernel.windows import JobLimits

__all__ = [
    "ASSUMED", "Host", "HostUse", "allocations_are_limited", "is_linux", "is_main_interpreter", "read_host",
    "read_host_use",
]  # fmt: skip

_ONLINE = "/sys/devices/system/cpu/online"
_MEMINFO = "/proc/meminfo"
_STATUS = "/proc/self/status"
_MEMINFO_KEYS = frozenset({"MemTotal", "MemFree", "MemAvailable", "Inactive(file)"})
_STATUS_KEYS = frozenset({"RssAnon", "RssShmem", "VmSize"})
# Where nobody tells: too little is the safe side, and it is said.
_ASSUMED_MEMORY = 1 << 30
ASSUMED = "assumed"
# The fair scheduler's quota (sched-bwc.rst) does not apply to these, nor to the threads started from under them, which
# inherit the policy. With the flag SCHED_RESET_ON_FORK they do not, and are bound by the quota like any other; under
# SCHED_DEADLINE threads can be started with the flag alone (sched(7)).
_REALTIME = {1: "SCHED_FIFO", 2: "SCHED_RR"}
# What gVisor answers to uname, and prints in /proc/version, whatever it runs on (pkg/sentry).
_GVISOR = "#1 SMP Sun Jan 10 15:06:54 PST 2016"


class Host(NamedTuple):
    """
    What the machine has. *affinity* is None where it cannot be asked; *realtime* names the policy by which this thread
    and those it starts are beyond the CPU quota, None for any other.
    """

    cpus: int
    affinity: int | None
    memory_bytes: int
    memory_source: str
    address_space_limit: int | None
    realtime: str | None
    gvisor: bool
    job: "JobLimits | None" = None


class HostUse(NamedTuple):
    """What is in use now, in bytes: of the machine, and (*process_...*) by this process alone; None is unknown."""

    total: int
    available: int
    working_set: int
    process_bytes: int | None
    process_address_space: int | None
    job: "JobLimits | None" = None


def is_linux() -> bool:
    """Return whether the kernel below is Linux, or something that passes for it."""
    return sys.platform == "linux"


def is_main_interpreter() -> bool:
    """Return whether this is the process's first interpreter, and no subinterpreter; True where nobody tells."""
    for name in ("concurrent.interpreters", "_interpreters", "_xxsubinterpreters"):  # since 3.14, in 3.13, before
        with suppress(ImportError):
            interpreters: Any = import_module(name)
            return bool(interpreters.get_current() == interpreters.get_main())
    return True


def read_host(files: Files) -> Host:
    """Return what the machine has. Never raises; a value that had to be taken from elsewhere is noted."""
    if not files.is_this_machine:
        return _host_of_tree(files)
    memory, source = _memory(files)
    return Host(
        cpus=_cpus(files),
        affinity=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        memory_bytes=memory,
        memory_source=source,
        address_space_limit=_address_space_limit(),
        realtime=_realtime_policy(),
        gvisor=sys.platform == "linux" and os.uname().version == _GVISOR,
        job=_job(),
    )


def _cpus(files: Files) -> int:
    """
    Return how many CPUs the machine has, whoever may use them.

    ``os.cpu_count()`` is not that everywhere: with musl it is how many we may run on (sysconf(3) goes by affinity
    there), and from Python 3.13 on it may be what ``PYTHON_CPU_COUNT`` says.
    """
    count = None
    if sys.platform == "linux":
        count = files.value(_ONLINE, parse.parse_cpu_list)
    elif sys.platform == "win32":
        from cgexec._kernel.windows import count_processors

        count = count_processors()
    return count or os.cpu_count() or 1


def _job() -> "JobLimits | None":
    """Return the limits of the Windows job we run in, None elsewhere."""
    if sys.platform == "win32":
        from cgexec._kernel.windows import read_job

        return read_job()
    return None


def _host_of_tree(files: Files) -> Host:
    """Answer for a tree of files, and for nothing that only this machine could tell."""
    status = files.text(_STATUS)
    allowed = None if status is None else parse.parse_status_word(status, "Cpus_allowed_list")
    affinity = None if allowed is None else _count(allowed)
    online = files.value(_ONLINE, parse.parse_cpu_list)
    memory, source = _memory(files)
    version = files.text("/proc/version")
    if online is None and affinity is None:
        files.note("no file tells how many CPUs there are, so those of the machine we run on are taken (CPU count)")
    return Host(
        cpus=online or affinity or os.cpu_count() or 1,
        affinity=affinity,
        memory_bytes=memory,
        memory_source=source,
        address_space_limit=None,
        realtime=None,
        gvisor=version is not None and _GVISOR in version,
    )


def _count(cpu_list: str) -> int | None:
    try:
        return parse.parse_cpu_list(cpu_list)
    except parse.MalformedFile:
        return None


def _memory(files: Files) -> tuple[int, str]:
    """Return the machine's memory in bytes and where that was found."""
    total = _meminfo(files).get("MemTotal")
    if total:
        return total, f"{_MEMINFO} (MemTotal)"
    if sys.platform in ("linux", "win32", "darwin") and files.is_this_machine:
        try:
            import psutil

            return int(psutil.virtual_memory().total), "host memory (psutil)"
        except Exception as error:  # noqa: BLE001  # psutil lets out whatever a broken /proc makes it stumble over
            files.note(f"psutil cannot tell the host's memory ({error})")
    try:
        memory = int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        files.note(f"the host's memory cannot be read; {_ASSUMED_MEMORY >> 20} MiB are assumed: set CGEXEC_MEMORY")
        return _ASSUMED_MEMORY, ASSUMED
    files.note(f"{_MEMINFO}: no MemTotal, so the memory of the machine we run on is taken (sysconf)")
    return memory, "host memory (sysconf)"


def _meminfo(files: Files) -> dict[str, int]:
    text = files.text(_MEMINFO)
    return {} if text is None else parse.parse_kib_table(text, _MEMINFO_KEYS)


def _address_space_limit() -> int | None:
    """Return the soft RLIMIT_AS in bytes, None if there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def allocations_are_limited() -> bool:
    """Return whether the process has a limit (getrlimit(2)) of its own at which allocations fail."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    names = (name for name in ("RLIMIT_AS", "RLIMIT_DATA") if hasattr(resource, name))
    return any(resource.getrlimit(getattr(resource, name))[0] != resource.RLIM_INFINITY for name in names)


def _realtime_policy() -> str | None:
    try:
        return _REALTIME.get(os.sched_getscheduler(0))
    except (AttributeError, OSError):
        return None


def read_host_use(files: Files) -> HostUse:
    """Return what is in use now. Never raises."""
    if sys.platform != "linux" and files.is_this_machine:
        return _use_by_psutil()
    memory = _meminfo(files)
    total = memory.get("MemTotal") or _memory(files)[0]
    # Kernels before 3.14, and gVisor in part, have no MemAvailable.
    available = memory.get("MemAvailable", memory.get("MemFree", total))
    working_set = total - memory.get("MemFree", available) - memory.get("Inactive(file)", 0)
    status = files.text(_STATUS)
    sizes = {} if status is None else parse.parse_kib_table(status, _STATUS_KEYS)
    private = sizes.get("RssAnon")
    return HostUse(
        total=total,
        available=min(available, total),
        working_set=max(0, working_set),
        process_bytes=None if private is None else private + sizes.get("RssShmem", 0),
        process_address_space=sizes.get("VmSize"),
    )


def _use_by_psutil() -> HostUse:
    import psutil

    memory, process = psutil.virtual_memory(), psutil.Process().memory_info()
    used = memory.total - memory.available
    return HostUse(memory.total, memory.available, used, process.rss, process.vms, _job())
