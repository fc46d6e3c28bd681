"""
Where the numbers come from: this container, or the sockets of a service (`cgexec.serve_stats`).

What a socket says is another process's word: its size is bounded, it is read as JSON and no more, and what is shown of
it is stripped of anything that a terminal would act on.
"""

import json
import socket
from pathlib import Path
from typing import Any

__all__ = ["MOST_BYTES", "fetch", "sockets"]

MOST_BYTES = 4 << 20
_PATIENCE_S = 3.0


def sockets(path: str) -> list[Path]:
    """
    Return the sockets that *path* names: itself, or those in a folder.

    Raises:
        ValueError: there is none.
    """
    place = Path(path)
    try:
        found = sorted(place.glob("*.sock")) if place.is_dir() else [place]
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise ValueError(f"{path}: {error.strerror or error}") from None
    if not found:
        raise ValueError(f"{path}: no socket in this folder; does the service call cgexec.serve_stats({path!r})?")
    return found


def fetch(path: Path) -> dict[str, Any]:
    """
    Return what the process behind a socket says.

    Raises:
        ValueError: nobody serves it, or what comes is no line of JSON of ours.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.connect(str(path))
            data = _read(connection)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}; is the service running, as this user?") from None
    if not data:
        raise ValueError(
            f"{path}: it closed without a word; the service's log says why, or this is no socket of cgexec.serve_stats"
        )
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("pools"), list):
        raise ValueError(f"{path}: this is no socket of cgexec.serve_stats")
    return said


def _read(connection: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n") and (more := connection.recv(65536)):
        data += more
        if len(data) > MOST_BYTES:
            raise OSError(f"says more than {MOST_BYTES >> 20} MiB")
    return bytes(data)
