"""Which directories are ours: /proc/self/cgroup and mountinfo, line by line and together."""

from collections.abc import Sequence
from typing import Any

import pytest

from cgexec._kernel.locate import Chain, Membership, Mount, Place, locate, parse_cgroup, parse_mountinfo, visible
from support.trees import mount


def member(number: int, controllers: str, path: str) -> Membership:
    return Membership(number, frozenset(filter(None, controllers.split(","))), path)


CGROUP_LINES = [
    pytest.param("0::/a/b", member(0, "", "/a/b"), id="v2"),
    pytest.param("4:cpu,cpuacct:/a", member(4, "cpu,cpuacct", "/a"), id="joint"),
    pytest.param("1:name=systemd:/", member(1, "name=systemd", "/"), id="named"),
    pytest.param("0::/sshd@3-10.0.0.1:22-x:5.service", member(0, "", "/sshd@3-10.0.0.1:22-x:5.service"), id="colons"),
    pytest.param("0::/a b/c\td", member(0, "", "/a b/c\td"), id="blanks"),
    pytest.param(r"0::/a\x2db\040c", member(0, "", r"/a\x2db\040c"), id="backslash-is-no-escape-here"),
    pytest.param("0::/a\udcff", member(0, "", "/a\udcff"), id="no-utf-8"),
    pytest.param("0::/a (deleted)", member(0, "", "/a (deleted)"), id="deleted"),
    pytest.param("0::/../x", member(0, "", "/../x"), id="above-the-namespace"),
    pytest.param("", None, id="empty"),
    pytest.param("0:/a", None, id="one-colon"),
    pytest.param("0::a/b", None, id="relative-path"),
    pytest.param("0::", None, id="no-path"),
    pytest.param("x::/a", None, id="no-number"),
    pytest.param("-1::/a", None, id="negative"),
    pytest.param("٣::/a", None, id="arabic-digit"),
    pytest.param("9" * 5000 + "::/a", None, id="endless-number"),
]


@pytest.mark.parametrize(("line", "membership"), CGROUP_LINES)
@pytest.mark.parametrize("ending", ["\n", ""], ids=["newline", "missing-newline"])
def test_a_line_of_proc_self_cgroup(line: str, membership: Membership | None, ending: str) -> None:
    assert list(parse_cgroup(line + ending)) == ([membership] if membership else [])


def test_only_hierarchy_zero_without_controllers_is_unified() -> None:
    lines = parse_cgroup("0::/a\n5::/b\n0:cpu:/c\n1:name=x:/d\n")
    assert [one.is_unified for one in lines] == [True, False, False, False]


def mounted(root: str, point: str, options: str = "rw,memory", fs_type: str = "cgroup") -> Mount:
    return Mount("30", "23", root, point, fs_type, frozenset(options.split(",")))


MOUNT_LINES = [
    pytest.param("30 23 0:26 / /m rw - cgroup cgroup rw,memory", mounted("/", "/m"), id="no-optional-field"),
    pytest.param("30 23 0:26 / /m rw shared:1 - cgroup cgroup rw,memory", mounted("/", "/m"), id="one-optional-field"),
    pytest.param("30 23 0:26 / /m rw shared:1 master:2 - cgroup x rw,memory", mounted("/", "/m"), id="two-optionals"),
    pytest.param("30 23 0:26 / /m rw - cgroup  rw,memory", mounted("/", "/m"), id="empty-source"),
    pytest.param(
        "30 23 0:26 / /m rw - 9p C: rw,a=b c,d", mounted("/", "/m", "rw,a=b c,d", "9p"), id="blank-in-options"
    ),
    pytest.param("30 23 0:26 / /m rw - cgroup - rw,memory", mounted("/", "/m"), id="source-is-a-dash"),
    pytest.param("30 23 0:26 / /- rw - cgroup c rw,memory", mounted("/", "/-"), id="dash-in-the-mount-point"),
    pytest.param(r"30 23 0:26 /a\040b /m\011n rw - cgroup c rw,memory", mounted("/a b", "/m\tn"), id="octal-blank-tab"),
    pytest.param(r"30 23 0:26 /a\012b /m\134n rw - cgroup c rw,memory", mounted("/a\nb", r"/m\n"), id="octal-newline"),
    pytest.param(r"30 23 0:26 /a\134040b / rw - cgroup c rw,memory", mounted(r"/a\040b", "/"), id="unescaped-once"),
    pytest.param(r"30 23 0:26 /a\x2db /m\9 rw - cgroup c rw,memory", mounted(r"/a\x2db", r"/m\9"), id="no-octal"),
    pytest.param("30 23 0:26 /.. /m rw - cgroup c rw,memory", mounted("/..", "/m"), id="root-above-namespace"),
    pytest.param("30 23 0:26 / /m rw cgroup cgroup rw,memory", None, id="no-dash"),
    pytest.param("30 23 0:26 / /m rw -", None, id="nothing-after-the-dash"),
    pytest.param("30 23 0:26 / - rw", None, id="dash-too-early"),
    pytest.param("30 23 0:26 net:[1] /m rw - nsfs nsfs rw", None, id="root-is-no-path"),
    pytest.param("30 23", None, id="cut-off"),
    pytest.param("", None, id="empty"),
]


@pytest.mark.parametrize(("line", "found"), MOUNT_LINES)
def test_a_line_of_mountinfo(line: str, found: Mount | None) -> None:
    assert list(parse_mountinfo(line + "\n")) == ([found] if found else [])


# Mounts as (id, parent, point, type); the ids of the cgroup mounts that a path can reach.
Row = tuple[str, str, str, str]
ROOT: Row = ("1", "0", "/", "ext4")
VISIBLE = [
    pytest.param([ROOT, ("2", "1", "/c", "cgroup2")], {"2"}, id="plain"),
    pytest.param([ROOT, ("2", "1", "/c", "cgroup2"), ("3", "2", "/c", "tmpfs")], set(), id="covered-on-its-point"),
    pytest.param([ROOT, ("2", "1", "/s/c", "cgroup2"), ("3", "1", "/s", "tmpfs")], set(), id="covered-from-above"),
    pytest.param(
        [("3", "1", "/s", "tmpfs"), ("2", "1", "/s/c", "cgroup2"), ROOT], set(), id="line-order-proves-nothing"
    ),
    pytest.param([ROOT, ("2", "1", "/sc", "cgroup2"), ("3", "1", "/s", "tmpfs")], {"2"}, id="not-by-a-longer-name"),
    pytest.param([ROOT, ("3", "1", "/s", "tmpfs"), ("2", "3", "/s/c", "cgroup2")], {"2"}, id="below-a-tmpfs"),
    pytest.param([ROOT, ("3", "1", "/c", "tmpfs"), ("2", "3", "/c", "cgroup2")], {"2"}, id="on-top-of-a-tmpfs"),
    pytest.param([ROOT, ("2", "1", "/c", "cgroup2"), ("3", "2", "/c", "cgroup2")], {"3"}, id="the-upper-of-two"),
    pytest.param(
        [ROOT, ("2", "1", "/c", "tmpfs"), ("3", "2", "/c/m", "cgroup"), ("4", "2", "/c", "tmpfs")],
        set(),
        id="covered-with-its-parent",
    ),
    pytest.param(
        [ROOT, ("2", "1", "/c", "tmpfs"), ("4", "2", "/c", "tmpfs"), ("3", "4", "/c/m", "cgroup")],
        {"3"},
        id="below-the-upper-parent",
    ),
    pytest.param([("9", "8", "/c", "cgroup2")], {"9"}, id="unknown-parent"),
    pytest.param([("1", "1", "/", "rootfs"), ("2", "1", "/c", "cgroup2")], {"2"}, id="rootfs-is-its-own-parent"),
    pytest.param(
        [("1", "1", "/", "rootfs"), ("2", "1", "/", "ext4"), ("3", "2", "/c", "cgroup2")], {"3"}, id="on-top-of-rootfs"
    ),
    pytest.param([("2", "3", "/c", "cgroup2"), ("3", "2", "/", "ext4")], None, id="a-loop-of-parents-ends"),
    pytest.param([ROOT, ("2", "1", "/c", "tmpfs")], set(), id="no-cgroup-at-all"),
]


@pytest.mark.parametrize(("mounts", "ids"), VISIBLE)
def test_which_mounts_a_path_reaches(mounts: Sequence[Row], ids: set[str] | None) -> None:
    table = tuple(Mount(number, parent, "/", point, kind, frozenset({"rw"})) for number, parent, point, kind in mounts)
    found = {one.id for one in visible(table)}
    assert ids is None or found == ids


TOP = "/sys/fs/cgroup"
V2 = mount(30, "/", TOP)
U, M = f"{TOP}/unified", f"{TOP}/memory"
UNIFIED = mount(30, "/", U)


def v1_mount(number: int, name: str, root: str = "/", point: str = "") -> str:
    return mount(number, root, point or f"{TOP}/{name}", "cgroup", f"rw,{name}")


def chain(version: Any, *directories: str, own: bool = True) -> Chain:  # Any: a Literal that mypy would widen
    return Chain(version, tuple(Place(directory, height) for height, directory in enumerate(directories)), own)


# /proc/self/cgroup, mountinfo, the chain of "memory"
MEMORY = [
    pytest.param("0::/a/b", V2, chain("v2", f"{TOP}/a/b", f"{TOP}/a", TOP), id="leaf-to-mount-point"),
    pytest.param("0::/", V2, chain("v2", TOP), id="namespace-root"),
    pytest.param("0::/x\n4:memory:/a", UNIFIED + v1_mount(31, "memory"), chain("v1", f"{M}/a", M), id="v1-line-wins"),
    pytest.param("0::/x\n4:cpu:/a", UNIFIED + v1_mount(31, "cpu"), chain("v2", f"{U}/x", U), id="unified-is-the-rest"),
    pytest.param("4:memory2,xmemory:/a\n1:name=memory:/b\n0::/x", V2, chain("v2", f"{TOP}/x", TOP), id="exact-name"),
    pytest.param("5::/y\n0::/x", V2, chain("v2", f"{TOP}/x", TOP), id="empty-list-with-a-number-is-not-unified"),
    pytest.param("junk\n0::x\n0::/x", "junk\n" + V2, chain("v2", f"{TOP}/x", TOP), id="bad-lines-passed-over"),
    pytest.param("4:memory:/a", v1_mount(31, "memory", "/a"), chain("v1", M), id="docker-bind"),
    pytest.param("0::/a/b/c", mount(30, "/a", "/m"), chain("v2", "/m/b/c", "/m/b", "/m"), id="bind-of-an-ancestor"),
    pytest.param("0::/ab", mount(30, "/a", "/m"), None, id="prefix-by-components"),
    pytest.param("0::/a", mount(30, "/a/b", "/m"), None, id="mount-of-a-child"),
    pytest.param("0::/../a", mount(30, "/..", "/m"), chain("v2", "/m/a", "/m"), id="equal-dots-cancel"),
    pytest.param("0::/../../a", mount(30, "/..", "/m"), None, id="dots-remain"),
    pytest.param("0::/../a", V2, None, id="outside-the-namespace"),
    pytest.param("0::/", mount(30, "/..", TOP), chain("v2", TOP, own=False), id="unshared-without-mount"),
    pytest.param("0::/a", mount(30, "/../..", TOP), chain("v2", TOP, own=False), id="two-levels-above"),
    pytest.param("0::/", mount(30, "/../b", TOP), None, id="a-sibling's-mount"),
    pytest.param("4:memory:/", v1_mount(31, "memory", "/.."), chain("v1", M, own=False), id="v1-unshared"),
    pytest.param("0::/a", "", None, id="no-mount-at-all"),
    pytest.param("0::/a", v1_mount(31, "memory"), None, id="v2-line-v1-mount"),
    pytest.param("4:memory:/a", V2, None, id="v1-line-v2-mount"),
    pytest.param("4:memory:/a", v1_mount(31, "cpu"), None, id="another-controller's-mount"),
    pytest.param("", V2, None, id="no-membership"),
    pytest.param("0::/a", mount(30, "/", "/"), chain("v2", "/a", "/"), id="mounted-on-the-root"),
    pytest.param(r"0::/a:b c/\x2d", mount(30, r"/a:b\040c", r"/m\040n"), chain("v2", r"/m n/\x2d", "/m n"), id="odd"),
]  # fmt: skip  # one case, one line


@pytest.mark.parametrize(("cgroup", "mountinfo", "expected"), MEMORY)
def test_where_memory_is_found(cgroup: str, mountinfo: str, expected: Chain | None) -> None:
    assert locate(cgroup + "\n", mountinfo).chains.get("memory") == expected


def test_joined_controllers_share_a_directory_and_others_do_not() -> None:
    layout = locate(
        "3:cpu,cpuacct:/a\n2:pids:/b\n", mount(31, "/", "/c", "cgroup", "rw,cpuacct,cpu") + v1_mount(32, "pids")
    )
    assert layout.chains["cpu"] == chain("v1", "/c/a", "/c")
    assert layout.chains["pids"] == chain("v1", f"{TOP}/pids/b", f"{TOP}/pids")
    assert "cpuset" not in layout.chains


def test_of_two_equal_mounts_the_usual_place_is_named_first() -> None:
    layout = locate("0::/a\n", mount(29, "/", "/host/cgroup", parent=22) + V2)
    assert [place.directory for place in layout.chains["memory"].places] == [
        f"{TOP}/a",
        TOP,
        "/host/cgroup/a",
        "/host/cgroup",
    ]


def test_a_mount_that_shows_more_ancestors_adds_them() -> None:
    layout = locate("0::/a/b\n", mount(30, "/a/b", TOP) + mount(31, "/", "/run/c", parent=22))
    assert {place.directory for place in layout.chains["memory"].places} == {"/run/c/a/b", "/run/c/a", "/run/c", TOP}


@pytest.mark.parametrize(
    ("mountinfo", "version"),
    [
        pytest.param(V2, "v2", id="v2"),
        pytest.param(v1_mount(31, "memory"), "v1", id="v1"),
        pytest.param(v1_mount(31, "freezer") + UNIFIED, "hybrid", id="hybrid-whichever-the-controller"),
        pytest.param(mount(31, "/", "/s", "cgroup", "rw,name=systemd") + V2, "v2", id="a-named-hierarchy-is-no-v1"),
        pytest.param(V2 + mount(31, "/", TOP, "tmpfs", parent=30), None, id="covered"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_the_version_is_that_of_the_visible_mounts(mountinfo: str, version: str | None) -> None:
    assert locate("0::/\n", mountinfo).version == version


def test_a_cgroup_that_no_mount_shows_is_told_with_its_name() -> None:
    notes = locate("0::/mine\n", mount(30, "/other", TOP)).notes
    assert any("/mine" in note and note.startswith("memory:") for note in notes)


def test_a_process_that_was_moved_is_found_in_its_new_place() -> None:
    before, after = locate("0::/a\n", V2), locate("0::/b\n", V2)
    assert (before.chains["cpu"].places[0].directory, after.chains["cpu"].places[0].directory) == (
        f"{TOP}/a",
        f"{TOP}/b",
    )
