"""What a job's thread is."""

import os
import sys
import threading

import pytest
from fastapi_service.service import Service
from fastapi_service.settings import Settings


def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only there niceness belongs to a thread")


@LINUX
def test_jobs_give_way_to_the_loop_and_to_the_store():
    before = niceness()
    service = Service(Settings())
    try:
        assert service.pool.submit(niceness).result(30) == 19
        assert service.io.submit(niceness).result(30) == before
        assert niceness() == before
    finally:
        service.pool.shutdown()
        service.io.shutdown()


@LINUX
def test_where_a_thread_may_not_give_way_it_works_on(monkeypatch):
    def forbidden(*_):
        raise PermissionError("as under a seccomp profile")

    monkeypatch.setattr(os, "setpriority", forbidden)
    service = Service(Settings())
    try:
        assert service.pool.submit(pow, 2, 3).result(30) == 8
    finally:
        service.pool.shutdown()
        service.io.shutdown()
