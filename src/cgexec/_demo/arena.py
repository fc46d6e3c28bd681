"""
Where the two pools meet their limit: a cgroup each, where one may be made, else the child's RLIMIT_DATA.

Only cgroups made here are ever written to or removed. Processes are neither moved out of others nor killed there, and
no controller is switched on: what the system does not hand down is not taken.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cgexec._demo.rlimit import private_bytes
from cgexec._kernel import levels, parse
from cgexec._kernel.files import Files
from cgexec._kernel.host import is_linux
from cgexec._kernel.locate import Place
from cgexec._quantity import format_bytes
from cgexec._snapshot import locate_own

__all__ = ["Arena", "CgroupArena", "RlimitArena", "Seat", "open_arena"]

_LIMIT = {"v1": "memory.limit_in_bytes", "v2": "memory.max"}
_PEAK = {"v1": "memory.max_usage_in_bytes", "v2": "memory.peak"}
# So that the limit is one: without swap, and with the kill switched on. Not every kernel has each of them.
_STRICT: dict[str, dict[str, str | None]] = {
    "v1": {"memory.memsw.limit_in_bytes": None, "memory.swappiness": "0", "memory.oom_control": "0"},
    "v2": {"memory.swap.max": "0"},
}
_JOIN = "import sys; open(sys.argv[1], 'w').write('0')"
# A process that is being killed leaves its cgroup a moment after it was waited for.
_REMOVE_S = 10.0


class Seat(Protocol):
    """One pool's place."""

    @property
    def join(self) -> str | None:
        """The file by which a process enters; None: there is nothing to enter."""

    def used(self, pid: int) -> int:
        """Return what is held there now, in bytes."""

    def peak(self) -> int | None:
        """Return the most that was ever held, in bytes; None if nobody counted."""

    def kills(self) -> int:
        """Return how many processes the kernel has killed there for want of memory."""


class Arena(Protocol):
    """A place for each pool. *real*: the kernel kills. *why*: how it came to be this arena, for people."""

    real: bool
    why: str

    def seat(self, name: str, memory: int) -> Seat:
        """Make the place of a pool."""

    def close(self) -> None:
        """Take away everything that was made."""


class CgroupSeat:
    """A cgroup made for one pool."""

    def __init__(self, directory: str, version: str) -> None:
        self._files, self._version, self._place = Files(), version, Place(directory, 0)

    @property
    def join(self) -> str:
        """See `Seat`."""
        return f"{self._place.directory}/cgroup.procs"

    def used(self, pid: int) -> int:  # noqa: ARG002  # the cgroup knows
        """See `Seat`."""
        use = levels.read_memory_use(self._files, self._version, self._place)
        return 0 if use is None else use.unreclaimable

    def peak(self) -> int | None:
        """See `Seat`."""
        return self._files.value(f"{self._place.directory}/{_PEAK[self._version]}", parse.parse_count)

    def kills(self) -> int:
        """See `Seat`."""
        return levels.read_memory_events(self._files, self._version, self._place)[0].get("oom_kill", 0)


class CgroupArena:
    """Makes cgroups in *parent*, named *name* and the pool's."""

    real = True

    def __init__(self, parent: str, version: str, name: str) -> None:
        self._parent, self._version, self._name = parent, version, name
        self._made: list[str] = []
        self.why = f"{parent}/{name}-*"

    def seat(self, name: str, memory: int) -> CgroupSeat:
        """
        Make a cgroup that may hold *memory* bytes.

        Raises:
            OSError: it may not be made, exists already, or does not take a limit.
        """
        directory = f"{self._parent}/{self._name}-{name}"
        Path(directory).mkdir()  # never one that was there before
        self._made.append(directory)
        _put(directory, _LIMIT[self._version], str(memory))
        for file, value in _STRICT[self._version].items():
            with suppress(OSError):
                _put(directory, file, str(memory) if value is None else value)
        return CgroupSeat(directory, self._version)

    def try_out(self) -> None:
        """
        Make one and send a process there, to see whether that is allowed.

        Raises:
            OSError: it is not.
        """
        try:
            seat = self.seat("try", 64 << 20)
            command = [sys.executable, "-I", "-S", "-c", _JOIN, seat.join]
            result = subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603  # ourselves
            if result.returncode:
                last = result.stderr.decode(errors="replace").strip().rpartition("\n")[2]
                raise OSError(f"no process may enter {seat.join} ({last})")
        finally:
            self.close()

    def close(self) -> None:
        """Remove them, having waited for what is dying inside."""
        until = time.monotonic() + _REMOVE_S
        while self._made:
            try:
                Path(self._made[-1]).rmdir()
            except FileNotFoundError:
                pass
            except OSError:  # EBUSY
                if time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                sys.stderr.write(f"cgexec-py: could not remove {self._made[-1]}\n")
            self._made.pop()


class RlimitSeat:
    """No place at all: the child limits itself."""

    join = None

    def used(self, pid: int) -> int:
        """See `Seat`."""
        return private_bytes(pid)

    def peak(self) -> int | None:
        """See `Seat`."""
        return None

    def kills(self) -> int:
        """See `Seat`."""
        return 0


class RlimitArena:
    """Where no cgroup may be made."""

    real = False

    def __init__(self, why: str) -> None:
        self.why = why

    def seat(self, name: str, memory: int) -> RlimitSeat:  # noqa: ARG002  # nothing to make
        """See `Arena`."""
        return RlimitSeat()

    def close(self) -> None:
        """See `Arena`."""


def _put(directory: str, file: str, value: str) -> None:
    with Path(directory, file).open("r+", encoding="ascii") as opened:  # never makes one
        opened.write(value)


def open_arena(*, simulate: bool, room: int, memory: int, prefix: str = "cgexec-demo") -> Arena:
    """
    Return the best arena there may be.

    Args:
        simulate: make no cgroup, even where one may be made.
        room: bytes that may still be used here; a limit that does not fit into it would hit somebody else.
        memory: the limit, in bytes.
        prefix: how the names of cgroups begin.

    Raises:
        ValueError: there is no room, or this is not Linux.
    """
    if not is_linux():
        raise ValueError(
            "demo: only Linux limits a process's memory. In a container: "
            'docker run --rm --memory 1g python sh -c "pip install cgexec && python -m cgexec demo"'
        )
    if room < memory + (64 << 20):
        raise ValueError(
            f"demo: {format_bytes(room)} can still be used here, and a limit of {format_bytes(memory)} needs "
            "64 MiB more than itself: pass a smaller --memory (at least 96Mi)"
        )
    if simulate:
        return RlimitArena("--simulate")
    return _cgroup_arena(f"{prefix}-{os.getpid()}")


def _cgroup_arena(name: str) -> Arena:
    files = Files()
    chain = locate_own(files).chains.get("memory")
    if chain is None or not chain.own:
        return RlimitArena("no memory cgroup of this process is visible")
    why = "no cgroup above hands the memory controller down"
    # v1: below our own cgroup. v2 allows no processes beside child cgroups, so it will mostly be one above our own.
    for place in chain.places if chain.version == "v2" else chain.places[:1]:
        if chain.version == "v2":
            handed = files.text(f"{place.directory}/cgroup.subtree_control") or ""
            if "memory" not in handed.split():
                continue
        arena = CgroupArena(place.directory, chain.version, name)
        try:
            arena.try_out()
        except (OSError, subprocess.TimeoutExpired) as error:
            why = f"no cgroup may be made: {error}"
        else:
            return arena
    return RlimitArena(why)
