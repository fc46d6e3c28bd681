"""`usage`: each level's use against that level's own limit, what counts as used, and the counters of both versions."""

from collections.abc import Mapping
from pathlib import Path

import pytest

import cgexec
from support.trees import GIB, HOST, MIB, SYSFS_MOUNTS, build, mount, v1_machine, v2_machine

AVAILABLE = 12 * GIB  # of the machine, see HOST


def v2_level(limit: int | None, used: int, **stat: int) -> dict[str, str]:
    """Return the files of a v2 level, in bytes; *used* is all that is charged, cache included."""
    table = {"anon": used, "inactive_file": 0, "active_file": 0, "file_dirty": 0, "file_writeback": 0, **stat}
    return {
        "memory.max": "max\n" if limit is None else f"{limit}\n",
        "memory.current": f"{used}\n",
        "memory.stat": "".join(f"{key} {value}\n" for key, value in table.items()),
    }


def v1_level(limit: int, used: int, **stat: int) -> dict[str, str]:
    table = {"total_inactive_file": 0, "total_active_file": 0, "total_dirty": 0, "total_writeback": 0, **stat}
    return {
        "memory.limit_in_bytes": f"{limit}\n",
        "memory.usage_in_bytes": f"{used}\n",
        "memory.stat": "".join(f"{key} {value}\n" for key, value in table.items()),
    }


def v2_usage(tmp_path: Path, **stat: int) -> cgexec.Usage:
    """Return the usage of one cgroup limited to 1 GiB, with 600 MiB charged."""
    return cgexec.usage(root=v2_machine(tmp_path, "/app", {"/app": v2_level(GIB, 600 * MIB, **stat)}))


# limit and use of grandparent, parent, leaf in MiB; headroom; whose use it is
LEVELS = [
    pytest.param((4096, 1000), (2048, 1000), (1024, 500), 524, 500, id="the-leaf-is-closest"),
    pytest.param((4096, 1000), (2048, 2000), (1024, 500), 48, 2000, id="a-sibling-filled-the-parent"),
    pytest.param((4096, 4000), (2048, 1000), (1024, 500), 96, 4000, id="the-grandparent-is-closest"),
    pytest.param((4096, 1000), (None, 1000), (None, 500), 3096, 1000, id="only-the-grandparent-has-a-limit"),
    pytest.param((1024, 900), (2048, 600), (4096, 500), 124, 900, id="limits-that-grow-downwards"),
    pytest.param((4096, 1000), (1024, 1100), (1024, 500), -76, 1100, id="above-a-lowered-limit"),
    pytest.param((None, 9000), (None, 1000), (None, 500), AVAILABLE // MIB, 500, id="no-limit-anywhere"),
    pytest.param((1 << 20, 0), (1 << 20, 0), (1 << 20, 0), AVAILABLE // MIB, 0, id="limits-above-the-machine"),
]
Level = tuple[int | None, int]


@pytest.mark.parametrize(("top", "middle", "leaf", "headroom", "used"), LEVELS)
def test_headroom_is_the_least_of_each_limit_less_that_level_s_use(
    tmp_path: Path, top: Level, middle: Level, leaf: Level, headroom: int, used: int
) -> None:
    levels = {
        path: v2_level(limit and limit * MIB, use * MIB)
        for path, (limit, use) in zip(("/a", "/a/b", "/a/b/c"), (top, middle, leaf), strict=True)
    }
    usage = cgexec.usage(root=v2_machine(tmp_path, "/a/b/c", levels))
    assert (usage.headroom_bytes, usage.memory_bytes) == (headroom * MIB, used * MIB)


def test_the_limit_of_the_level_whose_use_is_told_stands_beside_it(tmp_path: Path) -> None:
    levels = {"/a": v2_level(256 * MIB, 222 * MIB), "/a/b": v2_level(100 * MIB, 20 * MIB)}
    usage = cgexec.usage(root=v2_machine(tmp_path / "full-parent", "/a/b", levels))
    assert (usage.memory_bytes, usage.level_limit, usage.level_is_own) == (222 * MIB, 256 * MIB, False)
    levels["/a"] = v2_level(256 * MIB, 22 * MIB)
    usage = cgexec.usage(root=v2_machine(tmp_path / "empty-parent", "/a/b", levels))
    assert (usage.memory_bytes, usage.level_limit, usage.level_is_own) == (20 * MIB, 100 * MIB, True)
    usage = cgexec.usage(root=v2_machine(tmp_path / "no-limit", "/a", {"/a": v2_level(None, 20 * MIB)}))
    assert (usage.memory_bytes, usage.level_limit, usage.level_is_own) == (20 * MIB, None, True)
    usage = cgexec.usage(root=build(tmp_path / "no-cgroup", HOST))
    assert (usage.level_limit, usage.level_is_own) == (None, False)


def test_memory_high_takes_the_room_above_it(tmp_path: Path) -> None:
    level = {**v2_level(2 * GIB, 600 * MIB), "memory.high": f"{GIB}\n"}
    usage = cgexec.usage(root=v2_machine(tmp_path, "/app", {"/app": level}))
    assert usage.headroom_bytes == GIB - 600 * MIB
    assert usage.sources["headroom_bytes"].endswith("/app/memory.high")


# keys of memory.stat in MiB, of 600 MiB charged; what is used
CHARGED = [
    pytest.param({}, 600, id="all-anonymous"),
    pytest.param({"inactive_file": 400}, 200, id="clean-inactive-cache-is-free"),
    pytest.param({"active_file": 400}, 200, id="clean-active-cache-is-free"),
    pytest.param({"inactive_file": 400, "file_dirty": 100}, 300, id="dirty-pages-are-not"),
    pytest.param({"inactive_file": 400, "file_writeback": 50}, 250, id="nor-pages-being-written"),
    pytest.param({"file": 400, "shmem": 400, "inactive_anon": 400}, 600, id="shmem-and-tmpfs-are-used"),
    pytest.param({"file": 400, "file_mapped": 400}, 600, id="the-file-key-alone-credits-nothing"),
    pytest.param({"slab_reclaimable": 90, "slab_unreclaimable": 60}, 510, id="reclaimable-slab-is-free"),
    pytest.param({"inactive_file": 300, "active_file": 100, "slab_reclaimable": 50}, 150, id="all-that-is-free"),
    pytest.param({"inactive_file": 100, "file_dirty": 200}, 600, id="more-dirty-than-listed"),
    pytest.param({"inactive_file": 100, "file_dirty": 200, "slab_reclaimable": 50}, 550, id="dirty-takes-no-slab"),
    pytest.param({"inactive_file": 700}, 0, id="more-cache-than-charged"),
]


@pytest.mark.parametrize(("stat", "used"), CHARGED)
def test_what_reclaim_can_give_back_is_not_use(tmp_path: Path, stat: Mapping[str, int], used: int) -> None:
    usage = v2_usage(tmp_path, **{key: value * MIB for key, value in stat.items()})
    assert usage.memory_bytes == used * MIB
    assert usage.page_cache_bytes == (600 - used) * MIB
    assert usage.headroom_bytes == GIB - used * MIB


def test_the_working_set_is_the_kubelet_s_all_but_inactive_file_pages(tmp_path: Path) -> None:
    usage = v2_usage(tmp_path, inactive_file=100 * MIB, active_file=200 * MIB, slab_reclaimable=50 * MIB)
    assert usage.working_set_bytes == 500 * MIB


def test_the_working_set_is_never_negative(tmp_path: Path) -> None:
    assert v2_usage(tmp_path, inactive_file=GIB).working_set_bytes == 0


def test_v1_counts_the_children_too(tmp_path: Path) -> None:
    own_only = {"inactive_file": 10 * MIB, "active_file": 10 * MIB, "dirty": 0}
    total = {"total_inactive_file": 200 * MIB, "total_active_file": 100 * MIB, "total_dirty": 30 * MIB}
    level = v1_level(GIB, 600 * MIB, **own_only, **total, total_writeback=20 * MIB)
    usage = cgexec.usage(root=v1_machine(tmp_path, "/app", {"/app": level}))
    assert (usage.memory_bytes, usage.working_set_bytes) == (350 * MIB, 400 * MIB)


def test_v1_s_hidden_limit_bounds_the_headroom_with_a_note(tmp_path: Path) -> None:
    level = v1_level(2**63 - 4096, 100 * MIB, hierarchical_memory_limit=256 * MIB)
    usage = cgexec.usage(root=v1_machine(tmp_path, "/app", {"/app": level}))
    assert usage.headroom_bytes == 156 * MIB
    assert any("not visible" in note for note in usage.notes)


def test_a_missing_memory_stat_is_noted_and_cache_counts_as_used(tmp_path: Path) -> None:
    level = {"memory.max": f"{GIB}\n", "memory.current": f"{600 * MIB}\n"}
    usage = cgexec.usage(root=v2_machine(tmp_path, "/app", {"/app": level}))
    assert (usage.memory_bytes, usage.working_set_bytes, usage.page_cache_bytes) == (600 * MIB, 600 * MIB, 0)
    assert any("/app/memory.stat" in note for note in usage.notes)


@pytest.mark.parametrize("current", [None, "", "junk\n"], ids=["absent", "empty", "junk"])
def test_a_limit_whose_use_cannot_be_read_still_bounds_the_headroom(tmp_path: Path, current: str | None) -> None:
    level = {"memory.max": f"{GIB}\n"} | ({} if current is None else {"memory.current": current})
    usage = cgexec.usage(root=v2_machine(tmp_path, "/app", {"/app": level}))
    assert usage.headroom_bytes <= GIB
    assert any("memory.current" in note for note in usage.notes)


def test_v1_s_hidden_limit_bounds_the_headroom_though_the_use_cannot_be_read(tmp_path: Path) -> None:
    level = v1_level(2**63 - 4096, 0, hierarchical_memory_limit=256 * MIB) | {"memory.usage_in_bytes": "junk\n"}
    assert cgexec.usage(root=v1_machine(tmp_path, "/app", {"/app": level})).headroom_bytes <= 256 * MIB


def test_memory_events_are_those_of_the_level_closest_to_its_limit(tmp_path: Path) -> None:
    parent = {**v2_level(GIB, 900 * MIB), "memory.events": "low 0\nhigh 4\nmax 9\noom 2\noom_kill 1\n"}
    leaf = {**v2_level(2 * GIB, 100 * MIB), "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"}
    usage = cgexec.usage(root=v2_machine(tmp_path, "/a/b", {"/a": parent, "/a/b": leaf}))
    assert usage.oom_kills == 1
    assert usage.memory_events == {"low": 0, "high": 4, "max": 9, "oom": 2, "oom_kill": 1}


def test_v1_tells_oom_kills_in_oom_control_and_hits_in_failcnt(tmp_path: Path) -> None:
    told = {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "memory.failcnt": "17\n"}
    usage = cgexec.usage(root=v1_machine(tmp_path, "/app", {"/app": {**v1_level(GIB, MIB), **told}}))
    assert usage.oom_kills == 3
    assert usage.memory_events == {"oom_kill": 3, "max": 17}


def test_throttled_time_is_microseconds_on_v2(tmp_path: Path) -> None:
    level = {"cpu.max": "50000 100000\n", "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n"}
    usage = cgexec.usage(root=v2_machine(tmp_path, "/app", {"/app": level}))
    assert (usage.nr_periods, usage.nr_throttled, usage.throttled_seconds) == (10, 4, 1.5)


def test_throttled_time_is_nanoseconds_on_v1(tmp_path: Path) -> None:
    quota = {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}
    level = {**quota, "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 1500000000\n"}
    usage = cgexec.usage(root=v1_machine(tmp_path, "/app", {"/app": level}))
    assert (usage.nr_periods, usage.nr_throttled, usage.throttled_seconds) == (10, 4, 1.5)


def test_throttling_is_told_of_the_level_with_the_tightest_quota(tmp_path: Path) -> None:
    parent = {"cpu.max": "50000 100000\n", "cpu.stat": "nr_periods 10\nnr_throttled 9\nthrottled_usec 1\n"}
    leaf = {"cpu.max": "90000 100000\n", "cpu.stat": "nr_periods 10\nnr_throttled 0\nthrottled_usec 0\n"}
    assert cgexec.usage(root=v2_machine(tmp_path, "/a/b", {"/a": parent, "/a/b": leaf})).nr_throttled == 9


def test_a_cpu_stat_without_bandwidth_says_nothing_about_throttling(tmp_path: Path) -> None:
    usage = cgexec.usage(root=v2_machine(tmp_path, "/", {"/": {"cpu.stat": "usage_usec 5\nuser_usec 5\n"}}))
    assert (usage.nr_periods, usage.nr_throttled, usage.throttled_seconds) == (None, None, None)


def test_stalls_on_a_hybrid_machine_are_told_by_the_unified_hierarchy(tmp_path: Path) -> None:
    unified = "sys/fs/cgroup/unified/svc"
    files = {
        "proc/self/cgroup": "4:memory:/app\n0::/svc\n",
        "proc/self/mountinfo": SYSFS_MOUNTS
        + mount(31, "/", "/sys/fs/cgroup/unified")
        + mount(32, "/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"),
        f"{unified}/memory.pressure": "some avg10=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n",
        f"{unified}/cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=500000\nfull avg10=0.00 total=7\n",
    }
    usage = cgexec.usage(root=build(tmp_path, {**HOST, **files}))
    assert (usage.psi_memory_full, usage.psi_cpu_some) == (2.5, 0.5)
    assert usage.sources["psi_memory_full"] == f"/{unified}/memory.pressure"


def test_stalls_are_unknown_where_the_kernel_has_no_psi(tmp_path: Path) -> None:
    usage = v2_usage(tmp_path)
    assert (usage.psi_memory_full, usage.psi_cpu_some) == (None, None)


def test_pids_headroom_is_that_of_the_level_with_the_fewest_left(tmp_path: Path) -> None:
    parent, leaf = {"pids.max": "200\n", "pids.current": "190\n"}, {"pids.max": "100\n", "pids.current": "20\n"}
    usage = cgexec.usage(root=v2_machine(tmp_path, "/a/b", {"/a": parent, "/a/b": leaf}))
    assert (usage.pids_headroom, usage.pids) == (10, 190)
    assert usage.sources["pids_headroom"] == "/sys/fs/cgroup/a/pids.max"


def test_a_pids_limit_whose_count_cannot_be_read_still_bounds_the_headroom(tmp_path: Path) -> None:
    parent, leaf = {"pids.max": "10\n"}, {"pids.max": "100\n", "pids.current": "20\n"}
    usage = cgexec.usage(root=v2_machine(tmp_path, "/a/b", {"/a": parent, "/a/b": leaf}))
    assert usage.pids_headroom is not None
    assert usage.pids_headroom <= 10


def test_without_a_pids_limit_the_own_count_is_told(tmp_path: Path) -> None:
    usage = cgexec.usage(root=v2_machine(tmp_path, "/a", {"/a": {"pids.max": "max\n", "pids.current": "20\n"}}))
    assert (usage.pids, usage.pids_headroom) == (20, None)


def test_without_a_cgroup_the_machine_answers(tmp_path: Path) -> None:
    usage = cgexec.usage(root=build(tmp_path, HOST))
    assert (usage.memory_bytes, usage.headroom_bytes) == (4 * GIB, AVAILABLE)
    assert usage.working_set_bytes == 6 * GIB  # all but MemFree and Inactive(file)
    assert (usage.process_bytes, usage.process_address_space) == (21 * MIB, 200 * MIB)
