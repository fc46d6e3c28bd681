"""What the package says inside real containers: made by runc as Docker and Kubernetes make them, and by Docker itself."""

import pytest

from support import lab
from support.lab import MIB, interpreter_folders, run_each, run_in

pytestmark = pytest.mark.lab

LIMITED = ("--memory", "64M", "--cpus", "0.5", "--pids", "50")


def assert_limited(limits) -> None:
    assert (limits.memory_limit, limits.cpu_quota, limits.pids_limit) == (64 * MIB, 0.5, 50)
    assert limits.memory_bytes == 64 * MIB
    assert limits.cpus == 0.5


@pytest.mark.parametrize("namespace", ["private", "host"])
def test_runc_limits_are_found_on_v1(namespace: str) -> None:
    found = run_in(["oci", *LIMITED, "--cgroupns", namespace, "--"], lab.LOOK)
    assert found.limits.cgroup_version in ("v1", "hybrid")
    assert_limited(found.limits)
    assert 0 < found.usage.headroom_bytes < 64 * MIB


def test_the_limit_of_a_pod_is_found_from_a_container_without_one_on_v1() -> None:
    found = run_in(["oci", "--parent-memory", "96M", "--cgroupns", "private", "--"], lab.LOOK)
    assert found.limits.memory_limit == 96 * MIB


def test_runc_limits_are_found_on_v2() -> None:
    outcomes = run_each(
        ["v2", "run", "--"],
        {
            "limited": (["oci", *LIMITED, "--"], lab.LOOK),
            "pod": (["oci", "--parent-memory", "96M", "--"], lab.LOOK),
        },
    )
    found = outcomes["limited"].answer()
    assert found.limits.cgroup_version == "v2"
    assert_limited(found.limits)
    hidden = outcomes["pod"].answer()
    assert hidden.limits.memory_limit is None
    assert any("above it" in note for note in hidden.limits.notes)


def test_docker_limits_are_found() -> None:
    shown = [word for folder in interpreter_folders() for word in ("-v", f"{folder}:{folder}:ro")]
    options = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "-e", f"PYTHONPATH={lab.IMPORT_FROM}", *shown]
    found = run_in(["docker", *options, "--"], lab.LOOK, timeout=100)
    assert_limited(found.limits)
