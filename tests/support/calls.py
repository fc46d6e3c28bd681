"""Calls that other processes make: importable there, and met through files, since events do not reach so far."""

import os
import signal
import threading
from pathlib import Path
from time import monotonic, sleep

from support.pools import SOON, eventually

__all__ = ["Meeting", "boom", "die", "everything", "note", "note_and_fail", "square", "stay", "unsendable"]


def square(number):
    return number * number


def boom(words="boom"):
    raise ValueError(words)


def everything(self, fn, *args, **kwargs):
    return self, fn, args, kwargs


def unsendable():
    """Return what nobody pickles."""
    return threading.Lock()


def note(path):
    """Write one line that says that this call was made."""
    with open(path, "a") as file:
        file.write("x\n")
    return os.getpid()


def note_and_fail(path):
    note(path)
    raise ValueError("noted")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def stay(folder, name):
    """Say that this call runs, and wait to be let go."""
    Path(folder, f"new-{name}").write_text(str(os.getpid()))
    Path(folder, f"new-{name}").rename(Path(folder, f"started-{name}"))
    end = monotonic() + SOON
    while not Path(folder, "go").exists():
        assert monotonic() < end, "nobody let it go"
        sleep(0.005)
    return name


class Meeting:
    """Calls that have started and wait, in whichever process."""

    def __init__(self, folder):
        self.folder = folder
        self.futures = []

    def hand_in(self, pool, count=1):
        """Submit so many."""
        new = [pool.submit(stay, str(self.folder), len(self.futures) + n) for n in range(count)]
        self.futures += new
        return new

    def started(self, count):
        """Wait until so many have started."""
        eventually(lambda: len(list(self.folder.glob("started-*"))) >= count)

    def names(self):
        return sorted(int(path.name.partition("-")[2]) for path in self.folder.glob("started-*"))

    def pids(self):
        return [int(path.read_text()) for path in self.folder.glob("started-*")]

    def release(self):
        (self.folder / "go").touch()
