"""The look at the limits: what is seen when, on a fake machine and under a clock of its own."""

import math

import pytest

from cgexec._adaptive.bounds import Bounds, lowered
from cgexec._adaptive.gauge import CpuGauge
from cgexec._kernel.kept import KeptFiles

OWN = "/sys/fs/cgroup/a/b/c/d/pod/box"
MOUNT = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"


class Machine(KeptFiles):
    """Files from a dict; *read* says which were looked at."""

    def __init__(self):
        super().__init__()
        self.texts = {"/proc/self/cgroup": "0::/a/b/c/d/pod/box\n", "/proc/self/mountinfo": MOUNT}
        self.read = []
        place = OWN
        while place != "/sys/fs/cgroup":
            self.texts |= {f"{place}/{name}": "max\n" for name in ("memory.max", "memory.high", "pids.max")}
            self.texts[f"{place}/cpu.max"] = "max 100000\n"
            place = place.rpartition("/")[0]
        self.texts[f"{OWN}/cpu.max"] = "200000 100000\n"

    def text(self, path):
        self.read.append(path)
        return self.texts.get(path)


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def gauge(machine):
    gauge = CpuGauge()
    gauge._files = machine
    gauge.read(100.0)
    return gauge


def test_a_halved_quota_is_seen_by_the_next_look_however_many_limits_there_are(gauge, machine):
    assert gauge.read(100.5).quota == 2.0
    machine.texts[f"{OWN}/cpu.max"] = "100000 100000\n"
    seen = gauge.read(101.0)
    assert (seen.quota, seen.changes) == (1.0, 1)


@pytest.mark.parametrize("interval", [0.1, 0.5, 1.5])
def test_every_limit_is_looked_at_within_two_seconds_however_seldom_looks_come(gauge, machine, interval):
    for file in [name for name in machine.texts if name.startswith("/sys")]:
        before = gauge.read(200.0).changes
        machine.texts[file] = "50000 100000\n" if file.endswith("cpu.max") else "123456789\n"
        for look in range(1, 1 + math.ceil(2.0 / interval)):
            after = gauge.read(200.0 + look * interval).changes
        assert after == before + 1, file


def test_a_look_reads_few_files_while_looks_come_often(gauge, machine):
    machine.read.clear()
    gauge.read(100.1)
    assert len(machine.read) <= 5


def test_a_quota_set_where_none_was_is_seen_at_once(machine):
    machine.texts[f"{OWN}/cpu.max"] = "max 100000\n"
    gauge = CpuGauge()
    gauge._files = machine
    assert gauge.read(100.0).quota is None
    machine.texts[f"{OWN}/cpu.max"] = "50000 100000\n"
    assert gauge.read(100.1).quota == 0.5


def test_a_cgroup_that_is_gone_is_looked_for_again(gauge, machine):
    machine.texts = {name: text for name, text in machine.texts.items() if not name.startswith(OWN)}
    machine.texts["/proc/self/cgroup"] = "0::/a\n"
    machine.texts["/sys/fs/cgroup/a/cpu.max"] = "300000 100000\n"
    assert gauge.read(100.1).quota == 3.0


def test_limits_that_changed_are_seen_to_also_when_files_are_looked_for_anew(gauge, machine):
    machine.texts[f"{OWN}/memory.max"] = "123456789\n"
    assert gauge.read(200.0).changes == 1
    assert gauge.read(300.0).changes == 1


def test_each_pool_has_its_threads_waits_counted(machine):
    """The looks of two pools come by turns."""
    machine.texts = {f"/proc/self/task/{thread}/schedstat": "0 0 1\n" for thread in (1, 2, 3, 4)}
    gauge = CpuGauge()
    gauge._files = machine
    for look in range(20):
        for thread in (1, 2, 3, 4):
            machine.texts[f"/proc/self/task/{thread}/schedstat"] = f"0 {look * 90_000_000} 1\n"
        for pool in ([1, 2], [3, 4]):
            seen = gauge.read(0.1 * look, pool, 2)
    assert seen.queued == pytest.approx(19 * 4 * 0.09)
    gauge.read(10.0, [1], 1)
    assert set(gauge._waits) == {1}


def test_what_comes_in_between_on_the_same_thread_gets_what_was_read_last(machine):
    """A signal's handler, or a finalizer, that makes a pool."""
    gauge = CpuGauge()
    gauge._files = machine
    last = gauge.read(100.0)
    text, nested = machine.text, []

    def interrupted(path):
        if not nested:
            nested.append(gauge.read(100.5))
        return text(path)

    machine.text = interrupted
    assert gauge.read(100.5).quota == 2.0
    assert nested == [last]
    assert not gauge.busy


@pytest.mark.parametrize(
    ("by_quota", "before", "quota", "cpus"),
    [
        pytest.param(True, 2.0, 1.0, 0.5, id="fell, for two processes"),
        pytest.param(True, 1.0, 2.0, None, id="rose"),
        pytest.param(True, None, 1.0, None, id="there was none"),
        pytest.param(True, 2.0, None, None, id="lifted"),
        pytest.param(False, 2.0, 1.0, None, id="something else bound"),
    ],
)
def test_a_quota_that_fell_counts_before_all_is_worked_out_again(by_quota, before, quota, cpus):
    less = lowered(Bounds(1, 100, 1.0, by_quota), before, quota)
    assert (None if less is None else less.cpus) == cpus
