"""The processes of one service that share a container: each would trust the room that the others are about to take."""

import os
from pathlib import Path

from cgexec._kernel.files import Files

__all__ = ["children", "count_like", "descendants"]

# A look at more processes than this is not worth its time; a service has fewer.
_MOST = 64


def count_like(files: Files, pids: tuple[int, ...]) -> int:
    """
    Return how many of *pids* are like this process, itself included: children of the same parent that run the same
    program, as the workers of a server are. Never less than 1.
    """
    me, parent = os.getpid(), os.getppid()
    if len(pids) < 2 or not parent:  # 0: the parent is in another PID namespace, and so would its other children be
        return 1
    mine = _program(me)
    like = [
        pid
        for pid in pids[:_MOST]
        if pid != me and _parent(files, pid) == parent and mine is not None and _program(pid) == mine
    ]
    return 1 + len(like)


def descendants(files: Files, pids: tuple[int, ...]) -> tuple[int, ...]:
    """Return those of *pids* that this process, or a child of it, and so on, has started."""
    parents = {pid: _parent(files, pid) for pid in pids[:_MOST]}
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family and pid not in family}:
        family |= more
    return tuple(sorted(family - {os.getpid()}))


def children(files: Files) -> tuple[int, ...]:
    """
    Return the processes that this one, or a child of it, and so on, has started, where no cgroup lists them; none where
    the kernel does not tell (proc_tid_children(5), CONFIG_PROC_CHILDREN).
    """
    found: list[int] = []
    todo = [os.getpid()]
    while todo and len(found) < _MOST:
        started = _started(files, todo.pop())
        found += started
        todo += started
    return tuple(found)


def _started(files: Files, pid: int) -> list[int]:
    try:
        threads = [thread.name for thread in Path(files.root, f"proc/{pid}/task").iterdir()]
    except OSError:  # it has ended
        return []
    # Not kept, as a thread may be gone the next time.
    texts = [Files.text(files, f"/proc/{pid}/task/{thread}/children") or "" for thread in threads]
    return [int(child) for text in texts for child in text.split() if child.isdigit()]


def _program(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return None


def _parent(files: Files, pid: int) -> int | None:
    text = Files.text(files, f"/proc/{pid}/stat")  # not kept: it may be gone the next time
    # The name stands in brackets and may hold anything, blanks and brackets too.
    fields = [] if text is None else text.rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else None
