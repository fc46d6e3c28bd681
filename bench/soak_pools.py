"""A round of a soak: open a pool of some kind, load it from one thread, end it some way, check its accounts."""

import contextlib
import dataclasses
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor, wait
from typing import Any

import cgexec

__all__ = ["Tally", "lasting_errors", "round_of", "total", "warm"]

Pool = cgexec.ThreadPoolExecutor | cgexec.BoundedExecutor
Kind = Callable[[random.Random], Pool]
WAIT_S = 120.0


@dataclasses.dataclass
class Tally:
    """What one lane has counted itself."""

    rounds: int = 0
    accepted: int = 0
    refused: int = 0
    good: int = 0
    failed: int = 0
    cancelled: int = 0
    killed: int = 0
    lasting: int = 0


def hold(size: int) -> int:
    """Take so many bytes for a moment."""
    return len(bytes(size))


def fixed(dice: random.Random) -> Pool:
    return cgexec.ThreadPoolExecutor(dice.randint(1, 8), queue_size=dice.choice([0, 8, 64]))


def adaptive(dice: random.Random) -> Pool:
    return cgexec.ThreadPoolExecutor(adaptive=True, max_workers=dice.randint(2, 16), queue_size=32)


def policy(dice: random.Random) -> Pool:
    return cgexec.ThreadPoolExecutor(
        2, queue_size=dice.randint(1, 8), when_full=dice.choice(["raise", "discard", "discard_oldest"])
    )


def guarded(dice: random.Random) -> Pool:
    return cgexec.ThreadPoolExecutor(4, queue_size=64, memory_per_task=dice.choice(["1M", "4M"]))


def fused(_: random.Random) -> Pool:
    return cgexec.ThreadPoolExecutor(3, queue_size=32, memory_fuse=True, on_memory_error="retry")


def processes(dice: random.Random) -> Pool:
    # Not forked from here: other lanes hold locks at any time.
    inner = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver"))
    return cgexec.wrap(inner, max_in_flight=3, queue_size=dice.choice([8, 32]))


KINDS: tuple[Kind, ...] = (fixed, adaptive, policy, guarded, fused, processes)


def call(dice: random.Random) -> tuple[Any, ...]:
    """Return a call, often of nothing, sometimes one that fails. Importable by name in another process."""
    chance = dice.random()
    if chance < 0.1:
        return int, "no number"
    if chance < 0.3:
        return time.sleep, 0.001
    if chance < 0.4:
        return bytes, 1 << 16
    return abs, -1


def die() -> None:
    """
    End the process as the kernel's OOM killer would, in a call.

    Not from outside: killed while it sends a result, CPython's pool waits for the rest of it for ever.
    """
    os.kill(os.getpid(), signal.SIGKILL)


def feed(pool: Pool, inner: ProcessPoolExecutor | None, dice: random.Random, tally: Tally) -> list[Future[Any]]:
    """Submit, cancel, resize and kill at random; return the futures of what was accepted."""
    given: list[Future[Any]] = []
    deadly = dice.randrange(100) if inner and dice.random() < 0.3 else -1
    for number in range(100 if inner else 400):
        chance = dice.random()
        try:
            submit = pool.options(queue_timeout=0.005).submit if chance < 0.1 else pool.submit
            if inner and number == deadly:
                given.append(submit(die))
                tally.killed += 1
            elif not inner and chance > 0.97:
                given.append(submit(hold, dice.randint(1, 4) << 20))
            else:
                given.append(submit(*call(dice)))
        except cgexec.QueueFull:
            tally.refused += 1
        except (BrokenExecutor, RuntimeError):
            break
        # Not in a process pool: CPython 3.11's leaves pipes open if a call is cancelled there and a worker dies.
        if given and not inner and dice.random() < 0.1:
            dice.choice(given[-10:]).cancel()
        if dice.random() < 0.02:
            pool.resize(dice.randint(1, 8))
    return given


def end(pool: Pool, dice: random.Random) -> None:
    """Close it one way or another; all of them wait."""
    how = dice.randrange(3)
    if how == 0:
        pool.shutdown(wait=True)
    elif how == 1:
        pool.shutdown(wait=True, cancel_futures=True)
    else:
        left = pool.drain(WAIT_S)
        assert not left, left
        pool.shutdown(wait=True)


def note(given: Sequence[Future[Any]], tally: Tally) -> tuple[int, int, int]:
    """Count how they ended."""
    assert not wait(given, WAIT_S).not_done, "a future has not ended"
    good = failed = cancelled = 0
    for future in given:
        if future.cancelled():
            cancelled += 1
        elif future.exception() is None:
            good += 1
        else:
            failed += 1
    tally.accepted += len(given)
    tally.good += good
    tally.failed += failed
    tally.cancelled += cancelled
    return good, failed, cancelled


def check(pool: Pool, given: int, ended: tuple[int, int, int], what: str) -> None:
    """Compare the pool's accounts with what its futures say."""
    limit = time.monotonic() + 10
    while (seen := pool.stats()).running and time.monotonic() < limit:
        time.sleep(0.001)  # the last future is done a moment before its worker has said so
    # What waited too long has TimeoutError; what was pushed out is a cancelled future.
    of_pool = (seen.completed, seen.failed + seen.expired, seen.cancelled + seen.discarded)
    closed = seen.submitted == sum(of_pool) == given and (seen.running, seen.waiting, seen.blocked) == (0, 0, 0)
    if not closed or of_pool != ended:
        raise AssertionError(f"{what}: {given} accepted, ended {ended}; the pool says {of_pool} of {seen.submitted}")


def round_of(dice: random.Random, lasting: cgexec.ThreadPoolExecutor, tally: Tally, kind: Kind | None = None) -> None:
    """Do one round; raise AssertionError if an account does not close."""
    kind = kind or dice.choice(KINDS)
    try:
        pool = kind(dice)
    except ValueError:  # a fuse cannot be had everywhere
        pool, kind = fixed(dice), fixed
    inner = pool.executor if isinstance(pool, cgexec.BoundedExecutor) else None
    assert inner is None or isinstance(inner, ProcessPoolExecutor)
    given = feed(pool, inner, dice, tally)
    for _ in range(20):
        with contextlib.suppress(CancelledError):
            lasting.submit(abs, -1).result(WAIT_S)
            tally.lasting += 1
    end(pool, dice)
    check(pool, len(given), note(given, tally), kind.__name__)
    tally.rounds += 1


def warm(lasting: cgexec.ThreadPoolExecutor, tally: Tally) -> None:
    """Have one pool of each kind come and go, for what is started once and stays: the fork server, its pipes."""
    dice = random.Random(0)  # noqa: S311
    for kind in KINDS:
        round_of(dice, lasting, tally, kind)


def lasting_errors(lasting: cgexec.ThreadPoolExecutor, tallies: Sequence[Tally]) -> list[str]:
    """Return what is wrong with the accounts of the pool that lived all the time."""
    seen, ours = lasting.stats(), sum(tally.lasting for tally in tallies)
    return (
        [] if seen.submitted == seen.completed == ours else [f"lasting: {ours} counted, {seen.submitted} by the pool"]
    )


def total(tallies: Sequence[Tally]) -> str:
    """Return all lanes' numbers as words."""
    sums = {each.name: sum(getattr(tally, each.name) for tally in tallies) for each in dataclasses.fields(Tally)}
    return ", ".join(f"{value} {name}" for name, value in sums.items())
