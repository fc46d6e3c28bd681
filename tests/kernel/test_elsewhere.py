"""What is asked of the system where there are no kernel files, and what is said when nothing tells."""

import os
import sys
from types import SimpleNamespace

import psutil
import pytest

from cgexec._environ import Told
from cgexec._kernel import host, windows
from cgexec._kernel.files import Files
from cgexec._kernel.host import read_host, read_host_use
from cgexec._limits import derive_limits
from cgexec._profile.measure import _held_elsewhere
from cgexec._snapshot import take_snapshot
from support.trees import build


class NoMeminfo(Files):
    """This machine, with a /proc that does not tell how much memory it has."""

    def text(self, path):
        return None if path == "/proc/meminfo" else super().text(path)


class Online(Files):
    """This machine, with so many CPUs as *told* says."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def text(self, path):
        return self.told if path == "/sys/devices/system/cpu/online" else super().text(path)


def refuse(*args):
    raise OSError("broken")


def test_on_macos_and_windows_psutil_tells_what_is_in_use(monkeypatch):
    monkeypatch.setattr(host, "sys", SimpleNamespace(platform="darwin"))
    use = read_host_use(Files())
    assert use.total == psutil.virtual_memory().total
    assert use.available + use.working_set == use.total
    assert 1 << 20 < use.process_bytes <= use.process_address_space


def test_the_memory_of_a_machine_that_keeps_it_to_itself(monkeypatch):
    total = psutil.virtual_memory().total
    files = NoMeminfo()
    seen = read_host(files)
    assert (seen.memory_bytes, seen.memory_source, files.notes) == (total, "host memory (psutil)", [])

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    files = NoMeminfo()
    seen = read_host(files)
    assert seen.memory_source == "host memory (sysconf)"
    assert seen.memory_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert "psutil cannot tell the host's memory (broken)" in files.notes

    monkeypatch.setattr(os, "sysconf", refuse)
    files = NoMeminfo()
    seen = read_host(files)
    assert (seen.memory_bytes, seen.memory_source) == (host._ASSUMED_MEMORY, "assumed")
    assert "set CGEXEC_MEMORY" in files.notes[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="a file of the Linux kernel")
def test_an_affinity_is_no_less_a_limit_where_the_c_library_counts_it_as_the_machine(monkeypatch):
    """As musl does: there sysconf(_SC_NPROCESSORS_ONLN) is the number of CPUs that the process may run on."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    files = Online("0-63\n")
    assert read_host(files).cpus == 64
    limits = derive_limits(take_snapshot(files), Told())
    assert (limits.cpus_bound, limits.cpu_set) == (True, 2)


@pytest.mark.parametrize("told", [None, "", "many\n"])
def test_where_no_file_tells_the_cpus_python_does(monkeypatch, told):
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert read_host(Online(told)).cpus == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert read_host(Online(told)).cpus == 1


@pytest.mark.parametrize(("counted", "cpus"), [(16, 16), (0, 4)])
def test_on_windows_the_system_tells_the_processors(monkeypatch, counted, cpus):
    """A job's share is one of all of them, and os.cpu_count() may be what PYTHON_CPU_COUNT says."""
    asked = []
    kernel32 = SimpleNamespace(GetActiveProcessorCount=lambda group: asked.append(group) or counted)
    monkeypatch.setattr(windows.ctypes, "windll", SimpleNamespace(kernel32=kernel32), raising=False)
    monkeypatch.setattr(windows, "_query", lambda *args: None)
    monkeypatch.setattr(host, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert read_host(Files()).cpus == cpus
    assert asked == [0xFFFF]  # ALL_PROCESSOR_GROUPS


def test_a_list_of_cpus_that_is_none_is_not_counted(tmp_path):
    build(
        tmp_path,
        {
            "proc/meminfo": "MemTotal: 1048576 kB\n",
            "proc/self/status": "Cpus_allowed_list:\tmany\n",
            "sys/devices/system/cpu/online": "0-5\n",
        },
    )
    seen = read_host(Files(str(tmp_path)))
    assert (seen.cpus, seen.affinity) == (6, None)


def test_what_a_process_holds_is_asked_of_psutil_and_nothing_when_it_is_gone(monkeypatch):
    assert _held_elsewhere(os.getpid()) > 1 << 20

    def gone(pid):
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", gone)
    assert _held_elsewhere(os.getpid()) == 0


@pytest.mark.parametrize("missing", [AttributeError, OSError])
def test_no_scheduling_policy_is_told_where_there_is_none(monkeypatch, missing):
    def sched_getscheduler(pid):
        raise missing

    monkeypatch.setattr(os, "sched_getscheduler", sched_getscheduler)
    assert read_host(Files()).realtime is None


RESET_ON_FORK = 0x40000000


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (0, None),
        (1, "SCHED_FIFO"),
        (2, "SCHED_RR"),
        (1 | RESET_ON_FORK, None),
        (2 | RESET_ON_FORK, None),
        (6, None),  # no thread can be started from under it
        (6 | RESET_ON_FORK, None),
    ],
)
def test_a_policy_is_beyond_the_quota_where_the_threads_started_under_it_are(monkeypatch, policy, name):
    monkeypatch.setattr(os, "sched_getscheduler", lambda pid: policy, raising=False)
    assert read_host(Files()).realtime == name
