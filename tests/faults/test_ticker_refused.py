"""The system refuses the thread that looks by time: what memory holds back is looked at all the same."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

import pytest

import cgexec
from cgexec._pool import holding, ticker
from cgexec._pool.admission import Admission
from cgexec._pool.crew import Crew
from cgexec._pool.holding import Funds
from cgexec._pool.records import Verdict
from cgexec._pool.watch import Watch
from cgexec.testing import Container, inside
from support.pools import SOON, Prices, eventually, started, task


def test_what_is_held_goes_on_without_it(tmp_path, monkeypatch, caplog):
    refused = []

    def refuse(thread):
        refused.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ticker, "begin", refuse)
    monkeypatch.setattr(ticker, "_ticker", ticker._Ticker())  # which of its refusals are said goes by their number
    box = Container(tmp_path, memory="1Gi", used="980Mi")
    with inside(box), cgexec.ThreadPoolExecutor(2) as pool:
        future = pool.submit(int)
        eventually(lambda: pool.stats().held_for is not None)
        box.change(used="50Mi")
        assert future.result(SOON) == 0
    said = [record for record in caplog.records if record.message.startswith("[ticker-refused]")]
    assert 0 < len(said) <= len(refused).bit_length()


class Looks:
    """A watch that is looked at, and by nobody else."""

    due, reading, count = 0.0, None, 0

    def look(self, asking=None):
        self.count += 1


@pytest.fixture
def held():
    """A pool's threads, made by hand: the worker has asked for a task that there is no memory for."""
    state = Admission(1, 9)
    state.price = Prices(lambda _: 1.0)
    fund(state, Funds(bounded=True))
    crew = Crew(state, "held", "held", None, (), None)
    crew.watch = Looks()
    worker = started(state.offer(task(state)))
    assert state.next(worker, 0.0, 0) is Verdict.LOOK
    return crew, worker


def fund(state, funds):
    return holding.fund(state, funds, holding.need(state, None), 0.0)


def test_a_worker_that_looks_itself_first_does_what_was_left_to_it(held):
    """Such as waking submitters, which would wait as long as the task is held."""
    crew, worker = held
    worker.chores = [partial(fund, crew.state, Funds(bounded=False))]
    with ThreadPoolExecutor(1) as thread:
        try:
            answer = thread.submit(crew.look_and_ask, worker).result(SOON)
        finally:
            fund(crew.state, Funds(bounded=False))
    assert answer is worker.task


def test_it_parks_once_the_thread_can_be_had(held, monkeypatch):
    crew, worker = held
    monkeypatch.setattr(ticker, "expects", lambda what: what is crew.watch and crew.watch.count > 2)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(crew.look_and_ask, worker).result(SOON) is Verdict.PARK
    assert worker.parked


def test_the_thread_stays_while_another_looks():
    """It might be refused when that one has it started again."""
    watch, looking, go = Watch(), threading.Event(), threading.Event()

    def look():
        with watch._lock:
            looking.set()
            assert go.wait(SOON)

    other = threading.Thread(target=look)
    other.start()
    assert looking.wait(SOON)
    assert watch.tick(monotonic()) is not None
    go.set()
    other.join(SOON)
    assert watch.tick(monotonic()) is None, "it has looked itself"
    watch.gauge.close()
