"""
A Unix socket that tells the numbers of this process's pools to whoever may open it: the service's own user, and root.

Whoever connects gets one line of JSON and the end. Nothing is read, so nothing that a client sends can do anything.
"""

import contextlib
import json
import math
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from cgexec import __version__
from cgexec._limits import limits
from cgexec._pool.log import Log
from cgexec._pool.look import Stats
from cgexec._pool.parting import at_end
from cgexec._pool.roster import pools
from cgexec._usage import usage

__all__ = ["StatsServer", "serve_if_asked", "serve_stats", "snapshot"]

_LOGGER = Log("cgexec")
VARIABLE = "CGEXEC_STATS_SOCKET"
_NAME = "cgexec-stats"
# What sockaddr_un holds, less the final NUL; other systems than Linux have a little less.
_LONGEST_PATH = 103
# A client that does not take its line is given up after so many seconds.
_PATIENCE_S = 2.0
# After a client could not come in, the next is waited for so much later.
_PAUSE_S = 0.5
_MOST_POOLS, _MOST_FUNCTIONS = 200, 50
# So many are tried in a folder.
_MOST_NAMES = 100


class StatsServer:
    """An open socket. Thread-safe; it ends with `close`, and with the process."""

    def __init__(self, path: str, place: str, listening: socket.socket) -> None:
        self.path = path
        self.place = place  # what was asked for: the path, or its folder
        self._pid = os.getpid()
        self._closed = threading.Event()
        self._failed = False  # only the thread's
        self._socket = listening
        self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
        self._thread.start()
        _servers.append(self)
        _close_at_end()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._serve()
            except Exception:  # noqa: BLE001  # closed; or no descriptor or memory is left, which may pass
                self._closed.wait(_PAUSE_S)

    def _serve(self) -> None:
        """Tell one client the numbers; raise what kept it from coming in."""
        client, _ = self._socket.accept()
        with client:
            try:
                line = json.dumps(snapshot(), allow_nan=False).encode() + b"\n"
            except Exception:
                if not self._failed:
                    self._failed = True
                    _LOGGER.exception("[stats-socket-failed] %s: a client was not told the numbers", self.path)
                return
            with contextlib.suppress(OSError):  # it left, or does not read
                client.settimeout(_PATIENCE_S)
                client.sendall(line)

    def close(self) -> None:
        """Close the socket and remove its file. Blocks for as long as a client is being served; may be called twice."""
        if self in _servers and os.getpid() == self._pid:
            _servers.remove(self)
            self._closed.set()
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
            self._socket.close()
            Path(self.path).unlink(missing_ok=True)
            self._thread.join(2 * _PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_servers: list[StatsServer] = []


def serve_stats(path: str | os.PathLike[str]) -> StatsServer:
    """
    Tell the numbers of all pools of this process, and of its container, on a Unix socket; ``python -m cgexec watch``
    shows them.

    One thread serves it. Only the service's own user and root can open it (mode 0600). In a forked child it is gone.
    Where this process serves that path already, as ``CGEXEC_STATS_SOCKET`` has it, the server that is there is
    returned.

    Args:
        path: of the socket, or a folder: then ``cgexec-<pid>.sock`` in it, so that several processes can share one.
            With a slash at its end it is a folder, and made if it is not there.

    Raises:
        ValueError: the path is too long for a socket.
        OSError: there is another file, another process serves it, or it cannot be made.
    """
    name = os.fspath(path)
    place = str(Path(name).absolute())
    there = next((server for server in _servers if server.place == place), None)
    if there is not None:
        return there
    if name.endswith("/"):
        Path(name).mkdir(mode=0o700, parents=True, exist_ok=True)
    if Path(name).is_dir():
        return _serve_in(Path(name), place)
    _remove_stale(_fitting(name))
    return StatsServer(name, place, _listen(name))


def _serve_in(folder: Path, place: str) -> StatsServer:
    """Serve under a free name, after the sockets of processes that were killed are removed."""
    _name(folder, 1)  # before there is anything to be undone
    # It gets its name when it listens: before, others would take it for one whose process was killed.
    unnamed = folder / f".cgx-{secrets.token_hex(3)}"
    listening = _listen(str(unnamed))
    try:
        for path in folder.glob("cgexec-*.sock"):
            with contextlib.suppress(OSError):  # it lives, or is another user's
                _remove_stale(str(path))
        return StatsServer(_named(unnamed), place, listening)
    except BaseException:
        listening.close()
        raise
    finally:
        unnamed.unlink(missing_ok=True)


def _named(unnamed: Path) -> str:
    """Give the socket a name that is free: another container's process has our number, where the folder is shared."""
    for number in range(1, _MOST_NAMES + 1):
        name = _name(unnamed.parent, number)
        if _rename(unnamed, name):
            return name
    raise FileExistsError(f"{unnamed.parent}: all of {_MOST_NAMES} names for process {os.getpid()} are taken")


def _name(folder: Path, number: int) -> str:
    return _fitting(str(folder / f"cgexec-{os.getpid()}{f'-{number}' if number > 1 else ''}.sock"))


def _rename(socket_file: Path, name: str) -> bool:
    """Give it that name; False if it is taken."""
    try:
        os.link(socket_file, name)
    except FileExistsError:
        return False
    except OSError:  # no links in this file system
        if os.path.lexists(name):
            return False
        socket_file.rename(name)
    return True


def _fitting(name: str) -> str:
    size = len(os.fsencode(name))
    if size > _LONGEST_PATH:
        raise ValueError(f"{name}: a socket's path has at most {_LONGEST_PATH} bytes, this one {size}")
    return name


def _listen(path: str) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no Unix sockets")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)  # on Linux the file gets that mode at once, with no moment in between
        listening.bind(path)
        Path(path).chmod(0o600)
        listening.listen(8)
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_stale(path: str) -> None:
    """
    Remove the socket of a process that is no more.

    Raises:
        FileExistsError: there is something else.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except BlockingIOError:  # somebody has more to do than to answer at once
            pass
    raise FileExistsError(
        f"{path} is served by another process already; to have one socket for each, name a folder, which is made if it "
        "has a slash at its end"
    )


def serve_if_asked() -> None:
    """Open the socket that ``CGEXEC_STATS_SOCKET`` names, once a process. What is wrong with it is a warning."""
    global _asked  # noqa: PLW0603  # once a process
    path = os.environ.get(VARIABLE)
    if not path or _asked:
        return
    _asked = True
    try:
        serve_stats(path)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no thread is to be had
        _LOGGER.warning("[stats-socket-off] %s=%s cannot be served: %s", VARIABLE, path, error)


_asked = False


def snapshot() -> dict[str, Any]:
    """Return the numbers of this process as plain JSON values; *inf* and *nan* are null."""
    seen = sorted(((pool.stats(), number) for pool, number in pools()[:_MOST_POOLS]), key=lambda each: each[0].name)
    said: dict[str, Any] = _plain({
        "cgexec": __version__,
        "pid": os.getpid(),
        "time": time.time(),
        "limits": asdict(limits()),
        "usage": asdict(usage()),
        "pools": [_pool(stats, number) for stats, number in seen if stats.closed is None or stats.running],
    })  # fmt: skip
    return said


def _pool(stats: Stats, number: int) -> dict[str, Any]:
    largest = sorted(stats.footprints.items(), key=lambda each: -(each[1].bytes or 0))[:_MOST_FUNCTIONS]
    return {"number": number, **asdict(stats), "footprints": {name: learned._asdict() for name, learned in largest}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _close_at_end() -> None:
    global _ending  # noqa: PLW0603  # once a process
    if not _ending:
        _ending = True
        at_end(_at_exit)


_ending = False


def _at_exit() -> None:
    with contextlib.ExitStack() as stack:  # each leaves the list, and whatever one raises the others are closed
        for server in _servers:
            stack.callback(server.close)


def _after_fork_in_child() -> None:
    global _asked, _ending  # noqa: PLW0603  # the sockets are the parent's
    for server in _servers:
        server._socket.close()  # noqa: SLF001  # this module's
    _servers.clear()
    _asked = _ending = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
