"""Functions to be profiled, by processes that import this module."""

import builtins
import hashlib
import os
import threading
import time

MIB = 1 << 20
_FIRST = threading.Lock()


def _callers():
    """Return how many threads call now, beside the main one and the one that asks for the lock."""
    return len([thread for thread in threading.enumerate() if thread.name != "cgexec-gil"]) - 1


def pure():
    return sum(number * number for number in range(50_000))


def hashing():
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 40_000)


def waiting(seconds=0.01):
    time.sleep(seconds)


def holding(mib, seconds=0.15):
    block = bytearray(b"x") * (int(mib) * MIB)
    time.sleep(seconds)
    return len(block)


def talking(text):
    print(text)


def dying_beside_another():
    if _callers() == 2:
        _FIRST.acquire()  # for good: two that leave at once would both write what the coverage tool has counted
        os.write(2, b"caf\xe9")
        os._exit(3)
    time.sleep(0.01)


def failing(word="no"):
    raise KeyError(word)


def failing_beside_another(kind="RuntimeError", words=()):
    if _callers() == 2:
        raise getattr(builtins, kind)(*words)
    time.sleep(0.01)


def beckoning(path, callers):
    """Once so many call at the same time, write to *path*, where somebody waits for it, and do not end."""
    if _callers() == callers:
        with open(path, "w", buffering=1) as file:
            file.write("here\n")
            time.sleep(60)
    time.sleep(0.01)


def asking():
    return input()


def ending():
    import os

    os._exit(7)


def greedy_beside_others():
    held = holding(60 if threading.active_count() > 3 else 1, 0.3)
    assert held


async def coroutine():
    return None


NOT_CALLABLE = 3
