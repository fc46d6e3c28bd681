"""
Whole machines: what `limits` and `usage` say of each tree in ``tests/trees``, and of the laboratory's captures.

A tree's first lines say what it is; ``expected.json`` says what must be found, where (*source*: a part of each text)
and what must be told (*note*: a part of some note).
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import cgexec
from support.trees import HOST, SYSFS_MOUNTS, build, mount, unpack, v1_machine

_TREES = Path(__file__).parent.parent / "trees"
_LAB = os.environ.get("CGEXEC_LAB")
_NO_LAB = "CGEXEC_LAB does not name the laboratory beside whose directory the captured trees lie"
# Any: what json gives; the keys are described above.
Expected = dict[str, Any]


def _cases(directory: Path) -> list[Any]:  # Any: pytest does not export the type of its parameters
    """Return (archive, what is expected) of every entry of a directory's expected.json."""
    expected: dict[str, Expected] = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
    return [pytest.param(directory / f"{name}.txt", values, id=name) for name, values in expected.items()]


def _captures() -> list[Any]:
    if not _LAB or not (Path(_LAB).resolve().parent / "trees" / "expected.json").exists():
        return [pytest.param(None, {}, id="none", marks=pytest.mark.skip(reason=_NO_LAB))]
    return _cases(Path(_LAB).resolve().parent / "trees")


def _differences(limits: cgexec.Limits, expected: Expected) -> Expected:
    """Return the expected values that were not found, by their name."""
    names = expected.keys() - {"note", "source"}
    return {name: (getattr(limits, name), expected[name]) for name in names if getattr(limits, name) != expected[name]}


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def assert_sane(root: Path) -> None:
    """Check what holds of any machine: no room beyond a limit, and no more use than is charged."""
    limits, usage = cgexec.limits(root=root), cgexec.usage(root=root)
    assert usage.headroom_bytes <= limits.memory_bytes
    assert usage.memory_bytes >= 0
    assert usage.working_set_bytes >= 0
    assert usage.page_cache_bytes >= 0
    charged = usage.sources["memory_bytes"]
    if charged.startswith("/"):
        current = _number(root / charged.lstrip("/"))
        assert usage.memory_bytes + usage.page_cache_bytes == current
        assert usage.working_set_bytes <= current
    if usage.pids_headroom is not None and limits.pids_limit is not None:
        assert usage.pids_headroom <= limits.pids_limit
    if usage.nr_periods is not None and usage.nr_throttled is not None:
        assert usage.nr_throttled <= usage.nr_periods


@pytest.mark.parametrize(("archive", "expected"), _cases(_TREES))
def test_the_limits_of_a_tree_are_those_expected(tmp_path: Path, archive: Path, expected: Expected) -> None:
    limits = cgexec.limits(root=unpack(archive, tmp_path))
    assert _differences(limits, expected) == {}
    for name, part in expected.get("source", {}).items():
        assert part in limits.sources[name]
    assert expected.get("note", "") in "\n".join(limits.notes)


@pytest.mark.parametrize(("archive", "expected"), _cases(_TREES))
def test_the_usage_of_a_tree_fits_its_limits(tmp_path: Path, archive: Path, expected: Expected) -> None:
    assert_sane(unpack(archive, tmp_path))


@pytest.mark.parametrize(("archive", "expected"), _captures())
def test_the_limits_of_a_captured_machine_are_those_that_were_set(
    tmp_path: Path, archive: Path, expected: Expected
) -> None:
    # A capture's "note" is a remark for people, not a text to be found.
    assert _differences(cgexec.limits(root=unpack(archive, tmp_path)), expected) == {}


@pytest.mark.parametrize(("archive", "expected"), _captures())
def test_the_usage_of_a_captured_machine_fits_its_limits(tmp_path: Path, archive: Path, expected: Expected) -> None:
    assert_sane(unpack(archive, tmp_path))


def test_a_second_mount_of_our_own_group_is_not_taken_for_the_top(tmp_path: Path) -> None:
    """The real root is visible at the usual place, so no limit can hide above the second mount."""
    twice = SYSFS_MOUNTS + mount(30, "/", "/sys/fs/cgroup") + mount(31, "/a/b", "/run/own", parent=22)
    files = {"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": twice}
    levels = ("sys/fs/cgroup/a", "sys/fs/cgroup/a/b", "run/own")
    limits = cgexec.limits(root=build(tmp_path, {**HOST, **files, **{f"{d}/memory.max": "max\n" for d in levels}}))
    assert limits.notes == ()
    assert limits.sources["memory_limit"] == "none set in /sys/fs/cgroup/a/b nor in the 2 above"


def test_of_a_cgroup_above_a_namespace_the_cpuset_says_nothing(tmp_path: Path) -> None:
    """We may be in a partition, whose CPUs that cgroup has lost; the affinity tells."""
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": SYSFS_MOUNTS + mount(30, "/..", "/sys/fs/cgroup"),
        "sys/fs/cgroup/cpuset.cpus.effective": "0-1\n",
    }
    assert cgexec.limits(root=build(tmp_path, {**HOST, **files})).cpu_set == 8


@pytest.mark.parametrize("name", ["cpuset.effective_cpus", "cpuset.cpus"])
def test_of_v1_cpusets_the_tightest_holds(tmp_path: Path, name: str) -> None:
    levels = {"/": {name: "0-7\n"}, "/a": {name: "0-1\n"}, "/a/b": {name: "\n"}}
    limits = cgexec.limits(root=v1_machine(tmp_path, "/a/b", levels))
    assert (limits.cpu_set, limits.sources["cpu_set"]) == (
        2,
        f"/sys/fs/cgroup/cpuset/a/{name} (1 level above the process's own cgroup)",
    )


def test_a_tree_that_does_not_tell_its_cpus_and_memory_is_answered_for_with_a_note(tmp_path: Path) -> None:
    notes = cgexec.limits(root=build(tmp_path, {"proc/self/cgroup": "0::/\n"})).notes
    assert any("machine we run on" in note and "MemTotal" in note for note in notes)
    assert any("machine we run on" in note and "CPU" in note for note in notes)


def test_every_tree_is_expected_something_of_and_is_there() -> None:
    expected = json.loads((_TREES / "expected.json").read_text(encoding="utf-8"))
    assert sorted(expected) == sorted(path.stem for path in _TREES.glob("*.txt"))


def test_an_archive_keeps_what_a_text_file_would_lose(tmp_path: Path) -> None:
    archive = tmp_path / "odd.txt"
    archive.write_bytes(
        b"# a comment\n=== a\\\\b !no-newline\n\\=== no header\n\\xff\\\\x41\n=== empty\n=== dir/\n=== link -> a\\\\b\n"
    )
    root = unpack(archive, tmp_path / "root")
    assert (root / "a\\b").read_bytes() == b"=== no header\n\xff\\x41"
    assert (root / "link").readlink() == Path("a\\b")
    assert (root / "empty").read_bytes() == b""
    assert (root / "dir").is_dir()


@pytest.mark.parametrize("header", ["/etc/passwd", "a/../../b"])
def test_an_archive_writes_nothing_outside_its_root(tmp_path: Path, header: str) -> None:
    archive = tmp_path / "bad.txt"
    archive.write_text(f"=== {header}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="below the root"):
        unpack(archive, tmp_path / "root")
