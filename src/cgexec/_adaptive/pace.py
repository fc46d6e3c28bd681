"""How fast tasks end at one size, once enough have ended to tell. Pure."""

from cgexec._adaptive.samples import Sample, View, between

__all__ = ["ENOUGH", "Backoff", "Pace"]

# A rate is known from so many ended tasks, or twice as many as run if that is more: they come in lumps, as those that
# began together end together.
ENOUGH = 16
# And over so many seconds: one quota period or more.
_LEAST_S = 0.1
# Or over so many, if the CPUs tell what the tasks do before any has ended.
_LONG_S = 1.0
# The first tasks at a new size began at the old one: until as many have ended as make a rate, or by how long they take,
# so many seconds at most.
_SETTLE_MOST_S = 5.0


class Pace:
    """
    What tasks do while the size stays. *seen* is the last full measurement, None until there is one; *begun* is whether
    any task has ended meanwhile.

    Samples in which the pool was not pressed do not count: with nothing to do every size is equally fast.
    """

    def __init__(self, now: float, mean: float | None) -> None:
        self.seen: View | None = None
        self.begun = False
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
            told = view.ended >= enough and view.seconds >= _LEAST_S
            if told or (view.seconds >= _LONG_S and view.demand >= clear):
                self.seen, self._base = view, sample


class Backoff:
    """
    What failed is not tried again for a while, each time for twice as long. *load* is that of the failure: with half of
    it, or another number of CPUs, all may be different.
    """

    def __init__(self, least: float, most: float) -> None:
        self._least, self._most = least, most
        self.until = 0.0
        self._pause = least
        self._load = self._cpus = 0.0

    def fail(self, now: float, load: float, cpus: float) -> None:
        """Take in a failure."""
        self.until = now + self._pause
        self._pause = min(self._most, 2 * self._pause)
        self._load, self._cpus = load, cpus

    def reset(self) -> None:
        """Forget the failures."""
        self.until, self._pause = 0.0, self._least

    def holds(self, now: float, load: float, cpus: float) -> bool:
        """Return whether it is too early to try again."""
        if now >= self.until:
            return False
        if load < 0.5 * self._load or cpus != self._cpus:
            self.reset()
            return False
        return True
