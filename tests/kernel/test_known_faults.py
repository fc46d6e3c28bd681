"""
The faults of other readers, one test by name for each. Every tree is built so that the faulty reader answers otherwise.

Who has which fault, and where it was reported, is told in the project's notes on other systems (Go, JDK, .NET, libuv,
automaxprocs and others); here stands only what goes wrong.
"""

from pathlib import Path

import pytest

import cgexec
from support.trees import GIB, HOST, MIB, SYSFS_MOUNTS, build, mount, v1_machine, v2_machine

NO_CACHE = "anon 0\ninactive_file 0\nactive_file 0\nfile_dirty 0\nfile_writeback 0\nslab_reclaimable 0\n"
UNLIMITED_V2 = {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.high": "max\n", "pids.max": "max\n"}


def v2_bind(tmp_path: Path, own: str, root: str, point: str, files: dict[str, str]) -> Path:
    """Build a machine that sees the cgroup *root* at *point*; *root* and *point* as mountinfo writes them."""
    mountinfo = SYSFS_MOUNTS + mount(30, root, point)
    return build(tmp_path, {**HOST, "proc/self/cgroup": f"0::{own}\n", "proc/self/mountinfo": mountinfo, **files})


def test_leaf_only(tmp_path: Path) -> None:
    """The leaf says "max" to everything; grandparent and parent have the limits."""
    parent = {"cpu.max": "150000 100000\n", "memory.max": f"{GIB}\n"}
    levels = {"/pod": {"pids.max": "50\n"}, "/pod/app": parent, "/pod/app/init": UNLIMITED_V2}
    limits = cgexec.limits(root=v2_machine(tmp_path, "/pod/app/init", levels))
    assert (limits.cpu_quota, limits.memory_limit, limits.pids_limit) == (1.5, GIB, 50)


def test_fixed_base_directory(tmp_path: Path) -> None:
    """cgroup2 is mounted elsewhere, and below /sys/fs/cgroup lie plain files with other numbers."""
    bait = {"sys/fs/cgroup/cpu.max": "10000 100000\n", "sys/fs/cgroup/app/memory.max": "4096\n"}
    real = {"run/groups/app/cpu.max": "300000 100000\n", "run/groups/app/memory.max": f"{2 * GIB}\n"}
    limits = cgexec.limits(root=v2_bind(tmp_path, "/app", "/", "/run/groups", {**bait, **real}))
    assert (limits.cpu_quota, limits.memory_limit) == (3.0, 2 * GIB)


@pytest.mark.parametrize("unified_first", [True, False], ids=["unified-line-first", "unified-line-last"])
def test_hybrid_decided_globally_or_by_line_order(tmp_path: Path, unified_first: bool) -> None:
    """Memory is v1, cpu is v2; whoever takes one version for both misses one of the limits."""
    lines = ["0::/app\n", "4:memory:/app\n"]
    mounts = [mount(31, "/", "/sys/fs/cgroup/unified"), mount(32, "/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory")]
    files = {
        "proc/self/cgroup": "".join(lines if unified_first else reversed(lines)),
        "proc/self/mountinfo": SYSFS_MOUNTS + "".join(mounts if unified_first else reversed(mounts)),
        "sys/fs/cgroup/unified/app/cpu.max": "250000 100000\n",
        "sys/fs/cgroup/memory/app/memory.limit_in_bytes": f"{GIB}\n",
    }
    limits = cgexec.limits(root=build(tmp_path, {**HOST, **files}))
    assert (limits.cpu_quota, limits.memory_limit, limits.cgroup_version) == (2.5, GIB, "hybrid")


def test_one_bad_controller_spoils_all(tmp_path: Path) -> None:
    """The cpu controller is mounted for another cgroup and pids not at all; memory is in order."""
    files = {
        "proc/self/cgroup": "2:cpu:/app\n3:pids:/app\n4:memory:/app\n",
        "proc/self/mountinfo": SYSFS_MOUNTS
        + mount(31, "/stranger", "/sys/fs/cgroup/cpu", "cgroup", "rw,cpu")
        + mount(32, "/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"),
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "1000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/app/memory.limit_in_bytes": f"{GIB}\n",
    }
    limits = cgexec.limits(root=build(tmp_path, {**HOST, **files}))
    assert (limits.cpu_quota, limits.memory_limit) == (None, GIB)
    assert any(note.startswith("cpu:") for note in limits.notes)


def test_one_bad_line_spoils_all(tmp_path: Path) -> None:
    """Both files begin with lines that have no meaning."""
    root = v2_machine(tmp_path, "/app", {"/app": {"memory.max": f"{GIB}\n"}})
    for name in ("cgroup", "mountinfo"):
        file = root / "proc/self" / name
        file.write_bytes(b"\xff\xfe nonsense\n\n::\n30 - -\n" + file.read_bytes())
    assert cgexec.limits(root=root).memory_limit == GIB


def test_no_octal_unescape(tmp_path: Path) -> None:
    """Root and mount point hold a blank and a backslash, which only mountinfo escapes."""
    own, files = r"/my app/a\x2db/leaf", {"mnt/c groups/leaf/memory.max": f"{GIB}\n"}
    root = v2_bind(tmp_path, own, r"/my\040app/a\134x2db", r"/mnt/c\040groups", files)
    assert cgexec.limits(root=root).memory_limit == GIB


def test_colon_in_path_cut(tmp_path: Path) -> None:
    """The path cut at its first colon is another cgroup, with another limit."""
    levels = {"/sock@1:22-2:5000": {"memory.max": f"{GIB}\n"}, "/sock@1": {"memory.max": "4096\n"}}
    assert cgexec.limits(root=v2_machine(tmp_path, "/sock@1:22-2:5000", levels)).memory_limit == GIB


def test_foreign_path_read_as_the_root(tmp_path: Path) -> None:
    """The mount shows another cgroup than ours; its numbers are not for us."""
    files = {"sys/fs/cgroup/memory.max": "4096\n", "sys/fs/cgroup/cpu.max": "1000 100000\n"}
    limits = cgexec.limits(root=v2_bind(tmp_path, "/ours", "/theirs", "/sys/fs/cgroup", files))
    assert (limits.memory_limit, limits.cpu_quota) == (None, None)
    assert any("/ours" in note for note in limits.notes)


def test_path_cached_for_ever(tmp_path: Path) -> None:
    """The process is moved to another cgroup between two looks."""
    levels = {"/old": {"memory.max": f"{GIB}\n"}, "/new": {"memory.max": f"{2 * GIB}\n"}}
    root = v2_machine(tmp_path, "/old", levels)
    before = cgexec.limits(root=root).memory_limit
    build(root, {"proc/self/cgroup": "0::/new\n"})
    assert (before, cgexec.limits(root=root).memory_limit) == (GIB, 2 * GIB)


def test_level_cached_for_ever(tmp_path: Path) -> None:
    """First the leaf is the tightest level; then its limit is lifted and the parent's lowered."""
    levels = {"/pod": {"memory.max": f"{2 * GIB}\n"}, "/pod/app": {"memory.max": f"{GIB}\n"}}
    root = v2_machine(tmp_path, "/pod/app", levels)
    before = cgexec.limits(root=root).memory_limit
    build(root, {"sys/fs/cgroup/pod/app/memory.max": "max\n", "sys/fs/cgroup/pod/memory.max": f"{512 * MIB}\n"})
    assert (before, cgexec.limits(root=root).memory_limit) == (GIB, 512 * MIB)


def test_raw_usage_including_cache(tmp_path: Path) -> None:
    """A large file was read: the cgroup is full to the brim, and nearly all of it is clean page cache."""
    stat = NO_CACHE.replace("inactive_file 0", f"inactive_file {900 * MIB}")
    level = {"memory.max": f"{GIB}\n", "memory.current": f"{GIB}\n", "memory.stat": stat}
    usage = cgexec.usage(root=v2_machine(tmp_path, "/app", {"/app": level}))
    assert (usage.memory_bytes, usage.headroom_bytes) == (124 * MIB, 900 * MIB)


def test_protection_as_limit(tmp_path: Path) -> None:
    """memory.low and memory.min protect from reclaim."""
    level = {**UNLIMITED_V2, "memory.low": f"{64 * MIB}\n", "memory.min": f"{32 * MIB}\n"}
    limits = cgexec.limits(root=v2_machine(tmp_path, "/app", {"/app": level}))
    assert (limits.memory_limit, limits.memory_high, limits.memory_bytes) == (None, None, 16 * GIB)


def test_soft_limit_as_limit(tmp_path: Path) -> None:
    """v1's soft limit is where reclaim prefers to begin under global pressure, and binds nobody."""
    level = {"memory.limit_in_bytes": f"{GIB}\n", "memory.soft_limit_in_bytes": f"{64 * MIB}\n"}
    limits = cgexec.limits(root=v1_machine(tmp_path, "/app", {"/app": level}))
    assert (limits.memory_limit, limits.memory_high, limits.memory_bytes) == (GIB, None, GIB)


def test_leaf_usage_against_parent_limit(tmp_path: Path) -> None:
    """The parent has the limit, and a sibling has used most of it up."""
    parent = {"memory.max": f"{GIB}\n", "memory.current": f"{1000 * MIB}\n", "memory.stat": NO_CACHE}
    leaf = {"memory.max": "max\n", "memory.current": f"{10 * MIB}\n", "memory.stat": NO_CACHE}
    usage = cgexec.usage(root=v2_machine(tmp_path, "/pod/app", {"/pod": parent, "/pod/app": leaf}))
    assert usage.headroom_bytes == 24 * MIB
    assert usage.memory_bytes == 1000 * MIB


def test_fixed_buffer_for_the_path(tmp_path: Path) -> None:
    """A path of 5 KiB, cut anywhere, is not the root of the mount that shows it."""
    own = "".join(f"/{n:03}{'x' * 196}" for n in range(25))
    assert len(own) > 4096
    root = v2_bind(tmp_path, own, own, "/sys/fs/cgroup", {"sys/fs/cgroup/memory.max": f"{GIB}\n"})
    assert cgexec.limits(root=root).memory_limit == GIB


def test_fixed_buffer_for_a_path_that_is_walked(tmp_path: Path) -> None:
    """A Kubernetes path below a few slices passes 256 bytes easily; a file name of it must not be cut either."""
    own = "".join(f"/kubepods-burstable-{n}.slice{'y' * 170}" for n in range(9))
    root = v2_machine(tmp_path, own, {own: {"memory.max": f"{GIB}\n", "cpu.max": "150000 100000\n"}})
    limits = cgexec.limits(root=root)
    assert (limits.memory_limit, limits.cpu_quota) == (GIB, 1.5)


def test_a_path_too_long_to_open_leaves_the_ancestors(tmp_path: Path) -> None:
    """No file below a path of 5 KiB can be opened by its name; those of its first levels can."""
    own = "/pod" + "".join(f"/{n:03}{'x' * 196}" for n in range(25))
    limits = cgexec.limits(root=v2_machine(tmp_path, own, {"/pod": {"memory.max": f"{GIB}\n"}}))
    assert limits.memory_limit == GIB
    assert any("cannot be read" in note for note in limits.notes)


def test_fixed_buffer_for_mountinfo(tmp_path: Path) -> None:
    """An overlay line of 70 KiB and 5,000 further mounts stand before the one that matters."""
    lower = ":".join(f"/var/lib/docker/overlay2/l/{n:026}" for n in range(1400))
    before = f"21 1 0:40 / /merged rw - overlay overlay rw,lowerdir={lower}\n"
    before += "".join(mount(1000 + n, "/", f"/var/lib/pods/{n}", "tmpfs", parent=22) for n in range(5000))
    root = v2_machine(tmp_path, "/app", {"/app": {"memory.max": f"{GIB}\n"}})
    file = root / "proc/self/mountinfo"
    build(root, {"proc/self/mountinfo": before + file.read_text(encoding="ascii")})
    assert len(before.splitlines()[0]) > 1 << 16
    assert cgexec.limits(root=root).memory_limit == GIB


def test_fixed_buffer_for_cpu_max(tmp_path: Path) -> None:
    """64 CPUs with a period of a second are 16 characters; cut at 15, the period becomes a tenth."""
    level = {"cpu.max": "64000000 1000000\n"}
    assert cgexec.limits(root=v2_machine(tmp_path, "/app", {"/app": level})).cpu_quota == 64.0


@pytest.mark.parametrize(
    ("text", "cpus"), [("150000 100000", 1.5), ("150000\n", 1.5), ("150000", 1.5), ("max", None)], ids=repr
)
def test_strict_newline_or_one_field_refusal(tmp_path: Path, text: str, cpus: float | None) -> None:
    """A file without its newline, or with the quota alone, still says what it says."""
    level = {"cpu.max": text, "memory.max": "1073741824"}
    limits = cgexec.limits(root=v2_machine(tmp_path, "/app", {"/app": level}))
    assert (limits.cpu_quota, limits.memory_limit) == (cpus, GIB)
    assert not any("cpu.max" in note for note in limits.notes)
