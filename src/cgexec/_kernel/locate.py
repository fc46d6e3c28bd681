"""
Which cgroup directories concern this process: ``/proc/self/cgroup`` and ``/proc/self/mountinfo`` to chains of paths.

Pure text work. Each controller is resolved on its own: on a hybrid machine memory may be v1 and cpu v2. Its v1 line is
authoritative, the unified line (``0::``) is the rest. ``/proc/cgroups``, the order of lines and ``cgroup.controllers``
decide nothing, and no directory is ever guessed: a mount that does not show our cgroup says nothing about us.

Paths and mount roots are both relative to the reader's cgroup namespace, so ``..`` components mean "above the top of
the namespace" and equal ones cancel (cgroup_namespaces(7)).
"""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

__all__ = [
    "CONTROLLERS",
    "Chain",
    "Layout",
    "Membership",
    "Mount",
    "Place",
    "locate",
    "parse_cgroup",
    "parse_mountinfo",
]

Version = Literal["v1", "v2", "hybrid"]

CONTROLLERS = ("cpu", "memory", "pids", "cpuset")
# What makes a v1 mount a controller's and not a named hierarchy such as systemd's.
_V1_CONTROLLERS = frozenset(
    [
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "devices",
        "freezer",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
        "misc",
    ]
)
_OCTAL = re.compile(r"\\([0-7]{3})")
_USUAL = "/sys/fs/cgroup"


class Membership(NamedTuple):
    """One line of ``/proc/self/cgroup``: the cgroup of this process in one hierarchy."""

    hierarchy: int
    controllers: frozenset[str]
    path: str

    @property
    def is_unified(self) -> bool:
        """Whether this is cgroup v2's line. An empty controller list alone does not make it that."""
        return self.hierarchy == 0 and not self.controllers


class Mount(NamedTuple):
    """One line of ``/proc/self/mountinfo``, unescaped."""

    id: str
    parent: str
    root: str
    point: str
    fs_type: str
    options: frozenset[str]


class Place(NamedTuple):
    """One cgroup directory: where it is seen, and how many levels above the process's own cgroup it stands."""

    directory: str
    height: int


class Chain(NamedTuple):
    """
    The visible directories of one controller, the process's own cgroup first, then its ancestors.

    With *own* False the chain is one ancestor at an unknown distance: its limits bind us, its use is not ours alone.
    """

    version: Literal["v1", "v2"]
    places: tuple[Place, ...]
    own: bool = True


class Layout(NamedTuple):
    """Everything `locate` found. *chains* has an entry for each of `CONTROLLERS` that is visible, and ``unified``."""

    version: Version | None
    chains: Mapping[str, Chain]
    notes: tuple[str, ...]


@lru_cache(maxsize=8)
def locate(cgroup: str, mountinfo: str) -> Layout:
    """
    Return the chains for the texts of the two files.

    Remembered by the texts themselves, so a process that is moved, or a new mount, is never answered from memory.
    """
    memberships = tuple(parse_cgroup(cgroup))
    mounts = tuple(
        mount for mount in visible(tuple(parse_mountinfo(mountinfo))) if mount.fs_type in ("cgroup", "cgroup2")
    )
    chains: dict[str, Chain] = {}
    notes: list[str] = []
    for controller in (*CONTROLLERS, "unified"):
        found = _chain(controller, memberships, mounts)
        if isinstance(found, Chain):
            chains[controller] = found
        elif found is not None:
            notes.append(found)
    return Layout(_version(mounts), chains, tuple(notes))


def parse_cgroup(text: str) -> Iterator[Membership]:
    """
    Yield the lines of ``/proc/self/cgroup``: ``<id>:<controllers>:<path>``. Others are passed over.

    Only the first two colons divide: a path may hold colons, blanks, backslashes, anything but a newline.
    """
    for line in text.split("\n"):
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and path.startswith("/") and number.isascii() and number.isdigit() and len(number) < 10:
            yield Membership(int(number), frozenset(filter(None, controllers.split(","))), path)


def parse_mountinfo(text: str) -> Iterator[Mount]:
    """
    Yield the lines of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)). Others are passed over.

    Fields are divided by *single* blanks, since old kernels print an empty source as nothing between two; the optional
    fields end at the first lone ``-``; the last field may hold blanks.
    """
    for line in text.split("\n"):
        fields = line.split(" ")
        try:
            dash = fields.index("-", 6)
            fs_type, options = fields[dash + 1], " ".join(fields[dash + 3 :])
        except (ValueError, IndexError):
            continue
        root, point = _unescape(fields[3]), _unescape(fields[4])
        if root.startswith("/") and point.startswith("/"):
            yield Mount(fields[0], fields[1], root, point, fs_type, frozenset(options.split(",")))


def _unescape(field: str) -> str:
    """Undo the kernel's three-digit octal escapes of blank, tab, newline and backslash; leave any other backslash."""
    if "\\" not in field:
        return field
    return _OCTAL.sub(lambda match: os.fsdecode(bytes([int(match[1], 8) & 0xFF])), field)


def visible(mounts: tuple[Mount, ...]) -> Iterator[Mount]:
    """
    Yield the mounts that a path can still reach.

    A mount is covered by one stacked on its own point, by one with the same parent at or above its point, and with its
    parent. The order of lines proves nothing: moved mounts (``/`` itself, after an initramfs) keep their old place.
    """
    by_id = {mount.id: mount for mount in mounts}
    points = {mount.id: _components(mount.point) for mount in mounts}
    siblings: dict[str, list[Mount]] = {}
    for mount in mounts:
        siblings.setdefault(mount.parent, []).append(mount)

    def covered(mount: Mount, above: Mount | None) -> bool:
        """Whether another mount than *above*, by which we came down to this one, stands in the way."""
        here = points[mount.id]
        # The first mount of all is its own parent, and so its own child and sibling.
        children = (other for other in siblings.get(mount.id, ()) if other is not mount and other is not above)
        beside = (other for other in siblings[mount.parent] if other is not mount and other.id != mount.parent)
        return any(points[other.id] == here for other in children) or any(
            len(points[other.id]) < len(here) and _is_prefix(points[other.id], here) for other in beside
        )

    for mount in mounts:
        if mount.fs_type not in ("cgroup", "cgroup2"):
            continue
        above, walker = None, mount
        seen: set[str] = set()  # a loop of parents is nonsense, but it must not hang us
        while walker.id not in seen and not covered(walker, above):
            seen.add(walker.id)
            above, walker = walker, by_id.get(walker.parent, walker)
        if walker.id in seen:
            yield mount


def _version(mounts: tuple[Mount, ...]) -> Version | None:
    v1 = any(mount.fs_type == "cgroup" and mount.options & _V1_CONTROLLERS for mount in mounts)
    v2 = any(mount.fs_type == "cgroup2" for mount in mounts)
    return "hybrid" if v1 and v2 else "v1" if v1 else "v2" if v2 else None


def _chain(controller: str, memberships: tuple[Membership, ...], mounts: tuple[Mount, ...]) -> Chain | str | None:
    """Return the controller's chain; a note if its cgroup is named but shown by no mount; None if it is not named."""
    membership = next((m for m in memberships if controller in m.controllers), None)
    version: Literal["v1", "v2"] = "v1"
    if membership is None:
        membership, version = next((m for m in memberships if m.is_unified), None), "v2"
    if membership is None:
        return None
    if version == "v1":
        candidates = [m for m in mounts if m.fs_type == "cgroup" and controller in m.options]
    else:
        candidates = [m for m in mounts if m.fs_type == "cgroup2"]
    # The shortest root shows the most ancestors; between equals, the usual place before a stray copy.
    candidates.sort(key=lambda m: (len(_components(m.root)), not _is_prefix(_components(_USUAL), _components(m.point))))
    own = _components(membership.path)
    places = [place for mount in candidates for place in _places(mount, own)]
    if places:
        return Chain(version, tuple(places))
    if ".." not in own:
        above = [m for m in candidates if (parts := _components(m.root)) and set(parts) == {".."}]
        if above:
            return Chain(version, tuple(Place(m.point, 0) for m in above[:1]), own=False)
    if controller == "unified" or (version == "v2" and not candidates):
        return None  # said once by the caller, for all controllers
    return (
        f"{controller}: this process is in cgroup {membership.path}, which no visible mount shows"
        if candidates
        else f"{controller}: this process is in cgroup {membership.path}, but the controller is not mounted here"
    )


def _places(mount: Mount, own: list[str]) -> Iterator[Place]:
    """Yield our directories below *mount*, leaf first, mount point last; nothing if it does not show our cgroup."""
    root = _components(mount.root)
    rest = own[len(root) :]
    if not _is_prefix(root, own) or ".." in rest:
        return
    top = "" if mount.point == "/" else mount.point
    for height in range(len(rest) + 1):
        yield Place("/".join([top, *rest[: len(rest) - height]]) or "/", height)


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _is_prefix(short: list[str], long: list[str]) -> bool:
    return long[: len(short)] == short
