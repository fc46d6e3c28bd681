"""Which load to aim for, and the words for why a pool does not grow. Pure."""

import math

from cgexec._adaptive.samples import Sample, View

__all__ = [
    "FREE",
    "FULL",
    "NEARLY",
    "OURS",
    "PERIOD_S",
    "SOME_THROTTLED",
    "THROTTLED",
    "aim",
    "crowded",
    "facts",
    "many_small",
    "wanted",
    "why_not_more",
    "why_not_pressed",
    "workers",
]

# Loads are shares of the CPUs that may be used. Chosen with bench/simulate.py and bench/oracle.py.
# CPUs count as used up from FULL on. From NEARLY on nothing grows, or it would go up and down.
FULL, NEARLY = 0.97, 0.94
# The kernel's usual quota period; how many standard deviations of room are left in it, and the least load to aim for.
PERIOD_S, CALM, LEAST_CALM = 0.1, 1.5, 0.85
# Up to here tasks wait for something other than a CPU, whatever else is unknown.
FREE = 0.5
# The quota runs out in so many of its periods: it is used up, though the load says a little less; or so many that
# there is nothing to be had from a larger size.
THROTTLED, SOME_THROTTLED = 0.5, 0.1
# So much of what the process uses has to be the pool's: then that all CPU time is used tells something about its size.
OURS = 0.7
# Ready threads wait for a CPU: half as many as there are CPUs, or where only the time is known in which any does, so
# much of it.
QUEUED, MOSTLY = 0.5, 0.8


def aim(view: View) -> float:
    """
    Return which load to aim for: as much as there is, or where many small tasks make it smooth, a little less.

    Of k tasks in a quota period the CPU time varies by about 1 in the square root of k, and what goes over the quota is
    throttled. With k in the hundreds a few percent of room avoid that; with few it would cost more than it is worth.
    """
    tasks = view.rate * PERIOD_S
    calm = 1 - CALM / math.sqrt(tasks) if tasks >= 1 and view.throttled is not None else 0.0
    return min(FULL, calm) if calm >= LEAST_CALM else FULL


def many_small(view: View) -> bool:
    """Return whether so many tasks fit into a quota period that some room keeps the quota from running out."""
    return aim(view) < FULL


def wanted(view: View) -> float:
    """
    Return what the load would be without neighbours: with the waiting for CPUs that our own load does not explain.

    Threads that are ready at the same time wait for one another, too: by the queueing formula (M/M/1) load / (1 - load)
    times what they use. What waits while the quota has run out waits for no neighbour.
    """
    if view.throttled or view.load >= NEARLY or not view.cpu:
        return view.load
    queued = max(0.0, (view.queued or 0.0) - view.cpu * view.load / (1 - view.load))
    return view.load * (view.cpu + queued) / view.cpu


def crowded(view: View, cpus: float) -> bool:
    """Return whether more of our threads are ready than there are CPUs for, most of the time."""
    return (view.queued or 0.0) > (MOSTLY if view.some else QUEUED * cpus)


def why_not_more(view: View) -> str | None:
    """Return why a larger size would bring nothing, None if it may."""
    if view.load >= aim(view) - FULL + NEARLY:
        return "the CPUs are nearly used up"
    throttled = view.throttled or 0.0
    if throttled > SOME_THROTTLED and many_small(view):
        return "the quota runs out now and then"
    # Not by us alone, or by tasks in step with one another: for those more is faster, up to a point.
    if throttled > THROTTLED:
        return "the quota runs out in most periods, by others or in bursts"
    if wanted(view) >= aim(view) - FULL + NEARLY:
        return "the node is busy: tasks wait for CPUs that neighbours use"
    return None


def why_not_pressed(sample: Sample) -> str:
    """Return why the size is not what keeps tasks waiting."""
    if sample.held:
        return "memory holds tasks back"
    if not sample.waiting:
        return "nothing waits"
    return "workers are idle" if sample.idle else "not all workers have a task yet"


def workers(number: int) -> str:
    """Return so many workers, in words."""
    return "1 worker" if number == 1 else f"{number} workers"


def facts(view: View, sample: Sample) -> str:
    """Return the numbers that a decision rests on."""
    facts = [f"{view.cpu:.2f} of {sample.cpus:g} CPUs", f"{sample.running} running, {sample.waiting} waiting"]
    if view.ended:
        facts.append(f"{view.rate:.3g} ended a second")
    if view.throttled is not None:
        facts.append(f"{view.throttled:.0%} of periods throttled")
    if view.queued is not None:
        facts.append(f"{view.queued:.2f} waiting for a CPU")
    if view.locked:
        facts.append(f"interpreter lock taken {view.locked:.0%}")
    return ", ".join(facts)
