"""How much is kept free for the pages of files: by hand-made counts."""

import pytest

from cgexec._memory.gauge import Gauge
from cgexec._memory.thrash import FileReads, Thrash
from support.lab import MIB

LIMIT = 256 * MIB


def after(*reads, seconds=1.0, fused=False):
    """Return what is decided by so many bytes asked for and fetched, one after the other, and the last answer."""
    thrash, answer = Thrash(), False
    for turn, each in enumerate([(0, 0), *reads]):
        answer = thrash.see(turn * seconds, FileReads(*each), LIMIT, fused=fused)
    return thrash, answer


def test_what_is_fetched_as_it_is_asked_for_does_not_thrash():
    thrash, answer = after(*((turn * 100 * MIB, turn * 100 * MIB) for turn in range(1, 100)))
    assert (thrash.share, answer) == (0, False)


def test_reads_under_way_do_not_thrash_as_they_fit_into_memory():
    thrash, answer = after((0, LIMIT - 1))
    assert (thrash.share, answer) == (0, False)


def test_reads_of_what_is_in_memory_or_comes_by_a_socket_make_room_for_none():
    thrash, answer = after((10 * LIMIT, 0), (10 * LIMIT, LIMIT - 1))
    assert (thrash.share, answer) == (0, False)
    thrash, answer = after((10 * LIMIT, 0), (10 * LIMIT, LIMIT))
    assert (thrash.share, answer) == (0.1, True)


def test_more_is_kept_free_each_time_up_to_a_most_and_less_with_time():
    thrash, _ = after(*((0, turn * LIMIT) for turn in range(1, 10)))
    assert thrash.share == 0.3
    thrash.see(69.0, FileReads(0, 9 * LIMIT), LIMIT, fused=False)
    assert thrash.share == pytest.approx(0.15)


def test_with_a_fuse_room_is_kept_beforehand_for_what_is_fetched():
    reads = [(turn * 10 * MIB, turn * 10 * MIB) for turn in range(1, 10)]
    assert after(*reads, fused=True)[0].share == 0.17
    assert after(*reads, fused=True, seconds=10.0)[0].share == 0
    assert after(*reads, fused=False)[0].share == 0


def test_where_nobody_counts_nothing_is_kept():
    thrash = Thrash()
    assert not any(thrash.see(float(turn), None, LIMIT, fused=True) for turn in range(9))
    assert thrash.share == 0


def test_it_is_looked_at_now_and_then_and_where_memory_is_taken():
    thrash = Thrash()
    assert thrash.is_due(1.0, 0.6, fused=False)
    assert not thrash.is_due(1.0, 0.4, fused=False)
    assert thrash.is_due(1.0, 0.4, fused=True)
    thrash.see(1.0, FileReads(0, 0), LIMIT, fused=True)
    assert not thrash.is_due(1.05, 0.9, fused=True)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        pytest.param("rchar: 7\nwchar: 1\nread_bytes: 4096\ncancelled_write_bytes: 0\n", (7, 4096), id="counted"),
        pytest.param("rchar: 7\n", None, id="half"),
        pytest.param("rchar: many\nread_bytes: 1\n", None, id="nonsense"),
        pytest.param(None, None, id="no such file"),
    ],
)
def test_what_the_kernel_counts(text, reads, monkeypatch):
    gauge = Gauge()
    monkeypatch.setattr(gauge.files, "text", lambda _: text)
    seen = gauge.file_reads()
    assert (seen is None) == (reads is None)
    if seen is not None and reads is not None:
        assert (seen.asked % (2 * MIB), seen.fetched) == reads  # besides, whatever page faults this process had
