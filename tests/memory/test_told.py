"""CGEXEC_MEMORY where no cgroup counts what is used: the real root of v2, and machines that do not control memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cgexec
from cgexec._kernel.files import Files
from cgexec._memory import gauge as gauging
from cgexec._memory.gauge import Gauge
from cgexec._memory.siblings import children
from cgexec.testing import Container, _Reopened, clock, inside, occupied
from support.pools import SOON, eventually, holding

MIB = 1 << 20
COUNTED = ["memory.current", "memory.max", "memory.stat", "memory.events"]


class Root(Container):
    """The real root of v2: it has no limits, and does not count."""

    def _write(self, files):
        super()._write({name: text for name, text in files.items() if name.rpartition("/")[2] not in COUNTED})


class NoGroups(Root):
    """A machine that has no cgroups."""

    def _write(self, files):
        super()._write({name: text for name, text in files.items() if "group" not in name and "mount" not in name})


@pytest.fixture(params=[Root, NoGroups])
def box(request, tmp_path, monkeypatch):
    monkeypatch.setenv("CGEXEC_MEMORY", "2Gi")
    return request.param(tmp_path, used="50Mi")


@pytest.fixture
def lookups(monkeypatch):
    """How often the places of the limits were looked up."""
    seen, locate = [], gauging.locate_own
    monkeypatch.setattr(gauging, "locate_own", lambda files: seen.append(1) or locate(files))
    return seen


def gauge_of(box):
    gauge = Gauge()
    gauge.files = _Reopened(box.root)
    return gauge


def test_it_is_held_against_what_this_process_holds(box, lookups):
    gauge = gauge_of(box)
    for tenth in range(10):
        reading = gauge.read(tenth / 10)
    assert (reading.used, reading.limit, reading.alone, gauge.blind) == (50 * MIB, 2048 * MIB, True, False)
    assert len(lookups) == 1
    box.change(used="99Mi")
    assert gauge.read(0.95).used == 99 * MIB


def test_tasks_run_side_by_side_and_are_held_where_it_is_reached(box):
    with clock() as now, inside(box), cgexec.ThreadPoolExecutor(8) as pool:
        with occupied(pool):
            assert pool.stats().running == 8
        box.change(used="2000Mi")
        now.advance(1)
        with holding(pool) as hold:
            hold.queue(1)
            eventually(lambda: pool.stats().held_for is not None)
            assert pool.stats().memory_limit == 2 << 30
            box.change(used="50Mi")
            eventually(lambda: (now.advance(1), pool.stats().running == 1)[1])


def test_of_several_processes_each_has_its_part(box):
    with inside(box), cgexec.ThreadPoolExecutor(2, processes=4) as pool:
        assert pool.submit(int).result(SOON) == 0
        assert (pool.stats().memory_limit, pool.stats().memory_used) == (512 * MIB, 50 * MIB)


def test_a_cgroup_that_counts_is_believed_whoever_holds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CGEXEC_MEMORY", "2Gi")
    box = Container(tmp_path, used="50Mi", cache="10Mi")
    Path(box.root, "proc/self/status").unlink()
    reading = gauge_of(box).read(0.0)
    assert (reading.used, reading.limit, reading.alone) == (50 * MIB, 2048 * MIB, False)


def test_where_the_limit_is_stated_and_the_use_is_not_it_is_blind_and_says_so(tmp_path, monkeypatch, lookups, caplog):
    monkeypatch.setenv("CGEXEC_MEMORY", "2Gi")
    box = Container(tmp_path, memory="4Gi")
    Path(box.root, "sys/fs/cgroup/memory.current").unlink()
    gauge = gauge_of(box)
    assert [gauge.read(tenth / 10) for tenth in range(10)] == [None] * 10
    assert gauge.blind
    assert len(lookups) == 1
    with inside(box), cgexec.ThreadPoolExecutor(2) as pool:
        assert pool.submit(int).result(SOON) == 0
    assert "[memory-unreadable]" in caplog.text
    box.change()
    assert gauge.read(0.95) is not None
    assert not gauge.blind


def test_where_nothing_tells_what_is_used_it_is_said_and_nothing_is_held(box, caplog):
    Path(box.root, "proc/self/status").unlink()
    with inside(box), cgexec.ThreadPoolExecutor(8) as pool:
        with occupied(pool):
            assert pool.stats().running == 8
        assert pool.stats().memory_limit is None
    said = [record.message for record in caplog.records if "CGEXEC_MEMORY=2Gi" in record.message]
    assert len(said) == 1
    assert said[0].startswith("[memory-unreadable]")


CHILD = "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"


@pytest.mark.skipif(
    not Path("/proc/self/task", str(os.getpid()), "children").exists(), reason="the kernel does not tell"
)
def test_children_are_found_without_a_cgroup_and_those_of_children():
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        grandchild = int(child.stdout.readline())
        assert {child.pid, grandchild} <= set(children(Files()))
    finally:
        os.killpg(child.pid, 9)
        child.wait(SOON)
        child.stdout.close()


def test_what_children_hold_is_counted_where_they_do_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv("CGEXEC_MEMORY", "2Gi")
    box = Root(tmp_path, used="50Mi")
    box._write({f"proc/{os.getpid()}/task/1/children": "77 ", "proc/77/status": "VmRSS: 90 kB\nRssAnon: 30720 kB\n"})
    gauge = gauge_of(box)
    gauge.with_children = True
    assert gauge.read(0.0).used == 80 * MIB
