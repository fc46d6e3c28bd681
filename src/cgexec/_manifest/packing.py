"""How many pods of one kind a node takes by their requests, and how far their limits then overcommit it. Pure."""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from cgexec._manifest.sizing import Node
from cgexec._manifest.workloads import Container, Pod
from cgexec._quantity import parse_bytes, parse_exact

__all__ = ["Packing", "node", "pack"]

# The kubelet's default maxPods.
MOST_PODS = 110


class Packing(NamedTuple):
    """
    What a node takes.

    Attributes:
        pods: how many fit by request; those that request nothing, up to the kubelet's default of 110.
        bound_by: ``"cpu"``, ``"memory"`` or ``"pods"``.
        cpu_overcommit: limits of that many pods over what the node has; None if a container has no such limit.
        memory_overcommit: likewise. Above 1 the node may run short while every pod keeps to its limit.
    """

    pods: int
    bound_by: str
    cpu_overcommit: float | None
    memory_overcommit: float | None


def node(text: str) -> Node:
    """
    Return the node that ``cpu=8,memory=32Gi`` states.

    Raises:
        ValueError: something else, or only one of the two.
    """
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if key not in ("cpu", "memory") or not equals or key in values:
            raise ValueError(f"--node {text!r}: expected cpu=...,memory=..., such as cpu=8,memory=32Gi")
        values[key] = value
    if len(values) != 2:
        raise ValueError(f"--node {text!r}: expected both cpu= and memory=, such as cpu=8,memory=32Gi")
    try:
        cpus = parse_exact(values["cpu"])
    except ValueError as error:
        raise ValueError(f"--node cpu={values['cpu']}: {error}") from None
    if not 0 < cpus <= 1_000_000:
        raise ValueError(f"--node cpu={values['cpu']}: expected a number of CPUs above 0, such as 8")
    return Node(cpus, parse_bytes(values["memory"], name="--node memory", least=1 << 20))


def pack(pod: Pod, on: Node) -> Packing:
    """Return how many such pods fit."""
    rooms = [("pods", MOST_PODS)]
    for what, has in (("cpu", on.cpus), ("memory", Fraction(on.memory_bytes))):
        request = _request(pod, what)
        if request:
            rooms.append((what, math.floor(has / request)))
    bound_by, count = min(rooms, key=lambda room: room[1])
    return Packing(
        count,
        bound_by,
        _overcommit(pod, "limits.cpu", count, on.cpus),
        _overcommit(pod, "limits.memory", count, Fraction(on.memory_bytes)),
    )


def _effective(containers: Iterable[Container], resource: str) -> Fraction:
    """
    Return what containers come to: all that run together, or an init container beside the sidecars started before it
    if that is more.
    """
    together, sidecars, peak = Fraction(0), Fraction(0), Fraction(0)
    for container in containers:
        value = container.values.get(resource, Fraction(0))
        if container.role == "init":
            peak = max(peak, sidecars + value)
        else:
            together += value
            sidecars += value if container.role == "sidecar" else 0
    return max(together, peak)


def _request(pod: Pod, what: str) -> Fraction:
    """Return what the scheduler counts: what is written for the pod, else by its containers, else the pod's limit."""
    written = pod.values.get(f"requests.{what}")
    if written is not None:
        return written
    return _effective(pod.containers, f"requests.{what}") or pod.values.get(f"limits.{what}", Fraction(0))


def _overcommit(pod: Pod, resource: str, count: int, has: Fraction) -> float | None:
    if resource in pod.values:  # whatever its containers may have of it
        return float(count * pod.values[resource] / has)
    if not all(container.values.get(resource) for container in pod.containers if container.role != "init"):
        return None
    return float(count * _effective(pod.containers, resource) / has)
