"""Descriptors that stay open between looks: closed by others, used for something else, and none to be had."""

import errno
import os

import pytest

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
