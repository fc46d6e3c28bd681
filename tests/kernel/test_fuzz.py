"""
Nothing that a file holds, and no way it refuses, makes the library raise; and garbage below never loosens what an
ancestor says.

Trees are made once for the module; an example replaces some files of one and puts them back.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cgexec
from cgexec._kernel.locate import locate
from support.trees import MIB, v1_machine, v2_machine

OWN = "/top/middle/leaf"
STALLS = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1"


def level(kind: str, quota_us: int, memory: int, pids: int) -> dict[str, str]:
    """Return every file of a level that the library may read; 24 MiB are charged, 4 MiB of them clean cache."""
    common = {"pids.max": pids, "pids.current": 5}
    v1 = {
        "cpu.cfs_quota_us": quota_us,
        "cpu.cfs_period_us": 100_000,
        "cpu.stat": "nr_periods 3\nnr_throttled 2\nthrottled_time 1",
        "cpuset.cpus": "0-7",
        "memory.limit_in_bytes": memory,
        "memory.memsw.limit_in_bytes": memory,
        "memory.use_hierarchy": 1,
        "memory.usage_in_bytes": 24 * MIB,
        "memory.stat": f"total_inactive_file {4 * MIB}\ntotal_dirty 0\nhierarchical_memory_limit {memory}",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
        "memory.failcnt": 0,
    }
    v2 = {
        "cpu.max": f"{quota_us} 100000",
        "cpu.stat": "usage_usec 5\nnr_periods 3\nnr_throttled 2\nthrottled_usec 1",
        "cpu.pressure": STALLS,
        "cpuset.cpus.effective": "0-7",
        "memory.max": memory,
        "memory.high": "max",
        "memory.swap.max": 0,
        "memory.oom.group": 0,
        "memory.current": 24 * MIB,
        "memory.stat": f"anon 1\ninactive_file {4 * MIB}\nactive_file 0\nfile_dirty 0\nslab_reclaimable 0",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0",
        "memory.pressure": STALLS,
    }
    return {name: f"{value}\n" for name, value in {**common, **(v1 if kind == "v1" else v2)}.items()}


# What the top level says; the levels below it say more.
CPUS, MEMORY, PIDS, ROOM = 0.5, 64 * MIB, 20, 44 * MIB


def make(kind: str, below: Path) -> Path:
    machine = v1_machine if kind == "v1" else v2_machine
    quotas = {"/top": (50_000, MEMORY, PIDS), "/top/middle": (100_000, 2 * MEMORY, 40), OWN: (150_000, 4 * MEMORY, 60)}
    return machine(below, OWN, {path: level(kind, *values) for path, values in quotas.items()})


@pytest.fixture(scope="module", params=["v1", "v2"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(request.param, tmp_path_factory.mktemp(request.param))


def names(root: Path, *, below_top: bool) -> list[str]:
    """Return the tree's files: all of them, or those of the middle level and the leaf."""
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return [name for name in files if "/middle/" in name] if below_top else files


@contextmanager
def replaced(root: Path, contents: Mapping[str, bytes | None]) -> Iterator[None]:
    """Let the files have other *contents* for a while, None for "absent"."""
    before = {root / name: (root / name).read_bytes() for name in contents}
    try:
        for name, content in contents.items():
            (root / name).unlink() if content is None else (root / name).write_bytes(content)
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def assert_not_looser(root: Path, why: object) -> None:
    limits, usage = cgexec.limits(root=root), cgexec.usage(root=root)
    assert limits.cpus <= CPUS, why
    assert limits.memory_bytes <= MEMORY, why
    assert limits.pids_limit is not None, why
    assert limits.pids_limit <= PIDS, why
    assert usage.headroom_bytes <= ROOM, why


WORDS = ["max", "-1", "0", "1", "9" * 20, "9" * 21, "٣", "nan", "1e5", " ", "\t", "\n", "\0", ":", ",", "-", "=", "kB"]
PARTS = [
    "/..",
    "/",
    "/top",
    "\\040",
    "\\777",
    " - cgroup2 x rw",
    " - cgroup x rw,memory",
    "0::/",
    "4:memory:",
    "total=",
]
words = st.lists(st.sampled_from([*WORDS, *PARTS]), max_size=20).map(lambda parts: "".join(parts).encode())
garbage = st.binary(max_size=200) | words


@st.composite
def spliced(draw: st.DrawFn, original: bytes) -> bytes:
    """Return *original* with a piece of it replaced by garbage: what is nearly right goes furthest."""
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(original))] * 2)))
    return original[:start] + draw(garbage) + original[end:]


@cache  # hypothesis looks at a strategy once; there are a hundred in this one
def changes(root: Path, *, below_top: bool) -> st.SearchStrategy[dict[str, bytes | None]]:
    """Return a strategy of files to replace and what by."""
    choice = [
        st.tuples(st.just(name), st.none() | garbage | spliced((root / name).read_bytes()))
        for name in names(root, below_top=below_top)
    ]
    return st.lists(st.one_of(choice), min_size=1, max_size=4).map(dict)


def test_the_untouched_trees_say_what_the_others_are_measured_by(root: Path) -> None:
    limits, usage = cgexec.limits(root=root), cgexec.usage(root=root)
    assert (limits.cpus, limits.memory_bytes, limits.pids_limit) == (CPUS, MEMORY, PIDS)
    assert usage.headroom_bytes == ROOM
    assert limits.notes == usage.notes == ()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_content_of_any_file_makes_it_raise(root: Path, data: st.DataObject) -> None:
    with replaced(root, data.draw(changes(root, below_top=False))):
        cgexec.limits(root=root)
        cgexec.usage(root=root)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_garbage_below_never_loosens_what_an_ancestor_says(root: Path, data: st.DataObject) -> None:
    contents = data.draw(changes(root, below_top=True))
    # "0" there is no garbage: it says that the level does not bind its children, and so none above it does.
    assume(all(content is None or content.strip() != b"0" for name, content in contents.items() if "use_hier" in name))
    with replaced(root, contents):
        assert_not_looser(root, contents)


CGROUP = b"0::/top/middle\n4:memory,cpu:/top\n"
MOUNTINFO = b"""22 1 8:1 / / rw - ext4 s rw
30 22 0:26 /top /c rw a:1 - cgroup2 s rw
31 22 0:27 /.. /m rw - cgroup s rw,memory
"""


@settings(max_examples=200, deadline=None)
@given(cgroup=garbage | spliced(CGROUP), mountinfo=garbage | spliced(MOUNTINFO))
def test_every_place_found_is_an_absolute_path(cgroup: bytes, mountinfo: bytes) -> None:
    layout = locate(os.fsdecode(cgroup), os.fsdecode(mountinfo))
    assert all(place.directory.startswith("/") for chain in layout.chains.values() for place in chain.places)


def oddity(name: str, become: Callable[[Path], object], unless: str = "") -> Any:  # Any: see rows in test_parse
    return pytest.param(become, id=name, marks=pytest.mark.skipif(bool(unless), reason=unless))


ROOT = "root may read everything" if getattr(os, "geteuid", int)() == 0 else ""
NO_MEM = "" if Path("/proc/self/mem").exists() else "no file here that opens and cannot be read"
ODDITIES = [
    oddity("directory", Path.mkdir),
    oddity("fifo", getattr(os, "mkfifo", Path.mkdir)),
    oddity("symlink-loop", lambda path: path.symlink_to(path.name)),
    oddity("unreadable", lambda path: path.touch(mode=0), unless=ROOT),
    oddity("input-output-error", lambda path: path.symlink_to("/proc/self/mem"), unless=NO_MEM),
]


@contextmanager
def odd(path: Path, become: Callable[[Path], object]) -> Iterator[None]:
    kept = path.rename(path.with_name(f"{path.name}.kept"))
    try:
        become(path)
        yield
    finally:
        path.rmdir() if path.is_dir() else path.unlink()
        kept.rename(path)


@pytest.mark.parametrize("become", ODDITIES)
def test_no_odd_file_makes_it_raise(root: Path, become: Callable[[Path], object]) -> None:
    for name in names(root, below_top=False):
        with odd(root / name, become):
            cgexec.limits(root=root)
            cgexec.usage(root=root)


@pytest.mark.parametrize("become", ODDITIES)
def test_no_odd_file_below_loosens_what_an_ancestor_says(root: Path, become: Callable[[Path], object]) -> None:
    for name in names(root, below_top=True):
        with odd(root / name, become):
            assert_not_looser(root, name)


@pytest.mark.parametrize("become", ODDITIES)
@pytest.mark.parametrize("suffix", ["leaf/cpu.max", "leaf/memory.max", "leaf/pids.max"])
def test_a_limit_that_cannot_be_read_is_noted(tmp_path: Path, suffix: str, become: Callable[[Path], object]) -> None:
    root = make("v2", tmp_path)
    with odd(root / "sys/fs/cgroup/top/middle" / suffix, become):
        assert any(suffix in note for note in cgexec.limits(root=root).notes)


def test_a_fifo_that_somebody_holds_open_does_not_make_it_wait(tmp_path: Path) -> None:
    root = make("v2", tmp_path)
    path = root / "sys/fs/cgroup" / OWN[1:] / "memory.max"
    with odd(path, os.mkfifo):
        writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            assert_not_looser(root, "a FIFO with a writer")
        finally:
            os.close(writer)


def test_a_file_without_end_is_not_read_for_ever(tmp_path: Path) -> None:
    root = make("v2", tmp_path)
    with odd(root / "sys/fs/cgroup" / OWN[1:] / "memory.max", lambda path: path.symlink_to("/dev/zero")):
        limits = cgexec.limits(root=root)
    assert limits.memory_limit == MEMORY
    assert any("larger" in note for note in limits.notes)
