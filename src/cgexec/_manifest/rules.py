"""
What is wrong with a container: facts in, findings out. Pure.

Each rule is a function; its name, with hyphens, is how findings are named and ignored.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Literal, NamedTuple

from cgexec._environ import read_environ, told_processes, whole_number
from cgexec._manifest.blocks import processes_block, requests_block
from cgexec._manifest.resources import Amount, defaulted
from cgexec._manifest.sizing import Answer, Tasks
from cgexec._manifest.workloads import Container, Pod
from cgexec._quantity import format_bytes, format_cpus, format_times, parse_bytes
from cgexec._sizing import per_worker

__all__ = ["LEVELS", "RULES", "Finding", "Level", "judge"]

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

# A limit this many times the request is a promise the node does not make; the report in a container says the same.
FAR_ABOVE = 4
# No interpreter runs in less: the suffix is missing, or it is Docker's "m".
LEAST_MEMORY = 1 << 20
# Native libraries start so many threads for a call; `env` sets the same ones.
_NATIVE = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS",
    "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip
# What `read_environ` has notes about.
_NOTED = (
    "CGEXEC_CPUS", "CGEXEC_MEMORY", "CGEXEC_CPU_REQUEST", "CGEXEC_MEMORY_REQUEST", "PYTHON_CPU_COUNT",
    "WEB_CONCURRENCY", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
)  # fmt: skip
# How the note about a 0 ends, which the downward API gives for a request that is not there.
_NOT_SET = "=0 is taken as not set"
# A number of threads with more digits is none that a library would take.
_MOST_THREADS = 1 << 63
_ROUNDING = {"cpu": Fraction(1, 1000), "memory": Fraction(1)}
_POOL_WORDS = ("MAX_WORKERS", "THREADS", "NUM_WORKERS", "POOL_SIZE", "CONCURRENCY")


class Finding(NamedTuple):
    """Something wrong. *fix* is a block to paste, "" if there is none."""

    rule: str
    level: Level
    line: int
    text: str
    fix: str = ""


class Case(NamedTuple):
    """A container, the pod it is in, what it would get, and what is said about the tasks."""

    pod: Pod
    container: Container
    answer: Answer
    tasks: Tasks

    def value(self, resource: str) -> Fraction | None:
        """Return what is given and above zero."""
        return self.container.values.get(resource) or None

    def holders(self) -> Iterator[Container | Pod]:
        """Yield what has resources: the container, and with the first of them the pod, whose containers share its."""
        yield self.container
        if self.container is self.pod.containers[0]:
            yield self.pod

    def bound(self, what: str) -> bool:
        """Return whether there is such a limit, for the container or for the pod; one of 0 bounds nothing."""
        limits = (amounts.get(f"limits.{what}") for amounts in (self.container.amounts, self.pod.amounts))
        return any(limit is not None and limit.value != 0 for limit in limits)


def judge(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with a container, the worst first, else in the order of lines."""
    found = [finding for rule in RULES.values() for finding in rule(case)]
    yield from sorted(found, key=lambda finding: (LEVELS.index(finding.level), finding.line))


# -- what Kubernetes refuses, or takes for something else ------------------------------------------------------------


def bad_quantity(case: Case) -> Iterator[Finding]:
    for resource, amount in (each for holder in case.holders() for each in holder.amounts.items()):
        if amount.trouble:
            yield Finding("bad-quantity", "error", amount.line, f"{resource}: {amount.trouble}")
        elif amount.value and resource.endswith("memory"):
            try:
                parse_bytes(amount.text.removeprefix("+"), name=resource, least=LEAST_MEMORY)
            except ValueError as error:
                yield Finding("bad-quantity", "error", amount.line, str(error))


def request_above_limit(case: Case) -> Iterator[Finding]:
    for holder, what in itertools.product(case.holders(), ("cpu", "memory")):
        request, limit = _both(holder, what)
        if request > limit and f"limits.{what}" in holder.values:  # of 0 too, though at run time that is no limit
            asked, most = holder.amounts[f"requests.{what}"], holder.amounts[f"limits.{what}"]
            text = f"requests.{what} {asked.text} is above limits.{what} {most.text}: Kubernetes refuses the pod"
            yield Finding("request-above-limit", "error", asked.line, text)


def _both(holder: Container | Pod, what: str) -> tuple[Fraction, Fraction]:
    """Return request and limit, 0 for what is not there."""
    zero = Fraction(0)
    return holder.values.get(f"requests.{what}", zero), holder.values.get(f"limits.{what}", zero)


def env_not_a_string(case: Case) -> Iterator[Finding]:
    for name, variable in case.container.env.items():
        if not variable.is_string:
            text = f'{name} is no string to YAML, and Kubernetes refuses the pod: write "{variable.value}"'
            yield Finding("env-not-a-string", "error", variable.line, text)


def bad_variable(case: Case) -> Iterator[Finding]:
    if case.answer.trouble:
        name = case.answer.trouble.partition("=")[0]
        variable = case.container.env.get(name)
        line = case.container.line if variable is None else variable.line
        yield Finding("bad-variable", "error", line, f"{case.answer.trouble}; a pool in this container raises that")


def odd_variable(case: Case) -> Iterator[Finding]:
    for line, note in _notes(case):
        if not note.endswith(_NOT_SET):
            yield Finding("odd-variable", "warning", line, note)


def variable_not_set(case: Case) -> Iterator[Finding]:
    for line, note in _notes(case):
        if note.endswith(_NOT_SET):
            yield Finding("variable-not-set", "note", line, note)


def _notes(case: Case) -> Iterator[tuple[int, str]]:
    """Yield what the container itself would note about a variable of its, with the variable's line."""
    recommendation, env = case.answer.recommendation, case.container.env
    for note in () if recommendation is None else recommendation.limits.notes:
        about = [name for name in _NOTED if name in env and re.search(rf"\b{name}\b", note)]
        yield from ((env[name].line, note) for name in about[:1])


# -- limits and requests ---------------------------------------------------------------------------------------------


def no_memory_limit(case: Case) -> Iterator[Finding]:
    if not case.bound("memory") and case.container.role != "init":
        text = "no memory limit: the node's memory is the bound, and a leak takes its other pods along"
        yield Finding("no-memory-limit", "warning", case.container.line, text)


def no_cpu_limit(case: Case) -> Iterator[Finding]:
    if not case.bound("cpu") and case.container.role != "init":
        text = (
            "no CPU limit: workers are counted by the node's CPUs (nothing is throttled; CGEXEC_CPUS= would bound it)"
        )
        yield Finding("no-cpu-limit", "note", case.container.line, text)


def no_requests(case: Case) -> Iterator[Finding]:
    container, pod = case.container, case.pod
    if container.role == "init" or _asks(container.amounts) or _asks(pod.amounts):
        return
    if pod.best_effort:
        text = "no requests: the pod is the first to be evicted when the node runs short (QoS BestEffort)"
    else:
        text = "no requests: the scheduler leaves no room for this container, which lives on what others leave"
    yield Finding("no-requests", "warning", container.line, text)


def _asks(amounts: Mapping[str, Amount]) -> bool:
    """Return whether there is a request; one that is no quantity is one to whoever wrote it."""
    values = defaulted(amounts)
    return any(amount.trouble for amount in amounts.values()) or any(
        values.get(f"requests.{what}") for what in ("cpu", "memory")
    )


def _far_above(case: Case, what: str) -> Iterator[tuple[int, float, float]]:
    """Yield line, request and limit where the limit is far above the request."""
    for holder in case.holders():
        request, limit = _both(holder, what)
        if request and limit >= FAR_ABOVE * request:
            yield holder.line_of(f"limits.{what}"), float(request), float(limit)


def memory_limit_far_above_request(case: Case) -> Iterator[Finding]:
    for line, request, limit in _far_above(case, "memory"):
        text = (
            f"the memory limit is {format_times(limit / request)} times the request: a pod that uses more than "
            f"{format_bytes(request)} is evicted when the node runs short"
        )
        yield Finding("memory-limit-far-above-request", "warning", line, text)


def cpu_limit_far_above_request(case: Case) -> Iterator[Finding]:
    for line, request, limit in _far_above(case, "cpu"):
        text = (
            f"the CPU limit is {format_times(limit / request)} times the request: on a busy node it may get "
            f"{format_cpus(request)} of {format_cpus(limit)}"
        )
        yield Finding("cpu-limit-far-above-request", "note", line, text)


def quota_below_one_cpu(case: Case) -> Iterator[Finding]:
    limit = case.container.bounds.get("limits.cpu")
    if limit and limit < 1 and case.container.role == "main":
        text = (
            f"a limit of {format_cpus(float(limit))} stops every thread once the container has run "
            f"{float(limit * 100):.3g} ms of each 100 ms; an event loop and the health checks stop with them"
        )
        yield Finding("quota-below-one-cpu", "warning", case.container.line_of("limits.cpu"), text)


# -- threads, processes, memory --------------------------------------------------------------------------------------


def threads_above_limit(case: Case) -> Iterator[Finding]:
    """A thread count in the environment against what the limits allow."""
    recommendation = case.answer.recommendation
    if recommendation is None:
        return
    cpus = Fraction(str(recommendation.limits.cpus)) / recommendation.workload.processes
    for name, variable in case.container.env.items():
        count = whole_number(variable.value or "", _MOST_THREADS)
        if count is None:
            continue
        if name in _NATIVE and count > max(1, math.ceil(cpus)):
            text = (
                f"{name}={count}, but {format_cpus(float(cpus))} for this process: threads in lock step wait for the "
                f"one that is throttled; {max(1, math.floor(cpus))} is right (python -m cgexec env prints them all)"
            )
            yield Finding("threads-above-limit", "warning", variable.line, text)
        elif name not in _NATIVE and name.endswith(_POOL_WORDS) and count > recommendation.ceiling:
            text = f"{name}={count}, but the limits allow at most {recommendation.ceiling}: {_bound(case)}"
            yield Finding("threads-above-limit", "warning", variable.line, text)


def _bound(case: Case) -> str:
    answer = case.answer.recommendation
    assert answer is not None, "asked only of one that has it"
    left = answer.terms["memory"]
    return "memory" if left is not None and left <= answer.ceiling else f"the cap of {answer.terms['cap']}"


def processes_not_told(case: Case) -> Iterator[Finding]:
    """What a server starts against what its processes are told, which is what each divides by."""
    container, started = case.container, case.answer.asked.processes
    try:
        told, source = told_processes(container.known_env)
    except ValueError:  # `bad_variable` says so
        return
    first = container.env.get("CGEXEC_PROCESSES") or container.env.get("WEB_CONCURRENCY")
    if started is None or started == told or (first is not None and first.value is None):
        return
    server, line = case.answer.asked.server, container.line
    text = f"{server} starts {started} processes, and each sizes its pools as if it were alone"
    if source in container.env:
        line = container.env[source].line
        text = (
            f"{server} starts {_times(started, 'process')}, but {source} tells {told}, and each sizes its pools by that"
        )
    yield Finding("processes-not-told", "warning", line, text, processes_block(started))


def memory_over_limit(case: Case) -> Iterator[Finding]:
    """Processes times threads times what a task holds, against the limit."""
    recommendation = case.answer.recommendation
    if recommendation is None or recommendation.workload.memory_per_task is None:
        return
    if recommendation.limits.memory_bytes < LEAST_MEMORY:  # a slip, and said already
        return
    work, limits, usage = recommendation.workload, recommendation.limits, recommendation.usage
    each = per_worker(usage, work)
    if not recommendation.fits:
        part = "" if work.processes == 1 else f", divided by {work.processes} processes"
        text = f"not even one task of {format_bytes(each)} fits {format_bytes(limits.memory_bytes)}{part}"
        yield Finding("memory-over-limit", "error", case.container.line_of("limits.memory"), text)
        return
    workers = max(case.answer.asked.threads or 1, case.answer.workers or 1)
    total = work.processes * (workers * each + (usage.process_bytes or 0))
    if total > limits.memory_bytes:
        text = (
            f"{_times(work.processes, 'process')} x {_times(workers, 'worker')} x {format_bytes(each)} come to "
            f"{format_bytes(total)}, above the limit of {format_bytes(limits.memory_bytes)}; "
            f"{recommendation.terms['memory']} workers in each fit"
        )
        yield Finding("memory-over-limit", "error", case.container.line_of("limits.memory"), text)


def _times(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}{'es' if word.endswith('s') else 's'}"


# -- what a container cannot see -------------------------------------------------------------------------------------


def requests_not_told(case: Case) -> Iterator[Finding]:
    container = case.container
    if container.role != "main":
        return
    missing = [
        what
        for what, name in (("cpu", "CGEXEC_CPU_REQUEST"), ("memory", "CGEXEC_MEMORY_REQUEST"))
        if case.value(f"requests.{what}") and name not in container.env
    ]
    if missing:
        text = "the container cannot see its requests; the downward API tells them"
        yield Finding("requests-not-told", "note", container.line, text, requests_block(missing))


def wrong_request_told(case: Case) -> Iterator[Finding]:
    """What the downward API gives against what is requested: without a divisor it rounds 100m up to a whole CPU."""
    if case.answer.trouble:
        return
    told = read_environ(case.container.known_env, {})
    for what, name, value in (
        ("cpu", "CGEXEC_CPU_REQUEST", told.cpu_request),
        ("memory", "CGEXEC_MEMORY_REQUEST", told.memory_request),
    ):
        request = case.value(f"requests.{what}")
        # What it is told is rounded to thousandths of a CPU and to bytes.
        if value is not None and request is not None and abs(Fraction(str(value)) - request) >= _ROUNDING[what]:
            show = format_cpus if what == "cpu" else format_bytes
            text = (
                f"{name} will say {show(value)}, but the {what.replace('cpu', 'CPU')} request is {show(float(request))}"
            )
            fix = requests_block([what])
            yield Finding("wrong-request-told", "warning", case.container.env[name].line, text, fix)


# -- time ------------------------------------------------------------------------------------------------------------


def grace_shorter_than_tasks(case: Case) -> Iterator[Finding]:
    pod, seconds = case.pod, case.tasks.seconds
    if seconds is None or case.container.role != "main":
        return
    # SIGTERM comes when the hook has ended, SIGKILL when the period has, which begins with the hook.
    hook = case.container.pre_stop_seconds
    if pod.grace_seconds - hook < seconds:
        slept = f", of which its preStop hook sleeps {hook:g} s" if hook else ""
        text = (
            f"a pod that is told to end has {pod.grace_seconds:g} s{slept}, a task takes {seconds:g} s: whatever runs "
            f"then is killed (terminationGracePeriodSeconds: {math.ceil(seconds + hook + 10)} leaves ten to finish)"
        )
        yield Finding("grace-shorter-than-tasks", "warning", pod.grace_line, text)


def deadline_shorter_than_tasks(case: Case) -> Iterator[Finding]:
    deadline, seconds = case.pod.deadline_seconds, case.tasks.seconds
    if deadline is not None and seconds is not None and deadline < seconds and case.container.role == "main":
        text = f"activeDeadlineSeconds ({deadline:g}) ends the pod before one task of {seconds:g} s has"
        yield Finding("deadline-shorter-than-tasks", "error", case.pod.deadline_line, text)


RULES: dict[str, Callable[[Case], Iterator[Finding]]] = {
    rule.__name__.replace("_", "-"): rule
    for rule in (
        bad_quantity, request_above_limit, env_not_a_string, bad_variable, odd_variable, variable_not_set,
        no_memory_limit, no_cpu_limit, no_requests,
        memory_limit_far_above_request, cpu_limit_far_above_request, quota_below_one_cpu, threads_above_limit,
        processes_not_told, memory_over_limit, requests_not_told, wrong_request_told, grace_shorter_than_tasks,
        deadline_shorter_than_tasks,
    )
}  # fmt: skip
