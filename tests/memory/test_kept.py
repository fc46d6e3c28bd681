"""Descriptors that stay open between looks: closed by others, used for something else, and none to be had."""

import errno
import mmap
import os
import sys

import pytest

from cgexec._kernel.files import Files
from cgexec._kernel.kept import KeptFiles
from cgexec._memory.gauge import Gauge


@pytest.fixture
def kept(tmp_path):
    files = KeptFiles()
    yield files
    files.close()


def test_a_number_that_is_another_file_s_by_now_is_neither_read_nor_closed(kept, tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_text("mine")
    other.write_text("other")
    assert kept.text(str(mine)) == "mine"
    fd = kept._kept[str(mine)].fd
    os.close(fd)
    taken = os.open(other, os.O_RDONLY)
    try:
        os.dup2(taken, fd)
        kept.check()
        assert kept.text(str(mine)) == "mine"
        kept.close()
        assert os.read(fd, 9) == b"other"
    finally:
        os.close(taken)
        if fd != taken:
            os.close(fd)


def test_one_that_was_closed_is_opened_again(kept, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    assert kept.text(str(mine)) == "mine"
    os.close(kept._kept[str(mine)].fd)
    assert kept.text(str(mine)) == "mine"


def test_without_descriptors_nothing_is_taken_for_unlimited(monkeypatch):
    """The real lack of them would be pytest's, too."""

    def none_left(*args, **kwargs):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    gauge = Gauge()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", none_left)
        assert gauge.read(0.0) is None
        assert gauge.blind
    gauge.read(0.0)  # looked up anew at once
    assert not gauge.blind
    known = gauge.read(1.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", none_left)
        again = gauge.read(100.0)
    assert (again is None, gauge.blind) == (known is None, False)  # the kept descriptors will do
    gauge.close()


def test_a_file_longer_than_a_chunk_is_read_whole(kept, tmp_path):
    long = tmp_path / "long"
    long.write_text("x" * 100_000)
    assert len(kept.text(str(long))) == len(kept.text(str(long))) == 100_000


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="a file of the Linux kernel")


@on_linux
def test_a_file_that_the_kernel_tells_in_short_answers_is_read_whole(kept, tmp_path):
    """As it does mountinfo: the lines that fit a page, which are hardly ever 4096 bytes."""
    mapped = tmp_path / "mapped"
    mapped.write_bytes(bytes(mmap.ALLOCATIONGRANULARITY))
    with mapped.open("rb") as file:
        # Two of the same place never merge into one line.
        maps = [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for _ in range(150)]
    with open("/proc/self/maps", "rb", buffering=0) as told:
        if told.read(1 << 20).count(os.fsencode(mapped)) == len(maps):
            pytest.skip("this kernel tells all of them at once")
    for _ in range(2):
        assert kept.text("/proc/self/maps").count(str(mapped)) == len(maps)


@on_linux
@pytest.mark.parametrize("name", ["status", "statm", "io", "schedstat"])
def test_a_look_costs_one_call_a_file(kept, monkeypatch, name):
    path = f"/proc/self/{name}"
    if kept.text(path) is None:
        pytest.skip(f"this kernel has no {path}")
    asked = []
    monkeypatch.setattr(os, "pread", lambda fd, size, at, pread=os.pread: asked.append(at) or pread(fd, size, at))
    text = kept.text(path)
    assert asked == [0]
    assert text.count("\n") == kept.text(path).count("\n") == Files().text(path).count("\n")


def test_a_file_of_one_piece_that_fills_the_answer_is_read_on(kept, tmp_path):
    long = tmp_path / "memory.stat"
    long.write_text("x" * 50_000)
    assert len(kept.text(str(long))) == 50_000


def test_what_is_too_long_for_a_kernel_file_is_no_statement(kept, tmp_path, monkeypatch):
    monkeypatch.setattr("cgexec._kernel.kept.LARGEST", 30_000)
    (tmp_path / "long").write_text("x" * 50_000)
    assert kept.text(str(tmp_path / "long")) is None
    assert any("larger than any kernel file" in note for note in kept.notes)


def test_what_can_be_opened_and_not_read_is_absent_with_a_note(kept, tmp_path):
    assert kept.text(str(tmp_path)) is None
    assert any(str(tmp_path) in note for note in kept.notes)
    assert not kept._kept


def test_of_very_many_files_not_all_are_kept(kept, tmp_path):
    for number in range(200):
        (tmp_path / str(number)).write_text(str(number))
        assert kept.text(str(tmp_path / str(number))) == str(number)
    assert 0 < len(kept._kept) < 100
    assert kept.text(str(tmp_path / "0")) == "0"
