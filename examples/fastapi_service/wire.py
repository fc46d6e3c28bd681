"""What clients are sent of a job, over HTTP and WebSockets, and what can be sent at all."""

import json
from dataclasses import fields
from typing import Any

from fastapi_service.states import Event, Job

__all__ = ["check", "listed", "message", "shown"]

_FIELDS = tuple(field.name for field in fields(Job))


def check(result: object) -> None:
    """
    Look whether clients can be sent a job's result, before it is kept.

    Raises:
        ValueError: they cannot.
    """
    try:
        # As Starlette does it. `json` alone also takes NaN, at which a browser fails, and lone surrogates, as the names
        # of files have them, which cannot be sent.
        json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the result cannot be sent as JSON: {error}") from error


def shown(job: Job) -> dict[str, Any]:
    """Return a job as JSON shows it."""
    # Not `asdict`: that copies the result, however large it is.
    return {name: getattr(job, name) for name in _FIELDS}


def listed(job: Job) -> dict[str, Any]:
    """Return a job as a list of many shows it: without its result, which may be large."""
    found = shown(job)
    del found["result"]
    return found


def message(event: Event) -> dict[str, Any]:
    """Return an event as a WebSocket brings it."""
    found = {**event._asdict(), "type": "event", "id": event.job}
    del found["job"]
    return found
