"""
What came and went between two looks, by the highest point that the kernel keeps (VmHWM, proc_pid_status(5)). Pure.

That point counts file pages, too, and says neither when it was reached nor by whom.
"""

from cgexec._memory.gauge import Own

__all__ = ["Spikes"]


class Spikes:
    """Follows the highest point. Used by one thread at a time."""

    def __init__(self) -> None:
        self._most_resident = 0
        self._most_file = 0  # the most pages of files that a look found mapped

    def see(self, own: Own, *, ours: bool) -> int:
        """
        Return by how much private memory has exceeded what it is now, in bytes, as far as nothing else explains it.
        Unless what the process did since the last look is *ours*, the highest point is only noted.
        """
        before, self._most_resident = self._most_resident, max(self._most_resident, own.most_resident)
        self._most_file = max(self._most_file, own.file)
        if not ours or not own.most_resident > before > 0:
            return 0
        return max(0, own.most_resident - own.resident - (self._most_file - own.file))
