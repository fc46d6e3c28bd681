"""How processes that did not end well ended, in a few words for the log. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from cgexec._flight.layout import MOST_FUNCTIONS, Record
from cgexec._quantity import format_bytes

__all__ = ["last_words"]

# Used to this share of the limit when last looked at, the kernel is the most likely to have ended it.
_NEAR = 0.9
# So many other processes are named.
_MOST_OTHERS = 8


def last_words(left: Sequence[Record], oom_kills: int | None, cgroup: int = 0) -> str:
    """
    Return how the newest of *left* ended, what all of them ran, and which the others are.

    Args:
        left: what processes that did not end well had written, the newest first; at least one.
        oom_kills: how often the kernel has killed in this container by now; a count that went on since the record was
            written is proof, if it is the count of the same container.
        cgroup: the number of this container, as in `Record.cgroup`; several may share the folder.
    """
    last, others = left[0], left[1:]
    text = (
        f"a process with pools ended without saying so ({_who(last)}): {_verdict(last, oom_kills, cgroup)}. "
        f"Last seen {_when(last)}: {_memory(last)}, {last.running} of {last.size} running, {last.waiting} waiting"
    )
    longest = ", ".join(_longest(left))
    if longest:
        text += f"; longest {'of all ' if others else ''}{longest}"
    return text + (f". {len(others)} more: {'; '.join(_named(others))}" if others else "")


def _longest(left: Sequence[Record]) -> Iterator[str]:
    """Yield what ran longest in any of them; the culprit need not have run in the one that wrote last."""
    runs = sorted(((doing, each.pid) for each in left for doing in each.functions), key=lambda run: -run[0].seconds)
    first: dict[tuple[str, int], float] = {}
    for doing, pid in runs:
        first.setdefault((doing.function, pid), doing.seconds)
    for (function, pid), seconds in list(first.items())[:MOST_FUNCTIONS]:
        yield f"{function} for {seconds:.0f} s" + (f" (pid {pid})" if len(left) > 1 else "")


def _named(others: Sequence[Record]) -> Iterator[str]:
    yield from (f"{_who(each)} at {_when(each)}" for each in others[:_MOST_OTHERS])
    if len(others) > _MOST_OTHERS:
        yield f"and {len(others) - _MOST_OTHERS} others"


def _who(record: Record) -> str:
    return f"pid {record.pid}" + (f" on {record.host}" if record.host else "")


def _when(record: Record) -> str:
    return datetime.fromtimestamp(record.when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _verdict(last: Record, oom_kills: int | None, cgroup: int) -> str:
    same, known = last.cgroup == cgroup, bool(last.cgroup and cgroup)
    if same and known and oom_kills is not None and last.oom_kills is not None and oom_kills > last.oom_kills:
        return "the kernel has killed in this container for memory since"
    if last.limit is None or last.used is None:
        return "killed, or crashed"
    # What the kernel counted went with its container, or is another's to see.
    unknown = "; it ran in another container, whose kills are not known here" if known and not same else ""
    if last.used >= _NEAR * last.limit:
        return f"most likely killed by the kernel for memory{unknown}"
    return (
        "killed by a signal, or crashed; memory was not near its limit when last looked at, though a sudden allocation "
        f"may have been killed for it{unknown}"
    )


def _memory(last: Record) -> str:
    if last.limit is None or last.used is None:
        return "no memory limit"
    source = f" ({last.source})" if last.source else ""
    return f"{format_bytes(last.used)} of {format_bytes(last.limit)} in use{source}"
