"""How fast tasks end at one size, once enough have ended to tell. Pure."""

from cgexec._adaptive.samples import Sample, View, between

__all__ = ["ENOUGH", "EVIDENCE_S", "Backoff", "Pace", "fell"]

# A rate is known from so many ended tasks, or twice as many as run if that is more: they come in lumps, as those that
# began together end together.
ENOUGH = 16
# And over so many seconds: one quota period or more.
_LEAST_S = 0.1
# Or over so many, if the CPUs tell what the tasks do before any has ended.
_LONG_S = 1.0
# Or as they took so long to end: after so many seconds, and as long as a task takes, the least number is enough.
EVIDENCE_S = 30.0
# The first tasks at a new size began at the old one: until as many have ended as make a rate, or by how long they take,
# so many seconds at most.
_SETTLE_MOST_S = 5.0
# Work is other work if it uses less than this part of the CPUs it used. In a short look that may be chance where the
# CPUs are mostly unused: there so many tasks have to have been due in it, which is half by three standard deviations.
_LESS, _MANY = 0.5, 36
# A trial is made no more often than leaves so many times as long without one.
_TIMES = 3.0


class Pace:
    """
    What tasks do while the size stays. *seen* is the last full measurement, None until there is one; *begun* is whether
    any task has ended meanwhile, *telling* whether so many have that it will be known.

    Samples in which the pool was not pressed do not count: with nothing to do every size is equally fast.
    """

    def __init__(self, now: float, mean: float | None) -> None:
        self.seen: View | None = None
        self.begun = self.telling = False
        self._from = now + min(mean or 0.0, _SETTLE_MOST_S)
        self._base: Sample | None = None
        self._ended: int | None = None

    def feed(self, sample: Sample, *, pressed: bool, clear: float) -> None:
        """
        Take in a sample; *pressed* is whether all workers were busy and something waited. From *clear* CPUs on, their
        use tells enough.
        """
        if self._ended is None:
            self._ended = sample.ended
        self.begun = sample.ended > self._ended
        enough = max(ENOUGH, 2 * sample.running)
        settled = sample.time >= self._from or sample.ended - self._ended >= enough
        if not pressed or not settled:
            self._base = None
        elif self._base is None:
            self._base = sample
        else:
            view = between(self._base, sample)
            self.telling = view.ended >= ENOUGH
            told = view.ended >= enough and view.seconds >= _LEAST_S
            late = self.telling and view.seconds >= max(EVIDENCE_S, view.mean or 0.0)
            if told or late or (view.seconds >= _LONG_S and view.demand >= clear):
                self.seen, self._base = view, sample

    def rest(self) -> None:
        """Forget where the measurement under way began: there was nothing to do meanwhile."""
        self._base = None


def fell(view: View, cpu: float, rate: float, cpus: float) -> bool:
    """Return whether what is used fell from *cpu*, while *rate* tasks ended a second, so far that it is other work."""
    return view.demand < _LESS * cpu and (cpu >= _LESS * min(1.0, cpus) or rate * view.seconds >= _MANY)


class Backoff:
    """
    What failed is not tried again for a while, each time for twice as long, and for some times as long as it took to
    see that it failed; with other work, or another number of CPUs, all may be different.
    """

    def __init__(self, least: float, most: float) -> None:
        self._least, self._most = least, most
        self.until = 0.0
        self._pause = least
        self._demand = self._rate = self._cpus = 0.0

    def fail(self, now: float, view: View, cpus: float, took: float = 0.0) -> None:
        """Take in a failure, which was seen in *took* seconds."""
        self.until = now + max(self._pause, _TIMES * took)
        self._pause = min(self._most, 2 * self._pause)
        self._demand, self._rate, self._cpus = view.demand, view.rate, cpus

    def reset(self) -> None:
        """Forget the failures."""
        self.until, self._pause = 0.0, self._least

    def holds(self, now: float, view: View, cpus: float) -> bool:
        """Return whether it is too early to try again."""
        if now >= self.until:
            return False
        if cpus != self._cpus or fell(view, self._demand, self._rate, cpus):
            self.reset()
            return False
        return True
