"""Whether tasks seem to wait for the interpreter lock, as far as the use of the CPUs tells. Pure."""

from typing import NamedTuple

from cgexec._adaptive.reasons import SOME_THROTTLED, crowded
from cgexec._adaptive.samples import Sample, View

__all__ = ["AS_LOCKED", "InterpreterLock"]

# It is taken for used up if all threads together use about what one may: between these parts of it.
_FROM, _TO = 0.85, 1.15
AS_LOCKED = ", about one CPU: as with the interpreter lock"


class InterpreterLock(NamedTuple):
    """The lock that threads share, or with *shared* False the build of Python that has none."""

    shared: bool

    def alone(self, sample: Sample) -> float:
        """Return the CPUs that are there for certain: with an interpreter lock one, if nobody ever lets go of it."""
        return min(sample.cpus, 1.0) if self.shared else sample.cpus

    def is_used_up(self, view: View, sample: Sample) -> bool:
        """
        Return whether it looks as if tasks wait for it: about one CPU is used, there are more, and nobody waits for
        those, nor does a quota run out. Where there is no more than one to be had, the lock cannot be told from it.
        """
        alone = self.alone(sample)
        short = crowded(view, sample.cpus) or (view.throttled or 0.0) > SOME_THROTTLED
        if not self.shared or sample.cpus < _TO * alone or short:
            return False
        return _FROM * alone <= view.cpu <= _TO * alone
