"""Whether tasks wait for the interpreter lock: by the use of the CPUs, and how often it is found taken. Pure."""

import math
import sys
from typing import NamedTuple

from cgexec._adaptive.reasons import OURS, PERIOD_S, SOME_THROTTLED, crowded
from cgexec._adaptive.samples import Sample, View

__all__ = ["USED_UP", "InterpreterLock"]

# It is taken for used up if all threads together use about what one may: between these parts of it.
_FROM, _TO = 0.85, 1.15
# By how often it was found taken: from the first on nothing more is to be had of it, from the second on fewer are
# worth a trial, and below the third it is not what tasks wait for.
_TAKEN, _SEEN, _FREE = 0.9, 0.7, 0.5
# So many seconds it may take until that is known.
_ASKED_S = 1.0
USED_UP = "the interpreter lock is used up"
# A thread that is ready asks for the lock every so many seconds (sys.getswitchinterval), and that takes so much CPU
# time, with some room; measured where a thousand did.
_SWITCH_S, _ASK_S = 0.005, 13e-6


class InterpreterLock(NamedTuple):
    """The lock that threads share, or with *shared* False the build of Python that has none."""

    shared: bool

    def alone(self, sample: Sample) -> float:
        """Return the CPUs that are there for certain: with an interpreter lock one, if nobody ever lets go of it."""
        return min(sample.cpus, 1.0) if self.shared else sample.cpus

    def is_used_up(self, view: View, sample: Sample) -> bool:
        """
        Return whether it looks as if tasks wait for it: about one CPU is used, there are more, and nobody waits for
        those, nor does a quota run out, nor is it known to be free. Where there is no more than one to be had, the lock
        cannot be told from it.
        """
        alone = self.alone(sample)
        short = crowded(view, sample.cpus) or (view.throttled or 0.0) > SOME_THROTTLED
        free = view.locked is not None and view.locked < _FREE
        if not self.shared or sample.cpus < _TO * alone or short or free:
            return False
        return _FROM * alone <= view.cpu <= _TO * alone

    def is_taken(self, view: View, share: float = _SEEN) -> bool:
        """Return whether it was found taken as often as *share*, and by this pool."""
        return view.locked is not None and view.locked >= share and view.own >= OURS * view.cpu

    def is_seen(self, view: View, sample: Sample, share: float = _SEEN) -> bool:
        """Return whether it is used up, and was found taken as often as *share*, by this pool."""
        return self.is_taken(view, share) and self.is_used_up(view, sample)

    def why_not_more(self, view: View, sample: Sample, seconds: float) -> str | None:
        """Return why a larger size would bring nothing, None if it may; there has been work for so many *seconds*."""
        if self.is_seen(view, sample, _TAKEN):
            return USED_UP
        early = view.locked is None and seconds < _ASKED_S and view.own >= OURS * view.cpu
        if early and self.is_used_up(view, sample):
            return "too early to tell how often the interpreter lock is taken"
        return None

    def ceiling(self, size: int, view: View, cpus: float) -> tuple[int, str]:
        """
        Return how many workers there may be at most, and why.

        When a quota has run out, as many are ready at its next period as tasks would have ended meanwhile, each worker
        once. They all ask for the lock again and again, and if that takes all CPU time, they are not through before
        the quota has run out again.
        """
        ready, tasks = cpus * _SWITCH_S / _ASK_S, view.rate * PERIOD_S
        most = max(ready, size * ready / tasks) if self.shared and tasks and view.throttled is not None else math.inf
        return round(min(most, sys.maxsize)), "so many more at once would use the quota up on the interpreter lock"

    def words(self, view: View, sample: Sample) -> str:
        """Return what to say of it, nothing where it is not used up."""
        if self.is_seen(view, sample):
            return f", {USED_UP}"
        return ", about one CPU: as with the interpreter lock" if self.is_used_up(view, sample) else ""
