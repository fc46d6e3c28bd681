"""
What cgexec would do in a container that a manifest describes: the same arithmetic as inside, on stated limits.

Pure. The limits go where the kernel's would (a `Snapshot`), the container's environment where the process's would.
"""

import math
from fractions import Fraction
from typing import NamedTuple

from cgexec._environ import read_environ, told_processes, told_reserve, told_size
from cgexec._kernel.host import Host
from cgexec._kernel.levels import Found
from cgexec._limits import Limits, derive_limits
from cgexec._manifest.servers import Asked, asked_by
from cgexec._manifest.workloads import Container
from cgexec._recommend import Recommendation, size_up
from cgexec._snapshot import Snapshot
from cgexec._usage import idle_usage
from cgexec._workload import Workload, workload

__all__ = ["Answer", "Node", "Tasks", "answer_for"]


class Node(NamedTuple):
    """A machine of the cluster: what its pods can have together (``kubectl describe node``: Allocatable)."""

    cpus: Fraction
    memory_bytes: int


class Tasks(NamedTuple):
    """What is said about the tasks, for every container alike; None is "nothing said"."""

    memory_per_task: str | None = None
    io_ratio: float | None = None
    cpu_per_task: float | None = None
    releases_gil: bool = True
    held_bytes: int = 0
    seconds: float | None = None


class Answer(NamedTuple):
    """
    What a container would get.

    Attributes:
        recommendation: None if it depends on a node that is not told, or *trouble* says why there is none.
        workers: what a pool would have: the recommendation, or the variable that overrides it; None: the node decides.
        workers_source: the variable, "" for the recommendation; "CGEXEC_MODE=off" for the standard pool's own size.
        asked: what the command line asks for.
        trouble: what is wrong with a ``CGEXEC_*`` variable: a pool in this container would raise that.
    """

    recommendation: Recommendation | None
    workers: int | None
    workers_source: str
    asked: Asked
    trouble: str = ""


def answer_for(container: Container, tasks: Tasks, node: Node | None) -> Answer:
    """Return what a pool with default arguments would get in this container."""
    env = container.known_env
    asked = asked_by(container.words, env)
    if container.role != "main":  # what is said about the tasks is not about what runs beside them
        tasks = Tasks()
    try:
        work = _workload(env, asked, tasks)
        limits = _limits(container, env, node)
        recommendation = None
        if limits is not None:
            recommendation = size_up(limits, idle_usage(limits.memory_bytes, tasks.held_bytes), work)
        workers, source = told_size(env)
    except ValueError as error:
        return Answer(None, None, "", asked, str(error))
    if not source and recommendation is not None:
        workers = recommendation.max_workers
    return Answer(recommendation, workers, source, asked)


def _workload(env: dict[str, str], asked: Asked, tasks: Tasks) -> Workload:
    told = told_processes(env)[0]
    return workload(
        memory_per_task=tasks.memory_per_task,
        io_ratio=tasks.io_ratio,
        cpu_per_task=tasks.cpu_per_task,
        releases_gil=tasks.releases_gil,
        # A pool counts what it is told, else one process; the command line is what it cannot see and we can.
        processes=max(told, asked.processes or 1),
        reserve=None if told_reserve(env) is None else env["CGEXEC_RESERVE"],
        environ=env,
    )


def _limits(container: Container, env: dict[str, str], node: Node | None) -> Limits | None:
    told = read_environ(env, {})
    cpus, memory = container.bounds.get("limits.cpu"), container.bounds.get("limits.memory")
    if node is None and ((not cpus and told.cpus is None) or (not memory and told.memory is None)):
        return None
    # Without a node the container's own limits bound it: one of at least their size.
    host = Host(
        cpus=math.ceil(node.cpus if node is not None else cpus or Fraction(str(told.cpus))),
        affinity=None,
        memory_bytes=node.memory_bytes if node is not None else math.floor(memory or told.memory or 0),
        memory_source="--node" if node is not None else "limits.memory",
        address_space_limit=None,
        realtime=None,
        gvisor=False,
    )
    snapshot = Snapshot(
        version=None,
        host=host,
        cpu_quotas=(Found(float(cpus), "limits.cpu", 0),) if cpus else (),
        cpusets=(),
        memory=(),
        hidden_memory_limit=Found(math.floor(memory), "limits.memory", 0) if memory else None,
        swap=(),
        oom_group=None,
        pids=(),
        searched={"cpu": "no limits.cpu", "memory": "no limits.memory", "pids": "not in a manifest"},
        notes=(),
    )
    # The requests are taken from the environment alone: that is how a process comes to know them.
    return derive_limits(snapshot, told)
