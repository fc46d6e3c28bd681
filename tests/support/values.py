"""Limits, usages and workloads for tests of the pure layers: a roomy container unless said otherwise."""

import dataclasses
from typing import Any

from cgexec._limits import Limits
from cgexec._usage import Usage

MIB = 1 << 20
GIB = 1 << 30

_LIMITS = Limits(
    cpus=2.0,
    cpu_quota=2.0,
    cpu_set=8,
    memory_bytes=4 * GIB,
    memory_limit=4 * GIB,
    memory_high=None,
    swap_limit=None,
    oom_group=None,
    pids_limit=None,
    address_space_limit=None,
    cpu_request=None,
    memory_request=None,
    cgroup_version="v2",
    sources={"cpus": "/sys/fs/cgroup/cpu.max", "memory_bytes": "/sys/fs/cgroup/memory.max"},
    notes=(),
)
_USAGE = Usage(
    memory_bytes=0,
    level_limit=4 * GIB,
    level_is_own=True,
    working_set_bytes=0,
    page_cache_bytes=0,
    headroom_bytes=4 * GIB,
    process_bytes=0,
    process_address_space=None,
    pids=None,
    pids_headroom=None,
    nr_periods=None,
    nr_throttled=None,
    throttled_seconds=None,
    oom_kills=None,
    memory_events={},
    psi_memory_full=None,
    psi_cpu_some=None,
    sources={},
    notes=(),
)


def make_limits(*, bound: bool = True, **changes: Any) -> Limits:
    """Return the pod of 2 CPUs and 4 GiB with *changes*; not *bound* means that nothing limits its CPUs."""
    if not bound:
        changes = {"cpu_quota": None, "sources": {"cpus": "host"}, **changes}
    return dataclasses.replace(_LIMITS, **changes)


def make_usage(**changes: Any) -> Usage:
    return dataclasses.replace(_USAGE, **changes)
