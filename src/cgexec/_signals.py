"""Signals that end a command of ours."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["signals_interrupt", "signals_wait"]

_NAMES = ("SIGTERM", "SIGHUP")


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that there is time to tidy up."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return
    names = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {name: signal.signal(name, signal.default_int_handler) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def signals_wait() -> Iterator[None]:
    """
    Have those signals, where they interrupt, wait for the end of the block: a child that is being started when they
    come would be nobody's.
    """
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGINT", *_NAMES) if hasattr(signal, name)]
        handlers = {number: signal.getsignal(number) for number in numbers}
        handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    came: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)
