"""What was seen and told becomes `Limits`: overrides, platforms without honest files, and a source for every value."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import cgexec
from cgexec._environ import read_environ, told_processes, told_reserve
from cgexec._kernel.files import Files
from cgexec._kernel.windows import JobLimits
from cgexec._limits import derive_limits
from cgexec._snapshot import take_snapshot
from support.trees import build

MIB = 1 << 20
V2 = {
    "proc/self/cgroup": "0::/\n",
    "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
    "proc/self/status": "Cpus_allowed_list:\t0-7\n",
    "proc/meminfo": "MemTotal: 16777216 kB\nMemFree: 1024 kB\nMemAvailable: 8388608 kB\n",
    "sys/fs/cgroup/cpu.max": "200000 100000\n",
    "sys/fs/cgroup/memory.max": f"{4096 * MIB}\n",
    "sys/fs/cgroup/memory.high": "max\n",
    "sys/fs/cgroup/pids.max": "max\n",
}
NO_LIMITS = {**V2, "sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"}


def seen(tmp_path, files=V2):
    return take_snapshot(Files(str(build(tmp_path, files))))


def told(**variables):
    return read_environ(variables, {})


def derived(tmp_path, files=V2, **variables):
    return derive_limits(seen(tmp_path, files), told(**variables))


def test_cpus_told_win_over_the_quota_with_a_note(tmp_path):
    limits = derived(tmp_path, CGEXEC_CPUS="3")
    assert (limits.cpus, limits.cpu_quota, limits.sources["cpus"]) == (3.0, 2.0, "CGEXEC_CPUS")
    assert any("above the quota of 2 CPUs" in note for note in limits.notes)


def test_memory_told_wins_over_the_host(tmp_path):
    limits = derived(tmp_path, NO_LIMITS, CGEXEC_MEMORY="32Gi")
    assert (limits.memory_bytes, limits.sources["memory_bytes"]) == (32 << 30, "CGEXEC_MEMORY")


def test_memory_told_never_exceeds_what_the_kernel_kills_for(tmp_path):
    limits = derived(tmp_path, CGEXEC_MEMORY="8Gi")
    assert limits.memory_bytes == 4 << 30
    assert any("enforces by killing" in note for note in limits.notes)


def test_memory_told_may_ask_for_more_than_memory_high(tmp_path):
    files = {**V2, "sys/fs/cgroup/memory.high": f"{1024 * MIB}\n"}
    assert derived(tmp_path, files).memory_bytes == 1 << 30
    assert derived(tmp_path, files, CGEXEC_MEMORY="2Gi").memory_bytes == 2 << 30


def test_more_than_there_is_may_be_told_with_a_note(tmp_path):
    limits = derived(tmp_path, NO_LIMITS, CGEXEC_CPUS="2000", CGEXEC_MEMORY="400Gi")
    assert (limits.cpus, limits.memory_bytes) == (2000.0, 400 << 30)
    assert "CGEXEC_CPUS=2000 is above the 8 CPUs to run on (host); no more run at the same time" in limits.notes
    assert (
        "CGEXEC_MEMORY: 400 GiB is above the machine's memory of 16 GiB; the kernel kills when that is used up"
        in limits.notes
    )
    assert not any("is above" in note for note in derived(tmp_path, CGEXEC_CPUS="2", CGEXEC_MEMORY="4Gi").notes)


def test_requests_are_only_what_is_told(tmp_path):
    assert derived(tmp_path).cpu_request is None
    limits = derived(tmp_path, CGEXEC_CPU_REQUEST="100m", CGEXEC_MEMORY_REQUEST="1Gi")
    assert (limits.cpu_request, limits.memory_request) == (0.1, 1 << 30)
    assert limits.sources["memory_request"] == "CGEXEC_MEMORY_REQUEST"


def test_zero_from_the_downward_api_is_not_set(tmp_path):
    limits = derived(tmp_path, CGEXEC_CPU_REQUEST="0", CGEXEC_MEMORY_REQUEST="0", CGEXEC_MEMORY="0", CGEXEC_CPUS="0")
    assert (limits.cpu_request, limits.memory_request, limits.memory_bytes, limits.cpus) == (None, None, 4 << 30, 2.0)
    assert "CGEXEC_CPU_REQUEST=0 is taken as not set" in limits.notes


def test_a_request_above_the_limit_is_noted(tmp_path):
    notes = derived(tmp_path, CGEXEC_CPU_REQUEST="4", CGEXEC_MEMORY_REQUEST="8Gi").notes
    assert any("CPU request of 4 CPUs is above" in note and "Kubernetes refuses" in note for note in notes)
    assert any("memory request of 8 GiB is above" in note for note in notes)


@pytest.mark.parametrize(("files", "variables"), [(V2, {"CGEXEC_CPUS": "1"}), (NO_LIMITS, {})], ids=["told", "machine"])
def test_a_request_above_what_is_no_limit_of_the_pod_is_not_said_to_be_refused(tmp_path, files, variables):
    notes = derived(tmp_path, files, CGEXEC_CPU_REQUEST="9", **variables).notes
    assert any("CPU request of 9 CPUs is above" in note for note in notes)
    assert not any("refuses" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "text", "right"),
    [
        ("CGEXEC_CPUS", "two", "1500m"),
        ("CGEXEC_CPUS", "-1", "1500m"),
        ("CGEXEC_CPUS", "nan", "1500m"),
        ("CGEXEC_CPUS", "2Gi", "1500m"),
        ("CGEXEC_MEMORY", "80%", "512Mi"),
        ("CGEXEC_MEMORY", "4", "512Mi"),
        ("CGEXEC_CPU_REQUEST", "x", "1500m"),
        ("CGEXEC_MEMORY_REQUEST", "1 gig", "512Mi"),
    ],
)
def test_nonsense_names_the_variable_and_shows_a_right_value(name, text, right):
    with pytest.raises(ValueError, match=f"{name}=.*{right}"):
        told(**{name: text})


def test_limits_raises_for_nonsense_in_the_real_environment(monkeypatch):
    monkeypatch.setenv("CGEXEC_CPUS", "many")
    with pytest.raises(ValueError, match="CGEXEC_CPUS='many'"):
        cgexec.limits()


def test_another_root_does_not_hear_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CGEXEC_CPUS", "64")
    assert cgexec.limits(root=build(tmp_path, V2)).cpus == 2.0


def test_pythons_own_override_replaces_the_count_but_not_the_quota(tmp_path):
    free = derived(tmp_path, NO_LIMITS, PYTHON_CPU_COUNT="3")
    assert (free.cpus, free.cpu_set, free.sources["cpus"]) == (3.0, 3, "PYTHON_CPU_COUNT")
    assert free.cpus_bound
    assert derived(tmp_path / "b", V2, PYTHON_CPU_COUNT="6").cpus == 2.0


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "٣", "++3", "3 ", "10000000", "0" * 9 + "-1", "9" * 5000])
def test_pythons_override_with_nonsense_is_noted(text):
    answer = read_environ({"PYTHON_CPU_COUNT": text}, {})
    assert answer.python_cpu_count is None
    assert "PYTHON_CPU_COUNT" in answer.notes[0]


def test_the_interpreters_option_comes_before_the_variable():
    answer = read_environ({"PYTHON_CPU_COUNT": "3"}, {"cpu_count": "5"})
    assert (answer.python_cpu_count, answer.python_cpu_count_source) == (5, "-X cpu_count")


@pytest.mark.parametrize("option", ["default", "", True, "x"])
def test_the_interpreters_option_cancels_the_variable_too(option):
    answer = read_environ({"PYTHON_CPU_COUNT": "3"}, {"cpu_count": option})
    assert answer.python_cpu_count is None
    assert read_environ({"PYTHON_CPU_COUNT": "default"}, {}).python_cpu_count is None


@pytest.mark.parametrize("text", ["3", "00000000003", "+3", " 3"])
def test_pythons_override_is_read_as_python_reads_it(text):
    answer = read_environ({"PYTHON_CPU_COUNT": text}, {})
    assert (answer.python_cpu_count, answer.notes) == (3, ())


def test_an_ignored_environment_has_no_override_and_is_ours_to_read():
    variables = {"PYTHON_CPU_COUNT": "3", "CGEXEC_CPUS": "1.5"}
    answer = read_environ(variables, {}, ignore_environment=True)
    assert (answer.python_cpu_count, answer.cpus) == (None, 1.5)
    assert read_environ(variables, {"cpu_count": "5"}, ignore_environment=True).python_cpu_count == 5


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ([], "PYTHON_CPU_COUNT"),
        (["-X", "cpu_count=5"], "-X cpu_count"),
        (["-X", "cpu_count=default"], None),
        (["-E"], None),
        (["-I"], None),
    ],
)
def test_limits_follows_the_options_of_the_interpreter(options, source):
    look = "import sys; sys.path.insert(0, sys.argv[1]); import cgexec; print(cgexec.limits().sources['cpu_set'])"
    folder = str(Path(cgexec.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, *options, "-c", look, folder],
        env={**os.environ, "PYTHON_CPU_COUNT": "3"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = done.stdout.strip()
    assert said == source if source is not None else "cpu_count" not in said.lower()


def test_lambda_tells_its_memory(tmp_path):
    variables = {"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"}
    limits = derived(tmp_path, NO_LIMITS, **variables)
    assert limits.memory_bytes == 1769 * MIB
    assert limits.sources["memory_bytes"] == "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
    assert any("AWS Lambda" in note and "CPU limit" in note for note in limits.notes)


@pytest.mark.parametrize("text", ["big", "0", "20000000", "00000000001769x"])
def test_lambdas_nonsense_is_noted(text):
    assert "is not a number of MiB" in told(AWS_LAMBDA_FUNCTION_MEMORY_SIZE=text).notes[0]


@pytest.mark.parametrize("text", ["4", "00000000000004"])
def test_a_number_of_processes_is_read_to_its_end(text):
    assert told_processes({"CGEXEC_PROCESSES": text}) == (4, "CGEXEC_PROCESSES")
    assert told_processes({"WEB_CONCURRENCY": text}) == (4, "WEB_CONCURRENCY")
    assert told(WEB_CONCURRENCY=text).notes == told(WEB_CONCURRENCY=" ").notes == ()


@pytest.mark.parametrize("text", ["0", "12345678901", "1000001", "00000000000", "9" * 5000, "4.0", "٤"])
def test_what_is_no_number_of_processes_is_refused_and_left_to_its_owner(text):
    with pytest.raises(ValueError, match="CGEXEC_PROCESSES=.*at least 1 and at most a million.*CGEXEC_PROCESSES=4"):
        told_processes({"CGEXEC_PROCESSES": text})
    assert told_processes({"WEB_CONCURRENCY": text}) == (1, "one process")
    assert "is not a number of processes" in told(WEB_CONCURRENCY=text).notes[0]


def test_zero_keeps_nothing_free_and_nothing_is_the_default():
    assert told_reserve({"CGEXEC_RESERVE": "0"}) == 0
    assert told_reserve({"CGEXEC_RESERVE": ""}) is None


@pytest.mark.parametrize(
    ("variables", "platform"),
    [
        ({"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}, "AWS Fargate"),
        ({"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/x"}, "Amazon ECS"),
        ({"K_SERVICE": "s"}, "Cloud Run"),
        ({"CLOUD_RUN_JOB": "j"}, "Cloud Run"),
        ({"DYNO": "web.1"}, "Heroku"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "pod"),
    ],
)
def test_a_platform_without_honest_files_is_said_and_no_number_is_made_up(tmp_path, variables, platform):
    limits = derived(tmp_path, NO_LIMITS, **variables)
    assert any(platform in note and "CGEXEC_MEMORY" in note for note in limits.notes)
    assert (limits.memory_bytes, limits.cpus) == (16 << 30, 8.0)


def test_a_platform_whose_limits_show_needs_no_note(tmp_path):
    assert derived(tmp_path, V2, KUBERNETES_SERVICE_HOST="10.0.0.1").notes == ()


def test_gvisor_is_recognised(tmp_path):
    files = {**NO_LIMITS, "proc/version": "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n"}
    assert any("gVisor" in note for note in derived(tmp_path, files).notes)


def test_realtime_scheduling_ignores_the_quota(tmp_path):
    snapshot = seen(tmp_path)
    limits = derive_limits(snapshot._replace(host=snapshot.host._replace(realtime="SCHED_FIFO")), told())
    assert (limits.cpus, limits.cpu_quota) == (8.0, None)
    assert any("SCHED_FIFO" in note for note in limits.notes)


def test_a_windows_job_limits_memory_and_cpu(tmp_path):
    """The values a job object gives; that it gives them can only be seen on Windows (see kernel/test_windows.py)."""
    snapshot = seen(tmp_path, NO_LIMITS)
    job = JobLimits(memory_limit=512 * MIB, cpu_share=0.25, memory_bytes=None)
    limits = derive_limits(snapshot._replace(host=snapshot.host._replace(job=job)), told())
    assert (limits.cpus, limits.memory_limit, limits.sources["memory_limit"]) == (
        2.0,
        512 * MIB,
        "job object (memory limit)",
    )


def test_a_quota_as_large_as_the_host_still_counts_as_a_limit(tmp_path):
    files = {**V2, "sys/fs/cgroup/cpu.max": "1600000 100000\n"}
    limits = derived(tmp_path, files)
    assert (limits.cpus, limits.cpu_quota, limits.cpus_bound) == (8.0, 16.0, True)


def test_every_value_has_a_source(tmp_path):
    limits = derived(tmp_path)
    values = {name for name in type(limits).__slots__ if name not in ("sources", "notes", "cgroup_version")}
    assert values <= set(limits.sources)
    assert all(limits.sources.values())


def test_a_source_says_how_far_up_the_limit_stands(tmp_path):
    files = {
        **{name: text for name, text in NO_LIMITS.items() if name.startswith("proc/")},
        "proc/self/cgroup": "0::/pod/box\n",
        "sys/fs/cgroup/pod/memory.max": f"{64 * MIB}\n",
        "sys/fs/cgroup/pod/box/memory.max": "max\n",
    }
    limits = derived(tmp_path, files)
    assert limits.memory_limit == 64 * MIB
    assert limits.sources["memory_limit"] == "/sys/fs/cgroup/pod/memory.max (1 level above the process's own cgroup)"


def test_values_travel_to_another_process(tmp_path):
    limits, usage = derived(tmp_path), cgexec.usage(root=tmp_path)
    assert pickle.loads(pickle.dumps(limits)) == limits == copy.deepcopy(limits)
    assert pickle.loads(pickle.dumps(usage)) == usage
    assert hash(limits) == hash(copy.deepcopy(limits))


def test_nothing_readable_still_gets_an_answer_and_a_note(tmp_path):
    limits, usage = cgexec.limits(root=tmp_path), cgexec.usage(root=tmp_path)
    assert limits.cpus >= 1
    assert limits.memory_bytes > 0
    assert limits.cgroup_version is None
    assert any("no cgroup file system is visible" in note for note in limits.notes)
    assert any("MemTotal" in note for note in limits.notes)
    assert usage.headroom_bytes >= 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no cgroups to be seen")
def test_on_linux_without_a_readable_proc_it_is_said_that_limits_cannot_be_read():
    class Unreadable(Files):
        def text(self, path):
            return None

    assert any("no cgroup file system is visible" in note for note in take_snapshot(Unreadable()).notes)


def test_an_empty_root_is_an_error():
    with pytest.raises(ValueError, match='expected "/" for this machine'):
        cgexec.limits(root="")


def test_a_root_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="none': there is no such directory"):
        cgexec.limits(root=tmp_path / "none")


def test_a_cgroup_whose_directory_is_not_there_is_noted(tmp_path):
    proc = {name: text for name, text in NO_LIMITS.items() if name.startswith("proc/")}
    notes = cgexec.limits(root=build(tmp_path, proc)).notes
    assert "/sys/fs/cgroup: the cgroup of this process is not there, so its own limits cannot be read" in notes
    build(tmp_path, {**NO_LIMITS, "proc/self/cgroup": "0::/gone\n"})
    assert any(note.startswith("/sys/fs/cgroup/gone: the cgroup") for note in cgexec.usage(root=tmp_path).notes)
    build(tmp_path, NO_LIMITS)
    assert not any("is not there" in note for note in cgexec.limits(root=tmp_path).notes)


def test_a_v1_quota_without_its_period_is_taken_with_the_kernels_default(tmp_path):
    files = {
        "proc/self/cgroup": "3:cpu:/\n",
        "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
    }
    limits = cgexec.limits(root=build(tmp_path, files))
    assert limits.cpu_quota == 0.5
    assert any("cpu.cfs_period_us: says nothing" in note for note in limits.notes)


@pytest.mark.parametrize(("quota", "noted"), [("50000\n", True), ("-1\n", False)])
def test_an_odd_v1_period_is_named_where_there_is_a_quota(tmp_path, quota, noted):
    files = {
        "proc/self/cgroup": "3:cpu:/\n",
        "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000 x\n",
    }
    limits = cgexec.limits(root=build(tmp_path, files))
    assert limits.cpu_quota is None
    assert any(note.startswith("/sys/fs/cgroup/cpu/cpu.cfs_period_us: ") for note in limits.notes) is noted
    assert not any("cpu.cfs_quota_us" in note for note in limits.notes)


def test_sources_and_notes_of_a_cgroup_with_a_name_that_is_no_text_can_be_logged(tmp_path):
    build(tmp_path, V2)
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/box-\xff\n")
    group = tmp_path / os.fsdecode(b"sys/fs/cgroup/box-\xff")
    group.mkdir()
    (group / "memory.max").write_text(f"{64 * MIB}\n")
    (group / "memory.current").write_text("junk")
    limits, usage = cgexec.limits(root=tmp_path), cgexec.usage(root=tmp_path)
    assert limits.memory_limit == 64 * MIB
    for text in (*limits.sources.values(), *limits.notes, *usage.sources.values(), *usage.notes):
        text.encode()
