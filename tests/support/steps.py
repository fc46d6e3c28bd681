"""A controller, fed by hand."""

from cgexec._adaptive.controller import Controller
from cgexec._adaptive.samples import Sample

BASE = Sample(
    time=0.0, running=8, idle=0, waiting=100, ended=0, task_seconds=0.0, cpu_seconds=0.0, cpus=2.0, floor=1,
    ceiling=100, periods=0, throttled=0,
)  # fmt: skip


class Bench:
    """A controller and the clock; each `step` is so many seconds in which so much happened."""

    def __init__(self, size=8, *, gil=False, **changes):
        self.controller = Controller(size, gil=gil)
        self.last = BASE._replace(running=size, **changes)
        self.controller.step(self.last)

    def step(self, seconds=0.1, *, cpu=0.0, ended=0, throttled=0.0, queued=None, **changes):
        old = self.last
        new = old._replace(
            time=old.time + seconds,
            cpu_seconds=old.cpu_seconds + cpu * seconds,
            ended=old.ended + ended,
            running=self.controller.size,
        )
        if old.periods is not None:
            new = new._replace(periods=old.periods + 10, throttled=old.throttled + round(10 * throttled))
        if queued is not None:
            new = new._replace(queued=(old.queued or 0.0) + queued * seconds)
        self.last = new._replace(**changes)
        return self.controller.step(self.last)
