"""How many processes and threads a container's command line asks for: gunicorn, uvicorn and their like. Pure."""

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cgexec._environ import whole_number

__all__ = ["Asked", "asked_by"]


class Asked(NamedTuple):
    """What a server is told to start; None is "not said". *server* is its name, "" if none is known."""

    server: str
    processes: int | None
    threads: int | None


# Per server: the options for processes, and for threads of each process.
_OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gunicorn": (("-w", "--workers"), ("--threads",)),
    "uvicorn": (("--workers",), ()),
    "hypercorn": (("-w", "--workers"), ()),
    "granian": (("--workers",), ("--blocking-threads",)),
    "celery": (("-c", "--concurrency"), ()),
    "fastapi": (("--workers",), ()),
}
# More cannot be told to a process, and nobody has so many.
_MOST = 1_000_000
# What these start where nothing else is said.
_READ_WEB_CONCURRENCY = ("gunicorn", "uvicorn", "fastapi")
# With these pools celery's --concurrency counts threads of one process.
_CELERY_THREADS = ("threads", "gevent", "eventlet")


def asked_by(words: Sequence[str], env: Mapping[str, str]) -> Asked:
    """Return what the command line says, and the variables that the server itself reads."""
    names = [word.rpartition("/")[2] for word in words]
    server = next((name for name in names if name in _OPTIONS), "")
    if not server:
        return Asked("", None, None)
    given = list(words[names.index(server) + 1 :])
    if server == "gunicorn":
        with contextlib.suppress(ValueError):  # the command line has the last word
            given = shlex.split(env.get("GUNICORN_CMD_ARGS", "")) + given
    for_processes, for_threads = _OPTIONS[server]
    if server in _READ_WEB_CONCURRENCY and "WEB_CONCURRENCY" in env:
        given = ["--workers", env["WEB_CONCURRENCY"], *given]
    processes, threads = _option(given, for_processes), _option(given, for_threads)
    if server == "celery" and _text(given, ("-P", "--pool")) in _CELERY_THREADS:
        processes, threads = None, processes
    return Asked(server, processes, threads)


def _option(words: Sequence[str], names: tuple[str, ...]) -> int | None:
    return whole_number(_text(words, names) or "", _MOST)


def _text(words: Sequence[str], names: tuple[str, ...]) -> str | None:
    """Return the value of the last of these options: ``-w 4``, ``-w4``, ``--workers 4``, ``--workers=4``."""
    found = None
    for word, after in zip(words, [*words[1:], ""], strict=True):
        for name in names:
            if word == name:
                found = after
            elif word.startswith(f"{name}=") or (len(name) == 2 and word.startswith(name)):
                found = word[len(name) :].removeprefix("=")
    return found
