"""Pools are made while other threads look at all there are."""

import sys
import threading

from cgexec._pool.admission import Admission
from cgexec._pool.guard import FREE
from support.pools import SOON


def test_making_pools_disturbs_nobody_who_looks_at_them_all():
    """
    1. a thread gives way to the holder of a lock and looks whether it is in the middle of any pool's locked part;
    2. another makes a pool. The set once changed under the first, or held a pool without a mark, and submit raised.
    """
    kept = [Admission(1, 1) for _ in range(200)]
    state = kept[0]
    stop, errors = threading.Event(), []

    def make():
        while not stop.is_set():
            Admission(1, 1)

    def look():
        try:
            for _ in range(100):
                state._mark = -5  # as of a holder that never ends
                assert not state._give_way()
        except BaseException as error:  # noqa: BLE001  # shown below
            errors.append(error)
        finally:
            state._mark = FREE
            stop.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=each) for each in (make, make, look)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON * 3)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
    assert errors == []
