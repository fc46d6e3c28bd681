"""
What the package says under cgroup v2, in virtual machines with a kernel of their own.

A boot takes seconds, so there is one for each kind of machine: it runs all scripts, and the tests look at the answers.
Sizes are small because these machines touch memory slowly.
"""

import pytest

from support import lab
from support.lab import MIB, Outcome, cold_file, in_turn, run_each

pytestmark = pytest.mark.lab

# What a reading may be off by: per-CPU batches of charges, the interpreter's own allocations, kernel memory for the pages.
SLACK = 5 * MIB
# A quota slows down the interpreter's start too, and on one slow CPU half of it is seconds.
LIMITED = ("--memory", "64M", "--cpus", "0.7", "--pids", "50")
PARENT = ("--parent-memory", "48M", "--parent-cpus", "0.6", "--parent-pids", "20")


def cgrun(*options: str, view: str = "host") -> list[str]:
    return ["cgrun", *options, "--view", view, "--"]


@pytest.fixture(scope="module")
def uml(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """User-mode Linux: one CPU, no PSI, no cpuset."""
    with cold_file(tmp_path_factory.mktemp("v2"), 16 * MIB) as path:
        return run_each(
            ["v2", "run", "--"],
            {
                # "changed" comes last: it leaves other limits.
                "host": (
                    cgrun(*LIMITED),
                    in_turn(
                        look=(lab.LOOK,),
                        threads=(lab.THREADS, 7),
                        file=(lab.READ_FILE, path),
                        shmem=(lab.SHARED, 16 * MIB),
                        anonymous=(lab.ANONYMOUS, 16 * MIB),
                        changed=(lab.CHANGED_IN_PLACE, 48 * MIB, "50000 100000", 20),
                    ),
                ),
                "ns": (cgrun(*LIMITED, view="ns"), in_turn(look=(lab.LOOK,), throttled=(lab.THROTTLED,))),
                "high": (cgrun("--memory", "64M", "--memory-high", "48M", view="ns"), lab.LOOK),
                "parent": (cgrun(*LIMITED, *PARENT), in_turn(look=(lab.LOOK,), oom_group=(OOM_GROUP,))),
                "hidden": (cgrun(*PARENT, view="ns"), lab.LOOK),
                "sibling": (cgrun("--memory", "48M", "--parent-memory", "56M"), lab.SIBLING, 24 * MIB),
                "moved": (cgrun("--memory", "40M", "--parent-memory", "64M"), lab.MOVED, 48 * MIB),
                "oom": (cgrun("--memory", "32M"), lab.OOM_KILL),
            },
        )


@pytest.fixture(scope="module")
def tcg(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """An emulated machine: two CPUs, PSI, every controller."""
    with cold_file(tmp_path_factory.mktemp("v2"), 40 * MIB) as path:
        return run_each(
            ["v2", "run", "--backend", "tcg", "--"],
            {
                "cpuset": (cgrun("--cpuset", "1"), CPUSET),
                # More page cache than the limit: every new page waits for an old one to be reclaimed.
                "memory-pressure": (cgrun("--memory", "24M"), lab.READ_FILE, path),
                "real-time": (cgrun("--cpus", "0.9"), lab.REAL_TIME),
            },
        )


# The own cgroup's switch first, then the parent's, which decides as the highest that is set.
OOM_GROUP = """
    off = limits()
    switch = ours(off.sources["oom_group"])
    switch.write_text("1")
    own = limits()
    parent = switch.parent.parent / switch.name
    parent.write_text("1")
    answer(off=off, own=own, above=limits(), parent=str(parent))
"""

# First two that compute on the one CPU of the cpuset, of which one has to wait; then a cgroup below it, whose own
# cpuset.cpus is empty.
CPUSET = """
    import subprocess, time

    own = limits()
    before = after = usage()
    with subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) as child:
        end = time.process_time() + 10
        while time.process_time() < end and not after.psi_cpu_some > before.psi_cpu_some:
            for _ in range(20_000):
                pass
            after = usage()
        child.kill()
    leaf = ours("/sys/fs/cgroup" + Path("/proc/self/cgroup").read_text().strip().partition("::")[2])
    inner = leaf / "inner"
    inner.mkdir()
    (inner / "cgroup.procs").write_text("0")
    (leaf / "cgroup.subtree_control").write_text("+cpuset")
    assert not (inner / "cpuset.cpus").read_text().strip()
    answer(own=own, inherited=limits(), before=before, after=after)
"""


@pytest.mark.parametrize("view", ["host", "ns"])
def test_limits_are_found_in_every_view_that_shows_them(uml: dict[str, Outcome], view: str) -> None:
    seen = uml[view].answer().look.limits
    assert seen.cgroup_version == "v2"
    assert (seen.memory_limit, seen.memory_bytes, seen.memory_high) == (64 * MIB, 64 * MIB, None)
    assert (seen.cpu_quota, seen.cpus) == (0.7, 0.7)
    assert seen.pids_limit == 50
    assert seen.sources.memory_limit.endswith("/memory.max")
    assert seen.sources.cpu_quota.endswith("/cpu.max")
    assert seen.sources.pids_limit.endswith("/pids.max")
    assert seen.notes == []


def test_memory_high_is_what_to_plan_with(uml: dict[str, Outcome]) -> None:
    seen = uml["high"].answer()
    assert (seen.limits.memory_limit, seen.limits.memory_high) == (64 * MIB, 48 * MIB)
    assert seen.limits.memory_bytes == 48 * MIB
    assert seen.limits.sources.memory_bytes.endswith("/memory.high")
    assert seen.usage.sources.headroom_bytes.endswith("/memory.high")
    assert seen.usage.headroom_bytes + seen.usage.memory_bytes == 48 * MIB


def test_a_tighter_parent_wins_and_is_named(uml: dict[str, Outcome]) -> None:
    seen = uml["parent"].answer().look
    assert (seen.limits.memory_limit, seen.limits.cpu_quota, seen.limits.pids_limit) == (48 * MIB, 0.6, 20)
    for name in ("memory_limit", "cpu_quota", "pids_limit"):
        source = getattr(seen.limits.sources, name)
        assert "/leaf/" not in source
        assert source.endswith("(1 level above the process's own cgroup)")
    assert "/leaf/" not in seen.usage.sources.headroom_bytes
    assert "/leaf/" not in seen.usage.sources.nr_throttled
    assert seen.usage.pids_headroom == 19


def test_a_hidden_parent_is_no_limit_but_a_note(uml: dict[str, Outcome]) -> None:
    seen = uml["hidden"].answer().limits
    assert (seen.memory_limit, seen.memory_high, seen.cpu_quota, seen.pids_limit) == (None, None, None, None)
    assert seen.sources.memory_bytes == "/proc/meminfo (MemTotal)"
    assert any("a cgroup above it" in note and "would bind and not show" in note for note in seen.notes)


def test_a_file_that_is_read_is_cache_and_not_use(uml: dict[str, Outcome]) -> None:
    seen = uml["host"].answer().file
    assert seen.after.page_cache_bytes - seen.before.page_cache_bytes >= 13 * MIB
    assert seen.after.memory_bytes - seen.before.memory_bytes < SLACK
    assert seen.before.headroom_bytes - seen.after.headroom_bytes < SLACK


@pytest.mark.parametrize("kind", ["shmem", "anonymous"])
def test_memory_that_reclaim_cannot_give_back_is_use(uml: dict[str, Outcome], kind: str) -> None:
    seen = getattr(uml["host"].answer(), kind)
    assert seen.after.memory_bytes - seen.before.memory_bytes >= 13 * MIB
    assert seen.before.headroom_bytes - seen.after.headroom_bytes >= 13 * MIB
    assert seen.after.page_cache_bytes - seen.before.page_cache_bytes < SLACK
    assert seen.after.headroom_bytes + seen.after.memory_bytes == 64 * MIB


def test_what_a_sibling_uses_of_the_parent_s_limit_is_missing_from_the_headroom(uml: dict[str, Outcome]) -> None:
    seen = uml["sibling"].answer()
    assert "/leaf/" in seen.before.sources.headroom_bytes
    assert seen.after.sources.headroom_bytes == f"{seen.parent}/memory.max"
    assert seen.after.memory_bytes >= 24 * MIB
    assert seen.after.headroom_bytes + seen.after.memory_bytes == 56 * MIB


def test_threads_count_as_pids(uml: dict[str, Outcome]) -> None:
    seen = uml["host"].answer().threads
    assert (seen.before.pids, seen.after.pids) == (1, 8)
    assert (seen.before.pids_headroom, seen.after.pids_headroom) == (49, 42)


def test_throttling_counters_move_when_the_quota_is_used_up(uml: dict[str, Outcome]) -> None:
    seen = uml["ns"].answer().throttled
    assert seen.after.nr_throttled > seen.before.nr_throttled
    assert seen.after.throttled_seconds > seen.before.throttled_seconds
    assert seen.after.nr_periods >= seen.after.nr_throttled


def test_an_oom_kill_in_the_cgroup_is_counted(uml: dict[str, Outcome]) -> None:
    seen = uml["oom"].answer()
    assert seen.status == -9
    assert (seen.before.oom_kills, seen.after.oom_kills) == (0, 1)
    assert seen.after.memory_events.oom_kill == 1
    assert seen.after.memory_events.oom >= 1
    assert seen.after.memory_events.max > seen.before.memory_events.max


def test_the_highest_oom_group_that_is_set_decides(uml: dict[str, Outcome]) -> None:
    seen = uml["parent"].answer().oom_group
    assert (seen.off.oom_group, seen.own.oom_group, seen.above.oom_group) == (False, True, True)
    assert "/leaf/" in seen.own.sources.oom_group
    assert seen.above.sources.oom_group.startswith(f"{seen.parent} (1 level above")


def test_limits_changed_in_place_are_seen_by_the_next_call(uml: dict[str, Outcome]) -> None:
    seen = uml["host"].answer().changed
    assert (seen.before.memory_limit, seen.before.cpu_quota, seen.before.pids_limit) == (64 * MIB, 0.7, 50)
    assert (seen.after.memory_limit, seen.after.cpu_quota, seen.after.pids_limit) == (48 * MIB, 0.5, 20)
    assert seen.used_after.headroom_bytes + seen.used_after.memory_bytes == 48 * MIB
    assert (seen.used_before.pids_headroom, seen.used_after.pids_headroom) == (49, 19)


def test_a_process_that_was_moved_is_answered_from_its_new_cgroup(uml: dict[str, Outcome]) -> None:
    seen = uml["moved"].answer()
    assert (seen.before.memory_limit, seen.after.memory_limit) == (40 * MIB, 48 * MIB)
    assert "/leaf/" in seen.before.sources.memory_limit
    assert "/other/" in seen.after.sources.memory_limit
    assert "/other/" in seen.used_after.sources.headroom_bytes


def test_a_kernel_without_psi_is_none_and_not_zero(uml: dict[str, Outcome]) -> None:
    seen = uml["ns"].answer().look.usage
    assert (seen.psi_memory_full, seen.psi_cpu_some) == (None, None)


@pytest.mark.parametrize("level", ["own", "inherited"])
def test_a_narrowed_cpuset_is_what_may_be_used(tcg: dict[str, Outcome], level: str) -> None:
    seen = getattr(tcg["cpuset"].answer(), level)
    assert (seen.cpu_set, seen.cpus, seen.cpu_quota) == (1, 1.0, None)


def test_waiting_for_a_cpu_shows_in_psi(tcg: dict[str, Outcome]) -> None:
    seen = tcg["cpuset"].answer()
    assert seen.after.psi_cpu_some > seen.before.psi_cpu_some
    assert seen.after.sources.psi_cpu_some.endswith("/cpu.pressure")


def test_waiting_for_reclaim_shows_in_psi_and_in_memory_events(tcg: dict[str, Outcome]) -> None:
    seen = tcg["memory-pressure"].answer()
    assert seen.after.psi_memory_full > seen.before.psi_memory_full
    assert seen.after.memory_events.max > seen.before.memory_events.max
    assert seen.after.oom_kills == 0
    assert seen.after.memory_bytes - seen.before.memory_bytes < SLACK


def test_real_time_scheduling_ignores_the_quota(tcg: dict[str, Outcome]) -> None:
    seen = tcg["real-time"].answer()
    assert (seen.before.cpu_quota, seen.during.cpu_quota, seen.after.cpu_quota) == (0.9, None, 0.9)
    assert seen.reset.cpu_quota == 0.9
    assert any("SCHED_FIFO" in note for note in seen.during.notes)
