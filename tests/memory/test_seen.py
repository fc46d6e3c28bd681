"""What a look takes in: of the process, and of what pools run."""

from types import SimpleNamespace

import pytest

from cgexec._memory.footprints import Footprints
from cgexec._memory.gauge import Gauge
from cgexec._pool.admission import Admission
from cgexec._pool.holding import need
from cgexec._pool.lulls import Lulls
from cgexec._pool.price import Price
from cgexec._pool.scene import Scene
from cgexec._pool.shares import Claim
from cgexec._settings import Care
from support.pools import hired

STATUS = """\
VmHWM:\t    9000 kB
VmRSS:\t    7000 kB
RssAnon:\t    4000 kB
RssFile:\t    2000 kB
RssShmem:\t    1000 kB
VmData:\t   50000 kB
Threads:\t12
"""


def test_the_parts_of_what_a_process_holds():
    gauge = Gauge()
    gauge.files = SimpleNamespace(text=lambda _: STATUS)
    own = gauge.own()
    assert own is not None
    assert [size >> 10 for size in own if size > 12] == [4000, 1000, 7000, 9000, 50000, 2000]
    assert (own.file >> 10, own.threads) == (2000, 12)


def test_since_when_nothing_has_ended():
    lulls = Lulls()
    assert lulls.see({1: 5, 2: 0}, 1.0) == {1: 5, 2: 0}
    assert lulls.see({1: 5, 2: 3}, 2.0) == {1: 0, 2: 3}
    assert lulls.see({1: 5, 2: 3, 3: 0}, 3.0) == {1: 0, 2: 0, 3: 0}
    assert [lulls.since(pool) for pool in (1, 2, 3)] == [1.0, 2.0, 3.0]


@pytest.fixture
def claim():
    """Return a pool that runs a task, with all that a look asks of one."""
    state = Admission(2, 10)
    state.price = Price(lambda _: 1.0)
    hired(state)
    crew = SimpleNamespace(state=state, saw=lambda _: None)
    return Claim(crew, Care(), need(state, None))


def test_a_task_that_runs_a_second_time_is_another_call(claim):
    ((task, _),) = claim.need.busy
    twice = claim._replace(need=claim.need._replace(busy=[(task, 1.0), (task, 2.0)]))
    first, again = Scene(Footprints()).running([twice])
    assert first.ident != again.ident
    assert first.footprint is again.footprint


def test_what_began_while_memory_was_read_is_late(claim):
    scene = Scene(Footprints())
    assert scene.late([claim], None) == []
    hired(claim.crew.state)
    (late,) = scene.late([claim], None)
    assert late.ident not in {each.ident for each in scene.running([claim])}
    assert late.ident in {each.ident for each in scene.running([claim._replace(need=need(claim.crew.state, None))])}


def test_what_was_started_long_ago_tells_nothing_of_what_ended_since(claim):
    def lately(pool, ended=1):
        return [footprint.name for footprint in Scene(Footprints()).lately([pool], {id(pool.crew): ended})]

    state = claim.crew.state
    idle = claim._replace(need=claim.need._replace(busy=[]))
    assert lately(idle) == [], "memory has never bounded what starts"
    state.begun = "work"
    assert lately(claim) == []
    assert lately(idle) == ["work"], "nothing else is known"
    state.price(claim.need.busy[0][0])
    assert lately(claim) == ["work"]
    assert lately(claim, ended=0) == []
