"""What the package says under real limits of cgroup v1, at native speed, against what the kernel then does."""

import os
from pathlib import Path

import pytest

from support import lab
from support.lab import MIB, cold_file, run_in

pytestmark = pytest.mark.lab

# What a reading may be off by: per-CPU batches of charges, the interpreter's own allocations, kernel memory for the pages.
SLACK = 5 * MIB


def v1(*options: str, view: str = "host") -> list[str]:
    return ["v1", *options, "--view", view, "--"]


LIMITED = ("--memory", "64M", "--cpus", "0.5", "--pids", "50")


@pytest.mark.parametrize("view", ["host", "ns", "bind", "ro"])
def test_limits_are_found_in_every_view_that_shows_them(view: str) -> None:
    seen = run_in(v1(*LIMITED, view=view), lab.LOOK).limits
    assert (seen.memory_limit, seen.memory_bytes) == (64 * MIB, 64 * MIB)
    assert (seen.cpu_quota, seen.cpus) == (0.5, 0.5)
    assert seen.pids_limit == 50
    assert seen.sources.memory_limit.endswith("/memory.limit_in_bytes")
    assert seen.sources.cpu_quota.endswith("/cpu.cfs_quota_us")
    assert seen.sources.pids_limit.endswith("/pids.max")
    assert seen.notes == []


def test_the_looks_of_a_pool_find_the_limits_behind_many_mounts(tmp_path: Path) -> None:
    """The kernel tells mountinfo a page at a time, and the volumes of a pod are more than one."""
    seen = run_in(
        v1(*LIMITED, view="ns"),
        """
        import subprocess
        from cgexec._adaptive.gauge import CpuGauge
        from cgexec._memory.gauge import Gauge

        def mount(*words):
            subprocess.run(["mount", *words], check=True)

        folder = Path(sys.argv[1])
        for number in range(40):
            volume = folder / f"var/lib/kubelet/pods/2f7d2a53-b3a1-4d0e-9a2b/volumes/{number}"
            volume.mkdir(parents=True)
            mount("-t", "tmpfs", "-o", "size=64k", "volume", volume)
        # Mounted anew, a hierarchy's line comes last.
        aside = folder / "aside"
        aside.mkdir()
        for name in ("cpu_quota", "memory_limit"):
            point = Path(limits().sources[name]).parent
            mount("--bind", point, aside)
            subprocess.run(["umount", point], check=True)
            mount("--move", aside, point)
        with open("/proc/self/mountinfo", "rb", buffering=0) as file:
            first = file.read(1 << 16)
        answer(
            first=first.decode(),
            point=str(point),
            limits=limits(),
            memory=getattr(Gauge().read(0.0), "limit", None),
            quota=CpuGauge().read(0.0).quota,
        )
        """,
        tmp_path,
    )
    assert f" {seen.point} " not in seen.first
    assert (seen.memory, seen.quota) == (64 * MIB, 0.5)
    assert (seen.limits.memory_limit, seen.limits.cpu_quota) == (64 * MIB, 0.5)


def test_without_a_mount_there_is_no_limit_but_a_note() -> None:
    seen = run_in(v1(*LIMITED, view="nomount"), lab.LOOK)
    assert (seen.limits.memory_limit, seen.limits.cpu_quota, seen.limits.pids_limit) == (None, None, None)
    assert seen.limits.cgroup_version is None
    for controller in ("memory", "cpu", "pids"):
        assert any(note.startswith(f"{controller}: this process is in cgroup /cgxlab") for note in seen.limits.notes)
    assert any("no cgroup file system is visible" in note for note in seen.limits.notes)
    assert (seen.usage.pids, seen.usage.nr_throttled, seen.usage.oom_kills) == (None, None, None)


def test_a_namespace_without_its_own_mount_is_noted() -> None:
    seen = run_in(v1(*LIMITED, view="ns-noremount"), lab.LOOK)
    assert seen.limits.memory_limit != 64 * MIB
    for controller in ("memory", "cpu"):
        assert any(note.startswith(f"{controller}: the mounts show only a cgroup above") for note in seen.limits.notes)
    assert seen.usage.oom_kills is None


def test_a_tighter_parent_wins_and_is_named() -> None:
    # v1 refuses a child's CPU quota above its parent's, so the leaf has none.
    options = (
        "--memory",
        "64M",
        "--parent-memory",
        "48M",
        "--parent-cpus",
        "0.3",
        "--pids",
        "50",
        "--parent-pids",
        "20",
    )
    seen = run_in(v1(*options), lab.LOOK)
    assert (seen.limits.memory_limit, seen.limits.cpu_quota, seen.limits.pids_limit) == (48 * MIB, 0.3, 20)
    for name in ("memory_limit", "cpu_quota", "pids_limit"):
        source = getattr(seen.limits.sources, name)
        assert "/leaf/" not in source
        assert source.endswith("(1 level above the process's own cgroup)")
    assert "/leaf/" not in seen.usage.sources.headroom_bytes
    assert "/leaf/" not in seen.usage.sources.nr_throttled
    assert seen.usage.pids_headroom == 19


def test_a_tighter_leaf_wins_over_its_parent() -> None:
    options = ("--memory", "48M", "--parent-memory", "64M", "--cpus", "0.3", "--parent-cpus", "0.5")
    seen = run_in(v1(*options, "--pids", "20", "--parent-pids", "50"), lab.LOOK).limits
    assert (seen.memory_limit, seen.cpu_quota, seen.pids_limit) == (48 * MIB, 0.3, 20)
    assert seen.sources.memory_limit.endswith("/leaf/memory.limit_in_bytes")


@pytest.mark.parametrize("view", ["ns", "bind"])
def test_the_memory_limit_of_a_hidden_parent_is_found(view: str) -> None:
    seen = run_in(v1("--memory", "64M", "--parent-memory", "48M", view=view), lab.LOOK)
    assert (seen.limits.memory_limit, seen.limits.memory_bytes) == (48 * MIB, 48 * MIB)
    assert "hierarchical_memory_limit" in seen.limits.sources.memory_limit
    assert seen.usage.headroom_bytes <= 48 * MIB
    assert any("not visible here" in note for note in seen.usage.notes)


def test_a_soft_limit_is_no_limit() -> None:
    seen = run_in(v1("--memory", "64M", "--memory-high", "32M"), lab.LOOK).limits
    assert (seen.memory_limit, seen.memory_high, seen.memory_bytes) == (64 * MIB, None, 64 * MIB)


def test_swap_is_reported_without_the_memory_v1_counts_into_it() -> None:
    seen = run_in(
        v1("--memory", "64M", "--swap", "96M"),
        """
        seen = limits()
        if not Path(seen.sources["memory_limit"]).with_name("memory.memsw.limit_in_bytes").exists():
            skip("this kernel does not account swap")
        answer(limits=seen)
        """,
    ).limits
    assert (seen.memory_bytes, seen.swap_limit) == (64 * MIB, 32 * MIB)


@pytest.mark.parametrize(
    ("limit", "size", "cached"),
    [
        pytest.param("64M", 24 * MIB, 20 * MIB, id="fits"),
        pytest.param("32M", 48 * MIB, 8 * MIB, id="larger-than-the-limit"),
    ],
)
def test_a_file_that_is_read_is_cache_and_not_use(tmp_path: Path, limit: str, size: int, cached: int) -> None:
    with cold_file(tmp_path, size) as path:
        seen = run_in(v1("--memory", limit), lab.READ_FILE, path)
    assert seen.after.page_cache_bytes - seen.before.page_cache_bytes >= cached
    assert seen.after.memory_bytes - seen.before.memory_bytes < SLACK
    assert seen.before.headroom_bytes - seen.after.headroom_bytes < SLACK


@pytest.mark.parametrize("script", [pytest.param(lab.SHARED, id="shmem"), pytest.param(lab.ANONYMOUS, id="anonymous")])
def test_memory_that_reclaim_cannot_give_back_is_use(script: str) -> None:
    seen = run_in(v1("--memory", "64M"), script, 24 * MIB)
    assert seen.after.memory_bytes - seen.before.memory_bytes >= 20 * MIB
    assert seen.before.headroom_bytes - seen.after.headroom_bytes >= 20 * MIB
    assert seen.after.page_cache_bytes - seen.before.page_cache_bytes < SLACK
    assert seen.after.headroom_bytes + seen.after.memory_bytes == 64 * MIB


def test_only_anonymous_memory_is_the_process_s_own() -> None:
    seen = run_in(v1("--memory", "64M"), lab.ANONYMOUS, 24 * MIB)
    assert seen.after.process_bytes - seen.before.process_bytes >= 20 * MIB
    seen = run_in(v1("--memory", "64M"), lab.SHARED, 24 * MIB)
    assert seen.after.process_bytes - seen.before.process_bytes < SLACK


def test_dirty_pages_are_use_until_the_disk_has_them(tmp_path: Path) -> None:
    """The kernel may write pages back at any time, so the proof is against what it calls dirty afterwards."""
    with cold_file(tmp_path, MIB) as path:
        seen = run_in(
            v1("--memory", "64M"),
            """
            stat = Path(limits().sources["memory_limit"]).with_name("memory.stat")
            before = usage()
            with open(sys.argv[1], "wb", buffering=0) as file:
                for _ in range(24):
                    file.write(bytes(1 << 20))
                written = usage()
                dirty = next(int(line.split()[1]) for line in stat.open() if line.startswith("total_dirty "))
                os.fsync(file.fileno())
                synced = usage()
            if dirty < 8 << 20:
                skip(f"the kernel wrote the pages back at once; {dirty} bytes were still dirty")
            answer(before=before, written=written, dirty=dirty, synced=synced)
            """,
            path,
        )
    assert seen.written.memory_bytes - seen.before.memory_bytes >= seen.dirty - SLACK
    assert seen.synced.memory_bytes - seen.before.memory_bytes < SLACK
    assert seen.synced.page_cache_bytes - seen.before.page_cache_bytes >= 20 * MIB


def test_what_a_sibling_uses_of_the_parent_s_limit_is_missing_from_the_headroom() -> None:
    seen = run_in(v1("--memory", "48M", "--parent-memory", "64M"), lab.SIBLING, 32 * MIB)
    assert "/leaf/" in seen.before.sources.headroom_bytes
    assert seen.after.sources.headroom_bytes == f"{seen.parent}/memory.limit_in_bytes"
    assert seen.after.memory_bytes >= 32 * MIB
    assert seen.after.headroom_bytes + seen.after.memory_bytes == 64 * MIB


def test_threads_count_as_pids() -> None:
    seen = run_in(v1("--pids", "50"), lab.THREADS, 7)
    assert (seen.before.pids, seen.after.pids) == (1, 8)
    assert (seen.before.pids_headroom, seen.after.pids_headroom) == (49, 42)


@pytest.mark.parametrize("option", ["--cpus", "--parent-cpus"])
def test_throttling_counters_move_when_the_quota_is_used_up(option: str) -> None:
    seen = run_in(v1(option, "0.2"), lab.THROTTLED)
    assert seen.after.nr_throttled > seen.before.nr_throttled
    assert seen.after.throttled_seconds > seen.before.throttled_seconds
    assert seen.after.nr_periods >= seen.after.nr_throttled


def test_an_oom_kill_in_the_cgroup_is_counted() -> None:
    seen = run_in(v1("--memory", "48M"), lab.OOM_KILL)
    assert seen.status == -9
    assert (seen.before.oom_kills, seen.after.oom_kills) == (0, 1)
    assert seen.after.memory_events.oom_kill == 1
    assert seen.after.memory_events.max > seen.before.memory_events.max


def test_limits_changed_in_place_are_seen_by_the_next_call() -> None:
    seen = run_in(v1(*LIMITED), lab.CHANGED_IN_PLACE, 48 * MIB, 30_000, 20)
    assert (seen.before.memory_limit, seen.before.cpu_quota, seen.before.pids_limit) == (64 * MIB, 0.5, 50)
    assert (seen.after.memory_limit, seen.after.cpu_quota, seen.after.pids_limit) == (48 * MIB, 0.3, 20)
    assert seen.used_before.headroom_bytes + seen.used_before.memory_bytes == 64 * MIB
    assert seen.used_after.headroom_bytes + seen.used_after.memory_bytes == 48 * MIB
    assert (seen.used_before.pids_headroom, seen.used_after.pids_headroom) == (49, 19)


def test_a_process_that_was_moved_is_answered_from_its_new_cgroup() -> None:
    seen = run_in(v1("--memory", "40M", "--parent-memory", "64M"), lab.MOVED, 48 * MIB)
    assert (seen.before.memory_limit, seen.after.memory_limit) == (40 * MIB, 48 * MIB)
    assert "/leaf/" in seen.before.sources.memory_limit
    assert "/other/" in seen.after.sources.memory_limit
    assert "/other/" in seen.used_after.sources.headroom_bytes


@pytest.mark.parametrize("view", ["host", "ns"])
def test_a_narrowed_cpuset_is_what_may_be_used(view: str) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("this machine gives us one CPU, of which no cpuset can take any")
    seen = run_in(v1("--cpuset", str(allowed[-1]), view=view), lab.LOOK).limits
    assert (seen.cpu_set, seen.cpus) == (1, 1.0)
    assert seen.sources.cpus in ("CPU affinity", seen.sources.cpu_set)


def test_real_time_scheduling_ignores_the_quota() -> None:
    seen = run_in(v1("--cpus", "0.5"), lab.REAL_TIME)
    assert (seen.before.cpu_quota, seen.during.cpu_quota, seen.after.cpu_quota) == (0.5, None, 0.5)
    assert seen.during.cpus == seen.during.cpu_set
    assert seen.reset.cpu_quota == 0.5
    assert any("SCHED_FIFO" in note for note in seen.during.notes)


def test_rlimit_as_bounds_the_address_space_and_not_the_memory() -> None:
    seen = run_in(
        v1("--memory", "256M"),
        """
        import resource

        before = limits()
        resource.setrlimit(resource.RLIMIT_AS, (128 << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
        answer(before=before, after=limits(), usage=usage())
        """,
    )
    assert seen.after.address_space_limit == 128 * MIB
    assert seen.before.memory_bytes == seen.after.memory_bytes == 256 * MIB
    assert 0 < seen.usage.process_address_space < 128 * MIB
