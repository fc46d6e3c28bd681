"""How much is kept free for the pages of files: by hand-made counts."""

from types import SimpleNamespace

import pytest

from cgexec._kernel.locate import Place
from cgexec._memory.gauge import Gauge, Reading
from cgexec._memory.thrash import FileReads, Thrash
from cgexec._pool.watch import Watch
from cgexec._settings import Care
from support.lab import MIB

LIMIT = 1024 * MIB


def after(*reads, seconds=1.0, limit=LIMIT, beforehand=False):
    """Return what is kept free by so many MiB asked for, fetched and come again, one after the other, and why."""
    thrash, whys = Thrash(), []
    for turn, each in enumerate([(0, 0, 0), *reads]):
        seen = FileReads(*(part * MIB for part in each))
        whys.append(thrash.see(turn * seconds, seen, limit, beforehand=beforehand))
    return thrash.share(len(reads) * seconds), [why for why in whys if why is not None]


@pytest.mark.parametrize(
    "reads",
    [
        pytest.param([(500 * n, 500 * n, 500 * n) for n in range(9)], id="in turn, and never fitting"),
        pytest.param([(0, 500 * n, 0) for n in range(9)], id="mapped, or under way"),
        pytest.param([(0, 255 * n, 255 * n) for n in (0, 1)], id="little"),
        pytest.param([(900 * n, 500 * n, 500 * n) for n in range(9)], id="from memory, too"),
    ],
)
def test_one_sign_alone_keeps_nothing_free(reads):
    assert after(*reads) == (0, [])


def test_what_is_fetched_in_vain_and_again_keeps_room_step_by_step_up_to_a_most():
    share, whys = after((0, 256, 200))
    assert (share, whys) == (0.1, ["thrash"])
    share, whys = after(*((0, 300 * n, 300 * n) for n in range(1, 9)))
    assert share == 0.3
    assert whys == ["thrash"] * 8


def test_a_small_limit_is_thrashed_by_less():
    assert after((0, 64, 64), limit=64 * MIB)[1] == ["thrash"]


def test_a_slow_drip_is_forgotten():
    assert after(*((0, 20 * n, 20 * n) for n in range(1, 200))) == (0, [])


def test_it_halves_within_a_minute_whoever_looks():
    thrash = Thrash()
    thrash.see(0.0, FileReads(0, 0, 0), LIMIT, beforehand=False)
    thrash.see(1.0, FileReads(0, LIMIT, LIMIT), LIMIT, beforehand=False)
    assert thrash.share(61.0) == pytest.approx(0.05)


def test_beforehand_room_is_kept_for_what_is_fetched():
    reads = [(10 * n, 10 * n, 0) for n in range(1, 9)]
    share, whys = after(*reads, beforehand=True)
    assert share == pytest.approx(0.17, rel=0.1)
    assert whys == ["fetch"]
    assert after(*reads, beforehand=False) == (0, [])
    assert after((15, 15, 0), limit=256 * MIB, beforehand=True) == (0, [])


def test_where_nobody_counts_nothing_is_kept():
    thrash = Thrash()
    assert not any(thrash.see(float(turn), None, LIMIT, beforehand=True) for turn in range(9))
    assert thrash.share(9.0) == 0


def test_it_is_looked_at_now_and_then():
    thrash = Thrash()
    assert thrash.is_due(1.0)
    thrash.see(1.0, FileReads(0, 0, 0), LIMIT, beforehand=True)
    assert not thrash.is_due(1.05)


@pytest.mark.parametrize(
    ("floor", "reserve", "kept"),
    [
        pytest.param(100, 102, 307, id="as much as it wants"),
        pytest.param(600, 102, 161, id="half of what tasks could have"),
        pytest.param(800, 300, 0, id="nothing where nothing is left"),
    ],
)
def test_room_for_files_never_shuts_tasks_out(floor, reserve, kept):
    watch = Watch()
    watch.thrash._share, watch.thrash._shared = 0.3, 50.0
    reading = Reading(floor * MIB, LIMIT, "memory.max", None, 1, 0)
    assert watch._for_files(reading, [], reserve * MIB, 50.0) // MIB == kept


@pytest.mark.parametrize(
    ("care", "busy", "used", "asked"),
    [
        pytest.param(Care(fuse=True, retry=True), [], 100, True, id="fuse, may run twice"),
        pytest.param(Care(fuse=True), [], 100, False, id="fuse, may not"),
        pytest.param(Care(), [], 100, False, id="room enough"),
        pytest.param(Care(), [], 600, True, id="little room"),
        pytest.param(Care(needs=MIB), [], 100, True, id="an estimate"),
        pytest.param(Care(), [MIB], 100, True, id="one for each call"),
        pytest.param(Care(), [MIB, None], 100, False, id="one for some"),
    ],
)
def test_when_it_is_looked_at(care, busy, used, asked, monkeypatch):
    watch, asks = Watch(), []
    monkeypatch.setattr(watch.gauge, "file_reads", lambda: asks.append(1))
    tasks = [SimpleNamespace(extra=None, home=SimpleNamespace(needs=given)) for given in busy]
    need = SimpleNamespace(works=True, busy=[(task, 0.0) for task in tasks])
    pool = SimpleNamespace(care=care, need=need)
    watch._for_files(Reading(used * MIB, LIMIT, "memory.max", None, 1, 0), [pool], 100 * MIB, 50.0)
    assert bool(asks) == asked


IO = "rchar: 7\nwchar: 1\nread_bytes: 4096\ncancelled_write_bytes: 0\n"


@pytest.mark.parametrize(
    ("version", "stat", "text", "reads"),
    [
        pytest.param("v2", "workingset_refault_file 3\n", IO, (7, 4096, 3), id="counted"),
        pytest.param("v2", "workingset_refault 3\n", IO, (7, 4096, 3), id="Linux 5.8"),
        pytest.param("v1", "total_workingset_refault_file 3\n", IO, (7, 4096, 3), id="v1"),
        pytest.param("v1", "total_cache 3\n", IO, None, id="no refaults"),
        pytest.param("v2", "workingset_refault_file 3\n", "rchar: 7\n", None, id="half"),
        pytest.param("v2", "workingset_refault_file 3\n", "rchar: many\nread_bytes: 1\n", None, id="nonsense"),
        pytest.param("v2", None, None, None, id="no such files"),
    ],
)
def test_what_the_kernel_counts(version, stat, text, reads, monkeypatch):
    gauge = Gauge()
    gauge._chain = SimpleNamespace(version=version, places=(Place("/c", 0),))
    monkeypatch.setattr(gauge.files, "text", lambda file: stat if file.startswith("/c/") else text)
    seen = gauge.file_reads()
    assert (seen is None) == (reads is None)
    if seen is not None and reads is not None:
        assert (seen.asked % (2 * MIB), seen.fetched, seen.again // 4096) == reads  # besides, its page faults
