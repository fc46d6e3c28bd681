"""
The look at memory that is taken again and again: the container's use against its limits, and this process's own.

A look costs some ten microseconds, since the descriptors stay open. Where the limits stand is looked up anew once a
second: Kubernetes resizes pods in place, and a process can be moved to another cgroup.
"""

import os
from typing import NamedTuple

from cgexec._environ import read_environ
from cgexec._kernel import levels, parse
from cgexec._kernel.files import Files, printable
from cgexec._kernel.kept import KeptFiles
from cgexec._kernel.locate import Chain, Place
from cgexec._memory.siblings import children, count_like, descendants
from cgexec._memory.thrash import FileReads
from cgexec._snapshot import locate_own

try:
    import resource as _resource
except ImportError:  # Windows
    _resource = None  # type: ignore[assignment]

__all__ = ["Gauge", "Own", "Reading"]

_REFRESH_S = 1.0
# Where the fuse rests on them, the limits themselves are read so often, in seconds: it has to be lowered before use
# meets one that is.
_CLOSE_S = 0.05
_TOLD = "CGEXEC_MEMORY"
_STATUS = "/proc/self/status"
_STATM = "/proc/self/statm"
_IO = "/proc/self/io"
# What a major fault may read: a file that is mapped is asked for by these, and read ahead without.
_FAULT = 2 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_KEYS = frozenset({"RssAnon", "RssFile", "RssShmem", "VmRSS", "VmHWM", "VmData"})


class Own(NamedTuple):
    """What this process holds, in bytes: /proc/self/status. *data* is what RLIMIT_DATA counts."""

    private: int  # RssAnon, with that of child processes where these do the work
    shared: int  # RssShmem
    resident: int
    most_resident: int  # VmHWM: the most that `resident` ever was
    data: int  # VmData
    threads: int = 1
    file: int = 0  # RssFile: pages of files that are mapped


class Reading(NamedTuple):
    """
    Memory at one instant, in bytes, of the level with the least room.

    *used* is what reclaim cannot give back, waiting for the disk if need be; *limit* the least of ``memory.max`` and
    ``memory.high`` there, or what CGEXEC_MEMORY says; *source* where it stands. *processes* are those that share it, as
    far as can be seen. *before* is the process's own private memory just before *used* was read, as ``own.private`` is
    just after; None if not asked for. *alone*: nothing counts what the container uses, so *used* is this process's own.
    *reusable*: of *used*, what lies free in the allocator, and the next task can have without use growing.
    """

    used: int
    limit: int
    source: str
    own: Own | None
    processes: int
    oom_kills: int | None
    before: int | None = None
    alone: bool = False
    reusable: int = 0

    def part(self) -> "Reading":
        """Return it with the part of the limit that is this process's, where what the others use is not known."""
        if not self.alone or self.processes < 2:
            return self
        return self._replace(limit=self.limit // self.processes, processes=1)

    @property
    def room(self) -> int:
        """What is left before the limit; negative above it."""
        return self.limit - self.used

    @property
    def live(self) -> int:
        """What is used, and not free for the next task."""
        return self.used - self.reusable


class _Level(NamedTuple):
    limit: int
    place: Place | None  # None: the use of the process's own cgroup is taken
    source: str
    alone: bool = False  # no cgroup counts, so that of this process is taken


class Gauge:
    """Reads memory. Used by one thread at a time; never raises for anything a kernel file holds or refuses."""

    def __init__(self) -> None:
        self.files = KeptFiles()
        self.blind = False  # what is limited cannot be read, which is not to say that nothing is
        self.unheld: int | None = None  # what CGEXEC_MEMORY says, where nothing tells what is used
        self.with_children = False  # the work is done by child processes, so what they hold is our own
        self._due = self._close_due = 0.0
        self._chain: Chain | None = None
        self._levels: list[_Level] = []
        self._unseen: list[_Level] = []  # limits that stand in no file of a level
        self._processes = 1
        self._kills: int | None = None
        self._children: tuple[int, ...] = ()

    def read(self, now: float, *, closely: bool = False) -> Reading | None:
        """
        Return memory as it is now, None where no limit is set; also where it cannot be read, and then *blind* is set.
        *closely*: see `Reading.before`, and limits that were changed are seen sooner.
        """
        fresh = now >= self._due
        if fresh:
            self._refresh(now)
        elif closely and now >= self._close_due:
            self._reread()
            self._close_due = now + _CLOSE_S
        found = self._read(closely)
        if found is None and self._levels and not fresh and not self.blind:  # the cgroup may be another by now
            self._refresh(now)
            found = self._read(closely)
        if self._levels:
            self.blind = found is None
        return found

    def _read(self, closely: bool) -> Reading | None:
        if not self._levels:
            return None
        before = self._private() if closely else None
        seen: dict[Place, int | None] = {}
        uses = [(level, self._used(level, seen)) for level in self._levels if not level.alone]
        own = self.own()
        if own is not None and all(used is not None for _, used in uses):
            uses += [(level, own.private + own.shared) for level in self._levels if level.alone]
        rooms = [(level.limit - used, used, level) for level, used in uses if used is not None]
        if not rooms:
            return None
        _, used, level = min(rooms, key=lambda each: each[0])
        return Reading(used, level.limit, level.source, own, self._processes, self._kills, before, alone=level.alone)

    def _used(self, level: _Level, seen: dict[Place, int | None]) -> int | None:
        """Return what the level's cgroup uses, None where nobody counts it. *seen*: what was read at this look."""
        chain = self._chain
        if chain is None:
            return None
        place = level.place or chain.places[0]
        if place not in seen:
            use = levels.read_memory_use(self.files, chain.version, place)
            seen[place] = None if use is None else use.held
        return seen[place]

    def own(self) -> Own | None:
        """Return what this process holds, None where that cannot be read."""
        text = self.files.text(_STATUS)
        sizes = {} if text is None else parse.parse_kib_table(text, _KEYS)
        if not {"VmRSS", "VmData"} <= sizes.keys():
            return None
        private = sizes.get("RssAnon", sizes["VmRSS"])  # older than Linux 4.5
        resident = sizes["VmRSS"]
        private += sum(map(self._private_of, self._children))
        threads = parse.parse_status_word(text or "", "Threads") or ""
        return Own(
            private,
            sizes.get("RssShmem", 0),
            resident,
            sizes.get("VmHWM", resident),
            sizes["VmData"],
            int(threads) if threads.isdecimal() else 1,
            sizes.get("RssFile", 0),
        )

    def file_reads(self) -> FileReads | None:
        """Return what this process and those of its children that have ended read from files, None where unknown."""
        chain = self._chain
        again = None if chain is None else levels.read_refaults(self.files, chain.version, chain.places[0])
        text = self.files.text(_IO) or ""
        words = [parse.parse_status_word(text, key) or "" for key in ("rchar", "read_bytes")]
        if _resource is None or again is None or not all(word.isdecimal() for word in words):
            return None
        whose = (_resource.RUSAGE_SELF, _resource.RUSAGE_CHILDREN)
        faults = sum(_resource.getrusage(who).ru_majflt for who in whose)
        return FileReads(int(words[0]) + faults * _FAULT, int(words[1]), again * _PAGE)

    def _private(self) -> int | None:
        """Return RssAnon by the file that is quickest to read (proc_pid_statm(5)): resident less shared pages."""
        words = (self.files.text(_STATM) or "").split()
        if len(words) < 3 or not (words[1].isdecimal() and words[2].isdecimal()):
            return None
        return (int(words[1]) - int(words[2])) * _PAGE

    def _private_of(self, child: int) -> int:
        text = Files.text(self.files, f"/proc/{child}/status")  # not kept: it may be gone the next time
        sizes = {} if text is None else parse.parse_kib_table(text, _KEYS)
        return sizes.get("RssAnon", sizes.get("VmRSS", 0))

    def close(self) -> None:
        """Let the descriptors go until the next look."""
        self.files.close()
        self._due = 0.0

    def _refresh(self, now: float) -> None:
        """Look anew where the limits stand. What cannot be looked up stays as it was."""
        files = self.files
        files.notes.clear()
        files.check()
        files.starved = False
        self._due, self._close_due = now + _REFRESH_S, now + _CLOSE_S
        chain = locate_own(files).chains.get("memory")
        told = self._told()
        alone = told is not None and not self._is_counted(chain)
        unheld = alone and self.own() is None
        if files.starved:
            self.blind = not self._levels
            self._due = now
            return
        self.blind = False
        self.unheld = told if unheld else None
        self._chain, self._levels, self._unseen = chain, [], []
        self._processes, self._kills, self._children = 1, None, ()
        hidden = None if chain is None else levels.read_hidden_limit(files, chain)
        if hidden is not None:
            self._unseen.append(_Level(hidden.value, None, printable(hidden.file)))
        if told is not None and not unheld:  # it replaces the host's memory, never a limit that the kernel kills for
            self._unseen.append(_Level(told, None, f"{_TOLD}, for this process" if alone else _TOLD, alone))
        self._reread()
        if self._levels:
            self._count_processes()

    def _is_counted(self, chain: Chain | None) -> bool:
        """Return whether a cgroup counts what is used: not the real root of v2, nor where memory is not controlled."""
        if chain is None:
            return False
        use = levels.read_memory_use(self.files, chain.version, chain.places[0])
        return use is not None or any(level.stated for level in levels.read_memory_levels(self.files, chain)[:1])

    def _count_processes(self) -> None:
        """Look who shares the memory, who of them are our children, and whether somebody was killed for it."""
        files, chain = self.files, self._chain
        pids: tuple[int, ...] = ()
        if chain is not None:
            events, _ = levels.read_memory_events(files, chain.version, chain.places[0])
            self._kills = events.get("oom_kill")
            pids = levels.read_processes(files, chain)
            self._processes = count_like(files, pids)
        if not self.with_children:
            return
        if any(level.alone for level in self._levels):
            self._children = children(files)
        elif self._processes > 1:  # only where others share the container: else its use is ours, children included
            self._children = descendants(files, pids)

    def _reread(self) -> None:
        """Read the limits of the levels that are known."""
        chain = self._chain
        found = () if chain is None else levels.read_memory_levels(self.files, chain)
        seen = [
            _Level(level.binding, level.place, printable(level.file)) for level in found if level.binding is not None
        ]
        self._levels = seen + [
            each for each in self._unseen if each.source.startswith(_TOLD) or all(each.limit < s.limit for s in seen)
        ]

    def _told(self) -> int | None:
        try:
            return read_environ(os.environ, {}).memory
        except ValueError:  # said when the pool was made; meanwhile somebody changed the environment
            return None
