"""
What the environment tells: ``CGEXEC_*`` variables, Python's own override, platforms without honest files.

A ``CGEXEC_*`` variable is somebody's word, so nonsense in one is a `ValueError` that names it. What other programs set
(``WEB_CONCURRENCY``, Lambda's memory) is taken if it makes sense and noted if it does not.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Literal, NamedTuple, TypeVar

from cgexec._quantity import as_integer, parse_bytes, parse_exact

__all__ = [
    "Told",
    "parse_count",
    "parse_reserve",
    "platform_of",
    "read_environ",
    "told_mode",
    "told_processes",
    "told_size",
    "told_workers",
    "whole_number",
]

T = TypeVar("T")

# A memory figure below this is a missing suffix: no interpreter runs in it.
_LEAST_MEMORY = 1 << 20
# More CPUs, processes or threads than anybody has.
_MOST = 1_000_000
_DECLARED_MIB = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"


class Told(NamedTuple):
    """What the environment says about limits and requests; None is "nothing said"."""

    cpus: float | None = None
    memory: int | None = None
    cpu_request: float | None = None
    memory_request: int | None = None
    python_cpu_count: int | None = None
    python_cpu_count_source: str = ""
    lambda_memory: int | None = None
    platform: str | None = None
    notes: tuple[str, ...] = ()


def read_environ(
    environ: Mapping[str, str], xoptions: Mapping[str, str | bool], *, ignore_environment: bool = False
) -> Told:
    """
    Return what *environ* and the interpreter's ``-X`` options say.

    With *ignore_environment* (``sys.flags``, ``python -E`` and ``-I``) ``PYTHON_CPU_COUNT`` says nothing, as to Python.

    Raises:
        ValueError: a ``CGEXEC_*`` variable holds nonsense; the text names it and shows a right value.
    """
    notes: list[str] = []
    _note_web_concurrency(environ, notes)
    python, source = _python_cpu_count({} if ignore_environment else environ, xoptions, notes)
    return Told(
        cpus=_cpus(environ, "CGEXEC_CPUS", notes),
        memory=_memory(environ, "CGEXEC_MEMORY", notes),
        cpu_request=_cpus(environ, "CGEXEC_CPU_REQUEST", notes),
        memory_request=_memory(environ, "CGEXEC_MEMORY_REQUEST", notes),
        python_cpu_count=python,
        python_cpu_count_source=source,
        lambda_memory=_lambda_memory(environ, notes),
        platform=platform_of(environ),
        notes=tuple(notes),
    )


def _variable(environ: Mapping[str, str], name: str, parse: Callable[[str], T], right: str) -> T | None:
    """Return the parsed variable, None if it is unset or empty."""
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{name}={text!r}: {error}; right is for instance {name}={right}") from None


def whole_number(text: str, most: int) -> int | None:
    """Return the whole number from 1 to *most* that ASCII digits spell, None for anything else."""
    digits = text.lstrip("0")
    # int() takes digits of other scripts, and refuses thousands of digits in words of its own.
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(most)):
        return None
    return number if (number := int(digits)) <= most else None


def _zero_is_unset(value: float | None, name: str, notes: list[str]) -> bool:
    # The downward API gives 0 for a request or limit that the pod does not have.
    if value == 0:
        notes.append(f"{name}=0 is taken as not set")
    return value == 0


def _cpus(environ: Mapping[str, str], name: str, notes: list[str]) -> float | None:
    value = _variable(environ, name, lambda text: float(parse_exact(text)), "1.5 or 1500m")
    if value is not None and value > _MOST:
        raise ValueError(
            f"{name}={environ[name]!r}: more CPUs than any machine has; right is for instance {name}=1500m"
        )
    return None if _zero_is_unset(value, name, notes) else value


def _memory(environ: Mapping[str, str], name: str, notes: list[str]) -> int | None:
    def parse(text: str) -> int:
        return 0 if parse_exact(text) == 0 else parse_bytes(text, name="memory", least=_LEAST_MEMORY)

    value = _variable(environ, name, parse, "512Mi")
    return None if _zero_is_unset(value, name, notes) else value


def _python_cpu_count(
    environ: Mapping[str, str], xoptions: Mapping[str, str | bool], notes: list[str]
) -> tuple[int | None, str]:
    """
    Return Python's own override (3.13 and later apply it themselves; ours holds on every version).

    As there, the option replaces the variable, also where it says ``default``: config_init_cpu_count() in
    Python/initconfig.c, whose numbers are those of strtol(3).
    """
    if "cpu_count" in xoptions:
        source, text = "-X cpu_count", xoptions["cpu_count"]
    else:
        source, text = "PYTHON_CPU_COUNT", environ.get("PYTHON_CPU_COUNT", "")
    if not isinstance(text, str) or text in ("", "default"):
        return None, ""
    count = whole_number(text.lstrip().removeprefix("+"), _MOST)
    if count is None:
        notes.append(f"{source}={text!r} is not a number of CPUs from 1 to a million and is passed over")
        return None, ""
    return count, source


def _lambda_memory(environ: Mapping[str, str], notes: list[str]) -> int | None:
    """Return the memory of an AWS Lambda function, which that platform tells in MiB."""
    text = environ.get(_DECLARED_MIB, "")
    if not text:
        return None
    size = whole_number(text, 1 << 24)
    if size is None:
        notes.append(f"{_DECLARED_MIB}={text!r} is not a number of MiB and is passed over")
        return None
    return size << 20


def _web_concurrency(environ: Mapping[str, str]) -> int | None:
    """Return the number of a server's processes, None if it is not set or no number: another program's variable."""
    return whole_number(environ.get("WEB_CONCURRENCY", "").strip(), _MOST)


def _note_web_concurrency(environ: Mapping[str, str], notes: list[str]) -> None:
    text = environ.get("WEB_CONCURRENCY", "").strip()
    if text and _web_concurrency(environ) is None:
        notes.append(f"WEB_CONCURRENCY={text!r} is not a number of processes from 1 to a million and is passed over")


# (variable, name of the platform): places whose cgroup files are known to be empty or to show the machine.
_PLATFORMS = (
    ("AWS_LAMBDA_FUNCTION_NAME", "AWS Lambda"),
    ("ECS_CONTAINER_METADATA_URI_V4", "Amazon ECS"),
    ("K_SERVICE", "Cloud Run"),
    ("CLOUD_RUN_JOB", "Cloud Run"),
    ("DYNO", "Heroku"),
    ("KUBERNETES_SERVICE_HOST", "Kubernetes"),
)


def platform_of(environ: Mapping[str, str]) -> str | None:
    """Return the hosting platform that the environment betrays, None if it does not."""
    if environ.get("AWS_EXECUTION_ENV") == "AWS_ECS_FARGATE":
        return "AWS Fargate"
    return next((name for variable, name in _PLATFORMS if environ.get(variable)), None)


def parse_count(value: object, *, name: str, what: str = "processes") -> int:
    """Return a whole number of *what* from 1 to a million."""
    count = int(value) if isinstance(value, float) and value.is_integer() else as_integer(value)
    if count is not None and 1 <= count <= _MOST:
        return count
    raise ValueError(f"{name}={value!r}: expected a whole number of {what}, at least 1")


NOT_TOLD = "one process"


def _number_of(what: str, text: str) -> int:
    number = whole_number(text, _MOST)
    if number is None:
        raise ValueError(f"expected a whole number of {what}, at least 1 and at most a million")
    return number


def told_processes(environ: Mapping[str, str]) -> tuple[int, str]:
    """
    Return how many processes share the container, and who says so: ``CGEXEC_PROCESSES``, ``WEB_CONCURRENCY``, else 1.

    Raises:
        ValueError: ``CGEXEC_PROCESSES`` is no whole number from 1 to a million.
    """

    def parse(text: str) -> int:
        return _number_of("processes", text)

    value = _variable(environ, "CGEXEC_PROCESSES", parse, "4")
    if value is not None:
        return value, "CGEXEC_PROCESSES"
    value = _web_concurrency(environ)
    return (1, NOT_TOLD) if value is None else (value, "WEB_CONCURRENCY")


def told_workers(environ: Mapping[str, str], name: str) -> int | None:
    """
    Return the number of workers in variable *name*, None if it is not set.

    Raises:
        ValueError: it is no whole number from 1 to a million.
    """
    return _variable(environ, name, lambda text: _number_of("workers", text), "20")


def told_mode(environ: Mapping[str, str]) -> Literal["off", "observe", "enforce"]:
    """
    Return ``CGEXEC_MODE``: how much of what a pool would do is done; ``"enforce"`` if it is not set.

    Raises:
        ValueError: it is none of the three.
    """

    def parse(text: str) -> Literal["off", "observe", "enforce"]:
        for mode in ("off", "observe", "enforce"):
            if text.lower() == mode:
                return mode
        raise ValueError("expected off, observe or enforce")

    return _variable(environ, "CGEXEC_MODE", parse, "observe") or "enforce"


def told_size(environ: Mapping[str, str]) -> tuple[int | None, str]:
    """
    Return how many workers a pool has to which its program gives no number, and the variable that says so.

    None and ``""`` if no variable does; None and ``"CGEXEC_MODE=off"`` (or observe) if it is the standard pool's size.

    Raises:
        ValueError: one of them holds nonsense, the others' word or not.
    """
    mode = told_mode(environ)
    forced = told_workers(environ, "CGEXEC_FORCE_MAX_WORKERS")
    default = told_workers(environ, "CGEXEC_MAX_WORKERS")
    if forced is not None:
        return forced, "CGEXEC_FORCE_MAX_WORKERS"
    if mode != "enforce":
        return None, f"CGEXEC_MODE={mode}"
    return default, "" if default is None else "CGEXEC_MAX_WORKERS"


def told_reserve(environ: Mapping[str, str]) -> Fraction | int | None:
    """Return ``CGEXEC_RESERVE``, None if it is not set."""
    return _variable(environ, "CGEXEC_RESERVE", lambda text: parse_reserve(text, name="reserve"), "0.15 or 256Mi")


def parse_reserve(value: str | float, *, name: str) -> Fraction | int:
    """
    Return what is kept free: a Fraction below 1 is a share of the limit, an int is bytes.

    Raises:
        ValueError: negative, unparsable, or from 1 to a mebibyte, which is nearly always a percentage (``15`` for
            ``0.15``).
    """
    try:
        exact = parse_exact(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if exact < 1:
        return exact
    if exact < _LEAST_MEMORY:
        percent = f"; {exact} % is {float(exact) / 100:g}" if exact < 100 else ""
        raise ValueError(
            f"{name}={value!r} is {int(exact)} bytes; expected a share below 1 such as 0.15, or bytes such as "
            f'"256Mi"{percent}'
        )
    return int(exact)
