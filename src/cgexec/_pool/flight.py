"""
The flight recorder of this process (``CGEXEC_STATE_DIR``): what the look at memory tells it, in a fork and at the end.

Off, and nothing of it loaded, unless the variable is set.
"""

import os
from typing import TYPE_CHECKING

from cgexec._memory.gauge import Reading
from cgexec._pool.holding import Need
from cgexec._pool.parting import at_end

if TYPE_CHECKING:
    from cgexec._pool.recording import Recording

__all__ = ["flight"]

_VARIABLE = "CGEXEC_STATE_DIR"


class Flight:
    """Asks once whether it is wanted. Used by one thread at a time: whoever looks at memory."""

    def __init__(self) -> None:
        self._asked = False
        self._recording: Recording | None = None

    @property
    def records(self) -> bool:
        """Whether it is wanted, and can be had: then looks are due by time also where there is no memory limit."""
        return self._recording is not None

    def record(self, reading: Reading | None, needs: list[Need], now: float) -> None:
        """Write what runs; the first time, say how the last process ended."""
        if not self._asked:
            self._asked = True
            folder = os.environ.get(_VARIABLE)
            if folder:
                self._start(folder, reading)
        if (recording := self._recording) is not None:
            recording.record(reading, needs, now)

    def _start(self, folder: str, reading: Reading | None) -> None:
        from cgexec._pool.recording import start

        self._recording = start(folder, _VARIABLE, reading)
        at_end(_close)

    def close(self) -> None:
        """The process ends well."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.recorder.close()

    def let_go(self) -> None:
        """Leave the file to the parent process."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.recorder.let_go()


_flight = Flight()


def flight() -> Flight:
    """Return the one of this process."""
    return _flight


def _close() -> None:
    _flight.close()


def _after_fork_in_child() -> None:
    global _flight  # the file is the parent's
    forked, _flight = _flight, Flight()
    forked.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
