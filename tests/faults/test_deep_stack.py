"""Calls that have no stack left in the middle: they may fail, but the pool goes on for everybody else."""

import sys
import threading
from concurrent.futures import wait

import pytest

import cgexec
from support.pools import SOON

# More frames than any of the calls below goes deep.
DEPTH = 60


def deep(frames, call):
    return deep(frames - 1, call) if frames else call()


def at_each_depth(call):
    """Call it with one frame less left each time, in a thread whose stack is empty but for that; yield each outcome."""
    for frames in range(sys.getrecursionlimit() - DEPTH, sys.getrecursionlimit()):
        made, outcome = call(), []

        def run(made=made, frames=frames, outcome=outcome):
            try:
                outcome.append(deep(frames, made))
            except RecursionError as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(SOON)
        yield outcome[0]


@pytest.mark.parametrize("used", [False, True])
def test_submit_leaves_no_task_and_no_worker_uncalled(used):
    pools = []

    def call():
        pools.append(cgexec.ThreadPoolExecutor(2))
        if used:
            pools[-1].submit(int).result(SOON)
        return lambda: pools[-1].submit(pow, 2, 3)

    failed = 0
    for outcome in at_each_depth(call):
        failed += isinstance(outcome, RecursionError)
        handed_in = [pools[-1].submit(int), *([] if isinstance(outcome, RecursionError) else [outcome])]
        assert not wait(handed_in, SOON).not_done
        ended = threading.Thread(target=pools[-1].shutdown, daemon=True)
        ended.start()
        ended.join(SOON)
        assert not ended.is_alive(), outcome
    assert 0 < failed < DEPTH


def test_shutdown_can_be_done_again():
    pools = []

    def call():
        pools.append(cgexec.ThreadPoolExecutor(2))
        pools[-1].submit(int).result(SOON)
        return lambda: pools[-1].shutdown(wait=False)

    for outcome in at_each_depth(call):
        if isinstance(outcome, RecursionError) and pools[-1]._cgexec_pool.state.closed is None:
            pools[-1].shutdown(wait=False)
        for thread in list(pools[-1]._threads):
            thread.join(SOON)
            assert not thread.is_alive(), outcome
