"""A recommendation in the words of those who start the service. Pure."""

import json
from collections.abc import Callable
from dataclasses import asdict

from cgexec._recommend import Recommendation
from cgexec._sizing import share_of

__all__ = ["FORMATS", "as_dict", "render"]


def as_dict(answer: Recommendation) -> dict[str, object]:
    """Return the numbers and what they came from as plain JSON values; limits and usage are left to the caller."""
    numbers = asdict(answer)
    del numbers["limits"], numbers["usage"]
    work = answer.workload._asdict()
    for name in ("io_ratio", "reserve"):
        if work[name] is not None and not isinstance(work[name], int):
            work[name] = float(work[name])
    return {**numbers, "workload": work}


def _json(answer: Recommendation) -> str:
    return json.dumps({**as_dict(answer), "limits": asdict(answer.limits), "usage": asdict(answer.usage)}, indent=2)


def _env(answer: Recommendation) -> str:
    lines = [f"CGEXEC_MAX_WORKERS={answer.max_workers}"]
    if answer.workload.processes > 1:
        lines.append(f"CGEXEC_PROCESSES={answer.workload.processes}")
    return "\n".join(lines)


def _gunicorn(answer: Recommendation) -> str:
    """Return gunicorn's arguments: its workers are processes, its threads are ours."""
    if answer.workload.kind == "process":
        return f"--workers={answer.max_workers}"
    return f"--worker-class=gthread --workers={answer.workload.processes} --threads={answer.max_workers}"


def _celery(answer: Recommendation) -> str:
    """Return celery's arguments; a prefork child is replaced when it holds more than its part of the limit."""
    if answer.workload.kind == "thread":
        return f"--pool=threads --concurrency={answer.max_workers}"
    arguments = f"--pool=prefork --concurrency={answer.max_workers}"
    each = share_of(answer.limits.memory_bytes, answer.usage, answer.workload) // answer.max_workers >> 10
    return f"{arguments} --max-memory-per-child={each}" if each > 0 else arguments


_RENDERERS: dict[str, Callable[[Recommendation], str]] = {
    "text": Recommendation.explain,
    "json": _json,
    "number": lambda answer: str(answer.max_workers),
    "env": _env,
    "gunicorn": _gunicorn,
    "celery": _celery,
}
FORMATS = tuple(_RENDERERS)


def render(answer: Recommendation, form: str) -> str:
    """Return *answer* in one of `FORMATS`, without a newline at the end."""
    return _RENDERERS[form](answer)
