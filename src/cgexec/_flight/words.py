"""How the last process ended, in a sentence for the log. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cgexec._flight.layout import Record
from cgexec._quantity import format_bytes

__all__ = ["last_words"]

# Used to this share of the limit when last looked at, the kernel is the most likely to have ended it.
_NEAR = 0.9


def last_words(left: Sequence[Record], oom_kills: int | None) -> str:
    """
    Return how the newest of *left* ended.

    Args:
        left: what processes that did not end well had written, the newest first; at least one.
        oom_kills: how often the kernel has killed in this container by now; a count that went on since the record was
            written is proof, a new container's starts at zero.
    """
    last, others = left[0], len(left) - 1
    when = datetime.fromtimestamp(last.when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    where = f" on {last.host}" if last.host else ""
    text = (
        f"a process with pools ended without saying so (pid {last.pid}{where}): {_verdict(last, oom_kills)}. "
        f"Last seen {when}: {_memory(last)}, {last.running} of {last.size} running, {last.waiting} waiting"
    )
    longest: dict[str, float] = {}
    for doing in last.functions:  # the longest first
        longest.setdefault(doing.function, doing.seconds)
    if longest:
        text += "; longest " + ", ".join(f"{name} for {seconds:.0f} s" for name, seconds in longest.items())
    return text + (f". {others} other{'s' if others > 1 else ''} likewise" if others else "")


def _verdict(last: Record, oom_kills: int | None) -> str:
    if oom_kills is not None and last.oom_kills is not None and oom_kills > last.oom_kills:
        return "the kernel has killed in this container for memory since"
    if last.limit is None or last.used is None:
        return "killed, or crashed"
    if last.used >= _NEAR * last.limit:
        return "most likely killed by the kernel for memory"
    return (
        "killed by a signal, or crashed; memory was not near its limit when last looked at, though a sudden allocation "
        "may have been killed for it"
    )


def _memory(last: Record) -> str:
    if last.limit is None or last.used is None:
        return "no memory limit"
    source = f" ({last.source})" if last.source else ""
    return f"{format_bytes(last.used)} of {format_bytes(last.limit)} in use{source}"
