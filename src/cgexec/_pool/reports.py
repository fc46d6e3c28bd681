"""What is said about memory: in the log, each thing once or seldom, and to whoever asks for `stats`."""

from cgexec._memory.gauge import Reading
from cgexec._memory.planner import Planner
from cgexec._memory.relief import Relief, Relieved
from cgexec._pool.holding import Need
from cgexec._pool.log import Log
from cgexec._pool.overdue import function_name
from cgexec._pool.task import Task
from cgexec._quantity import format_bytes

__all__ = ["Reports"]

_LOGGER = Log("cgexec")
# A hold is worth a warning after so many seconds, and again each time it has doubled.
_LONG_S = 10.0
# So long after the last hold, in seconds, one that begins is another.
_FORGET_S = 60.0


class Reports:
    """Remembers what was said. Used by one thread at a time."""

    def __init__(self) -> None:
        self._started = False
        self._siblings = 1
        self._alone: set[str] = set()
        self._warned: dict[str, float] = {}
        self._last_held: dict[str, float] = {}
        self._would_hold: dict[str, int] = {}
        self._blind = self._unheld = False
        self._forced: dict[str, float] = {}
        self._corrected = 1.0
        self._troubled = 0
        self._starved = 0
        self._thrashed = -_FORGET_S

    def start(self, reading: Reading) -> None:
        """Say once what the container has been through, and when others share it."""
        if not self._started:
            self._started = True
            if reading.oom_kills:
                _LOGGER.info(
                    "[memory-oom-kills] the kernel has killed %d process(es) of this container for memory before now "
                    "(limit %s, %s)",
                    reading.oom_kills, format_bytes(reading.limit), reading.source,
                )  # fmt: skip
        if reading.processes > self._siblings:
            self._siblings = reading.processes
            _LOGGER.info(
                "[memory-shared] %d processes share the memory limit of %s, so each plans with its part of what is "
                "free (CGEXEC_PROCESSES= or processes= says otherwise)",
                reading.processes, format_bytes(reading.limit),
            )  # fmt: skip

    def alone(self, pool: str, task: Task, price: float, planner: Planner) -> None:
        """Say beforehand, once a function, that a task is about to run which does not fit even alone."""
        reading = planner.reading
        if reading is None or price <= reading.room:
            return
        name = function_name(task)
        if name not in self._alone:
            self._alone.add(name)
            _LOGGER.warning(
                "[memory-too-large] pool %r: %s needs about %s, and only %s of %s are free: it runs alone, and the "
                "kernel may kill the process for it. Raise the memory limit, or have it take less.",
                pool, name, format_bytes(round(price)), format_bytes(max(0, reading.room)), format_bytes(reading.limit),
            )  # fmt: skip

    def forced(self, pool: str, seconds: float, planner: Planner) -> None:
        """Say that one task is started though memory does not suffice, so that the pool does not stand still."""
        reading = planner.reading
        if reading is not None and seconds >= 2 * self._forced.get(pool, 0.0):
            self._forced[pool] = seconds
            _LOGGER.warning(
                "[memory-forced] pool %r: nothing runs, and memory has not sufficed for %.1f s (%s of %s in use): one "
                "task is started all the same, since whoever holds the memory may be waiting for it",
                pool, seconds, format_bytes(reading.used), format_bytes(reading.limit),
            )  # fmt: skip

    def held(self, pools: list[tuple[str, Need]], planner: Planner, now: float) -> None:
        """Warn of what is held back for long, of all *pools*; say when given estimates are too small."""
        reading = planner.reading
        self._last_held.update((name, now) for name, need in pools if need.held_since is not None)
        self._last_held = {name: when for name, when in self._last_held.items() if now - when < _FORGET_S}
        self._warned = {name: seconds for name, seconds in self._warned.items() if name in self._last_held}
        self._forced = {name: seconds for name, seconds in self._forced.items() if name in self._last_held}
        for name, need in pools:
            seconds = 0.0 if need.held_since is None else now - need.held_since
            if reading is None or seconds < max(_LONG_S, 2 * self._warned.get(name, 0.0)):
                continue
            self._warned[name] = seconds
            _LOGGER.warning(
                "[memory-held] pool %r: %d waiting have been held back for %.0f s by memory: %s of %s in use (%s), "
                "%d running%s; the oldest has waited for %.0f s. Lower max_workers or the memory of a task, or raise "
                "the limit.",
                name, need.waiting, seconds, format_bytes(reading.used), format_bytes(reading.limit), reading.source,
                len(need.busy), _longest(need, now), 0.0 if need.head is None else now - need.head.since,
            )  # fmt: skip
        if planner.correction > 1.25 * self._corrected:
            self._corrected = planner.correction
            _LOGGER.warning(
                "[memory-underestimated] tasks take %.1f times the memory they are said to need (memory_per_task=, "
                "options(memory=)); that is what they count with from now on", planner.correction,
            )  # fmt: skip

    def observed(self, pool: str, count: int) -> None:
        """Say what would have been held back, at the first, second, fourth ... time."""
        before, self._would_hold[pool] = self._would_hold.get(pool, 0), count
        if before.bit_length() < count.bit_length():
            _LOGGER.info(
                "[memory-would-hold] pool %r: enforced, %d start(s) would have waited for memory so far "
                "(CGEXEC_MODE=observe)", pool, count,
            )  # fmt: skip

    def blind(self, notes: list[str]) -> None:
        """Say once that memory cannot be read, until it can."""
        if not self._blind:
            self._blind = True
            _LOGGER.warning(
                "[memory-unreadable] the memory limit, or what is used of it, cannot be read: tasks run one at a time "
                "until it can (%s)", "; ".join(notes[:3]) or "the files are not there",
            )  # fmt: skip

    def unheld(self, told: int) -> None:
        """Say once that nothing can be held to what CGEXEC_MEMORY says."""
        if not self._unheld:
            self._unheld = True
            _LOGGER.warning(
                "[memory-unreadable] CGEXEC_MEMORY=%s is not kept to: nothing here tells how much memory is used, so "
                "no task is held back", format_bytes(told, exact=True),
            )  # fmt: skip

    def sighted(self) -> None:
        """Memory can be read."""
        self._blind = False

    def starved(self, failed: int, running: int, limit: float, reading: Reading | None) -> None:
        """Say that memory ran out for tasks; not every time."""
        before, self._starved = self._starved, self._starved + failed
        if before.bit_length() == self._starved.bit_length():  # said at the first, second, fourth ...
            return
        use = "" if reading is None else f" ({format_bytes(reading.used)} of {format_bytes(reading.limit)} in use now)"
        if running == 1:
            _LOGGER.warning(
                "[memory-errors] memory ran out for a task that ran alone%s: it needs more than there is. Raise the "
                "memory limit, or have it take less.", use,
            )  # fmt: skip
            return
        _LOGGER.warning(
            "[memory-errors] memory ran out for %d task run(s) so far, of late with %d running%s: at most %d run side "
            "by side for now. "
            "A memory_per_task=, or fewer max_workers, saves what they did in vain.",
            self._starved, running, use, limit,
        )  # fmt: skip

    def room_for_files(self, more: int, now: float, *, thrashes: bool) -> None:
        """Say that more is kept free for files, as they do not fit or might not; the former at most once a minute."""
        if not thrashes:
            _LOGGER.info(
                "[page-cache-room] tasks read files, and no surprise is allowed for: %s is kept free for these for now",
                format_bytes(more),
            )
        elif now - self._thrashed >= _FORGET_S:
            self._thrashed = now
            _LOGGER.warning(
                "[page-cache-thrash] tasks leave too little memory for the files they read, so these are fetched from "
                "the disk again and again: %s more is kept free for now. Lower max_workers or the memory of a task, "
                "or raise the limit.", format_bytes(more),
            )  # fmt: skip

    def pinned(self, large: int | None) -> None:
        """Say that the allocator works another way now; None if it does not."""
        if large is not None:
            _LOGGER.info(
                "[memory-allocator] memory is short: the C library returns freed blocks of %s and more at once from now"
                " on", format_bytes(large),
            )  # fmt: skip

    def relieved(self, relieved: Relieved | None, relief: Relief) -> None:
        """Say what came of asking memory back."""
        if relieved is not None and relief.times & (relief.times - 1) == 0:  # the first, second, fourth ...
            _LOGGER.info(
                "[memory-relieved] %s gave back %s in %.0f ms (%d times so far, %s in all)",
                "gc.collect() and malloc_trim()" if relieved.collected else "malloc_trim()",
                format_bytes(max(0, relieved.bytes)), relieved.seconds * 1000, relief.times, format_bytes(relief.bytes),
            )  # fmt: skip

    def trouble(self, error: BaseException) -> None:
        """Say that a look failed; not every time."""
        self._troubled += 1
        if self._troubled & (self._troubled - 1) == 0:  # the first, second, fourth, eighth ...
            _LOGGER.warning(
                "[memory-unreadable] looking at memory failed (%r), %d times so far; going on", error, self._troubled
            )


def _longest(need: Need, now: float) -> str:
    """Return in words which task has been running longest."""
    task, since = min(need.busy, key=lambda each: each[1], default=(None, now))
    return "" if task is None or task.fn is None else f", the longest {function_name(task)} for {now - since:.0f} s"
