"""The golden answers, and what must hold for every answer. A change in the table is a "Sizing changes" entry."""

import dataclasses
import pickle
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgexec import recommend
from cgexec._recommend import gil_enabled
from cgexec._sizing import size
from cgexec._workload import workload
from support.values import GIB, MIB, make_limits, make_usage

POD = make_limits()
REQUESTS = make_limits(cpu_request=0.1, memory_request=GIB)
HUGE = make_limits(bound=False, cpus=128.0, cpu_set=128, memory_bytes=512 * GIB, memory_limit=None)
BASELINE = make_usage(process_bytes=300 * MIB)

# name: (limits, usage, arguments) -> (max_workers, ceiling, min_workers, bound_by, fits)
GOLDEN = {
    "pod, nothing said": (POD, None, {}, (8, 1000, 1, "cpu", True)),
    "pod, computes a tenth": (POD, None, {"cpu_per_task": 0.1}, (20, 1000, 1, "cpu", True)),
    "pod, waits nine tenths": (POD, None, {"io_ratio": 0.9}, (20, 1000, 1, "cpu", True)),
    "pod, waits 96 %": (POD, None, {"io_ratio": 0.96}, (50, 1000, 1, "cpu", True)),
    "pod, four processes": (POD, None, {"io_ratio": 0.9, "processes": 4}, (5, 1000, 1, "cpu", True)),
    "pod, four processes, nothing said": (POD, None, {"processes": 4}, (2, 1000, 1, "cpu", True)),
    "pod, computes only": (POD, None, {"io_ratio": 0}, (2, 1000, 1, "cpu", True)),
    "pod with requests": (REQUESTS, None, {}, (8, 1000, 1, "cpu", True)),
    "200 MiB each, baseline 300 MiB": (
        REQUESTS,
        BASELINE,
        {"io_ratio": 0.9, "memory_per_task": "200Mi"},
        (15, 15, 1, "memory", True),
    ),
    "requests that cover two": (
        make_limits(cpu_request=0.5, memory_request=GIB),
        BASELINE,
        {"io_ratio": 0.9, "memory_per_task": "200Mi"},
        (15, 15, 2, "memory", True),
    ),
    "requests above what is used": (
        make_limits(cpu_request=2, memory_request=4 * GIB),
        None,
        {"io_ratio": 0.5, "memory_per_task": "10Mi"},
        (4, 348, 4, "cpu", True),
    ),
    "memory tiny": (make_limits(memory_bytes=16 * MIB), None, {}, (1, 1, 1, "floor", False)),
    "memory for one": (
        make_limits(memory_bytes=256 * MIB),
        None,
        {"memory_per_task": "200Mi"},
        (1, 1, 1, "memory", True),
    ),
    "memory for none": (
        make_limits(memory_bytes=256 * MIB),
        None,
        {"memory_per_task": "1Gi"},
        (1, 1, 1, "floor", False),
    ),
    "a tenth of a CPU": (make_limits(cpus=0.1, cpu_quota=0.1), None, {}, (2, 1000, 1, "floor", True)),
    "a tenth of a CPU, half waits": (
        make_limits(cpus=0.1, cpu_quota=0.1),
        None,
        {"io_ratio": 0.5},
        (1, 1000, 1, "cpu", True),
    ),
    "fractional CPUs round up": (
        make_limits(cpus=1.1, cpu_quota=1.1),
        None,
        {"io_ratio": 0},
        (2, 1000, 1, "cpu", True),
    ),
    "7.65 CPUs": (make_limits(cpus=7.65, cpu_quota=7.65), None, {"io_ratio": 0}, (8, 1000, 1, "cpu", True)),
    "waits nearly always": (POD, None, {"io_ratio": 0.999}, (1000, 1000, 1, "cap", True)),
    "more processes than CPUs": (POD, None, {"io_ratio": 0, "processes": 8}, (1, 1000, 1, "cpu", True)),
    "more processes than CPUs, nothing said": (POD, None, {"processes": 8}, (2, 1000, 1, "floor", True)),
    "128 CPUs without a limit": (HUGE, None, {}, (32, 1000, 1, "cap", True)),
    "128 CPUs without a limit, waits": (HUGE, None, {"io_ratio": 0.9}, (1000, 1000, 1, "cap", True)),
    "128 CPUs without a limit, computes": (HUGE, None, {"io_ratio": 0}, (128, 1000, 1, "cpu", True)),
    "2 CPUs without a limit": (make_limits(bound=False), None, {}, (6, 1000, 1, "cap", True)),
    "request above the limit": (
        make_limits(cpu_request=16, memory_request=64 * GIB),
        None,
        {},
        (8, 1000, 8, "cpu", True),
    ),
    "pids bind": (make_limits(pids_limit=20), make_usage(pids=5, pids_headroom=15), {}, (7, 7, 1, "pids", True)),
    "pids used up": (make_limits(pids_limit=20), make_usage(pids=20, pids_headroom=0), {}, (1, 1, 1, "floor", True)),
    "pids in use unknown": (make_limits(pids_limit=100), None, {"io_ratio": 0.99}, (92, 92, 1, "pids", True)),
    "processes of a pool": (POD, None, {"kind": "process"}, (2, 108, 1, "cpu", True)),
    "processes of 1 GiB": (
        POD,
        None,
        {"kind": "process", "memory_per_task": "1Gi", "io_ratio": 0.5},
        (3, 3, 1, "memory", True),
    ),
    "headroom of now": (
        POD,
        make_usage(headroom_bytes=GIB),
        {"basis": "now", "memory_per_task": "100Mi", "io_ratio": 0.9},
        (4, 4, 1, "memory", True),
    ),
    "within the request": (REQUESTS, None, {"basis": "request", "memory_per_task": "200Mi"}, (4, 4, 1, "memory", True)),
    "no reserve": (POD, None, {"reserve": 0, "memory_per_task": "1Gi"}, (4, 4, 1, "memory", True)),
    "reserve in bytes": (POD, None, {"reserve": "2Gi", "memory_per_task": "1Gi"}, (2, 2, 1, "memory", True)),
    "reserve above the limit": (POD, None, {"reserve": "8Gi"}, (1, 1, 1, "floor", False)),
    "RLIMIT_AS": (
        make_limits(address_space_limit=GIB),
        make_usage(process_address_space=200 * MIB),
        {"io_ratio": 0.99},
        (99, 99, 1, "address_space", True),
    ),
}


@pytest.mark.parametrize(("limits", "usage", "arguments", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_golden_answers(limits, usage, arguments, expected):
    answer = recommend(limits=limits, usage=usage or make_usage(), **arguments)
    assert (answer.max_workers, answer.ceiling, answer.min_workers, answer.bound_by, answer.fits) == expected


@pytest.mark.parametrize(("workers", "places"), [(0.9, 1024), (0.96, 50 * 32)])
def test_queue_has_1024_places_or_32_for_each_worker(workers, places):
    assert recommend(limits=POD, usage=make_usage(), io_ratio=workers).queue_size == places


def _sized(**arguments):
    return size(POD, make_usage(), workload(environ={}, **arguments))


@pytest.mark.parametrize("shares", range(1, 178))
@pytest.mark.parametrize("cpus", [1.0, 2.0, 3.0])
def test_a_share_that_no_decimal_has_gives_as_many_as_the_fraction(shares, cpus):
    limits = make_limits(cpus=cpus, cpu_quota=cpus, cpu_request=cpus)
    for said in ({"cpu_per_task": 1 / shares}, {"io_ratio": 1 - 1 / shares}):
        answer = recommend(limits=limits, usage=make_usage(), **said)
        assert (answer.max_workers, answer.min_workers, answer.terms["gil"]) == (cpus * shares, cpus * shares, shares)
        assert f"cover {cpus * shares:.0f} worker" in answer.explain()


def test_a_share_a_little_above_rounds_up_still():
    assert recommend(limits=POD, usage=make_usage(), cpu_per_task=0.333333).max_workers == 7


def test_gil_binds_pure_python_on_a_build_that_has_it():
    answer = _sized(io_ratio=0.9, releases_gil=False, gil=True)
    assert (answer.max_workers, answer.bound_by) == (10, "gil")


def test_gil_does_not_bind_on_a_free_threaded_build():
    assert _sized(io_ratio=0.9, releases_gil=False, gil=False).max_workers == 20


def test_gil_does_not_bind_processes():
    assert _sized(io_ratio=0.9, releases_gil=False, gil=True, kind="process").max_workers == 20


def test_gil_term_is_always_shown():
    assert _sized().terms["gil"] == 4
    assert _sized(io_ratio=0.9, gil=False).terms["gil"] == 10


def test_build_is_asked_for_its_gil(monkeypatch):
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    assert not gil_enabled()
    answer = recommend(limits=POD, usage=make_usage(), io_ratio=0.9, releases_gil=False)
    assert answer.max_workers == 20
    assert "without the GIL" in answer.explain()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"io_ratio": 80}, r"io_ratio=80: expected a share from 0 to 1.*80 % is 0.8"),
        ({"io_ratio": 1}, r"never computes"),
        ({"io_ratio": float("nan")}, r"io_ratio=nan: expected a share"),
        ({"io_ratio": -0.1}, r"io_ratio=-0.1: expected a share"),
        ({"cpu_per_task": 0}, r"cpu_per_task=0"),
        ({"cpu_per_task": 10}, r"10 % is 0.1"),
        ({"io_ratio": 0.9, "cpu_per_task": 0.2}, r"contradict each other.*io_ratio=0.8"),
        ({"memory_per_task": 200}, r"200 B;"),
        ({"memory_per_task": "lots"}, r"memory_per_task: expected a quantity"),
        ({"memory_per_task": -1}, r"memory_per_task"),
        ({"memory_per_task": 0}, r"memory_per_task=0 is 0 B"),
        ({"reserve": 15}, r"reserve=15 is 15 bytes.*15 % is 0.15"),
        ({"reserve": "x"}, r"reserve"),
        ({"processes": 0}, r"processes=0"),
        ({"processes": 1.5}, r"processes=1.5"),
        ({"processes": float("inf")}, r"processes=inf"),
        ({"processes": "4"}, r"processes='4'"),
        ({"kind": "greenlet"}, r'expected "thread" or "process"'),
        ({"basis": "hope"}, r'expected "limit", "now" or "request"'),
        ({"basis": "request"}, r"CGEXEC_MEMORY_REQUEST=1Gi"),
    ],
)
def test_nonsense_is_a_value_error_that_shows_the_right_form(arguments, message):
    with pytest.raises(ValueError, match=message):
        recommend(limits=POD, usage=make_usage(), **arguments)


def test_both_spellings_may_be_given_if_they_agree():
    assert recommend(limits=POD, usage=make_usage(), io_ratio=0.9, cpu_per_task=0.1).max_workers == 20
    assert recommend(limits=POD, usage=make_usage(), io_ratio=2 / 3, cpu_per_task=1 / 3).max_workers == 6


def test_numbers_of_other_libraries_are_taken():
    class Integer:
        def __index__(self):
            return 4

    def answer(**said):
        return recommend(limits=POD, usage=make_usage(), **said).max_workers

    assert answer(io_ratio=0.9, processes=Integer()) == answer(io_ratio=0.9, processes=4.0) == 5
    assert answer(io_ratio=Decimal("0.9")) == answer(cpu_per_task=Fraction(1, 10)) == 20
    with pytest.raises(ValueError, match="expected a share"):
        answer(io_ratio=Decimal("NaN"))


def test_processes_and_reserve_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert recommend(limits=POD, usage=make_usage()).workload.processes == 2
    monkeypatch.setenv("CGEXEC_PROCESSES", "4")
    monkeypatch.setenv("CGEXEC_RESERVE", "50%")
    with pytest.raises(ValueError, match="CGEXEC_RESERVE='50%'.*CGEXEC_RESERVE=0.15"):
        recommend(limits=POD, usage=make_usage())
    monkeypatch.setenv("CGEXEC_RESERVE", "0.5")
    answer = recommend(limits=POD, usage=make_usage(), memory_per_task="128Mi", io_ratio=0.9)
    assert (answer.workload.processes, answer.max_workers) == (4, 4)


def test_arguments_beat_the_environment(monkeypatch):
    monkeypatch.setenv("CGEXEC_PROCESSES", "4")
    assert recommend(limits=POD, usage=make_usage(), io_ratio=0.9, processes=1).max_workers == 20


@pytest.mark.parametrize("text", ["auto", "0", "-2", ""])
def test_another_programs_nonsense_is_no_error(monkeypatch, text):
    monkeypatch.setenv("WEB_CONCURRENCY", text)
    assert recommend(limits=POD, usage=make_usage()).workload.processes == 1


def test_an_answer_travels_to_another_process():
    answer = recommend(limits=POD, usage=make_usage())
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert hash(answer) == hash(pickle.loads(pickle.dumps(answer)))


def test_reads_this_container_by_itself():
    answer = recommend()
    assert 1 <= answer.min_workers <= answer.max_workers <= answer.ceiling <= 1000


shares = st.one_of(st.none(), st.floats(0, 0.9999))
sizes = st.one_of(st.none(), st.integers(1024, 8 * GIB))


@st.composite
def containers(draw):
    return make_limits(
        cpus=(cpus := draw(st.floats(0.001, 512))),
        cpu_quota=cpus,
        memory_bytes=draw(st.integers(0, 1024 * GIB)),
        pids_limit=draw(st.one_of(st.none(), st.integers(0, 10**6))),
        address_space_limit=draw(st.one_of(st.none(), st.integers(0, 2**47))),
        cpu_request=draw(st.one_of(st.none(), st.floats(0.001, 600))),
        memory_request=draw(st.one_of(st.none(), st.integers(1, 2048 * GIB))),
    )


@st.composite
def arguments(draw):
    return {
        "io_ratio": draw(shares),
        "memory_per_task": draw(sizes),
        "releases_gil": draw(st.booleans()),
        "processes": draw(st.integers(1, 64)),
        "kind": draw(st.sampled_from(["thread", "process"])),
        "reserve": draw(st.one_of(st.none(), st.floats(0, 0.99), st.integers(1 << 20, 8 * GIB))),
        "basis": draw(st.sampled_from(["limit", "now"])),
    }


usages = st.builds(
    make_usage,
    process_bytes=st.one_of(st.none(), st.integers(0, 8 * GIB)),
    headroom_bytes=st.integers(-GIB, 1024 * GIB),
    pids=st.none(),
)


def test_of_the_same_headroom_a_larger_limit_keeps_more_free():
    """The reserve is a share of the limit, as is what a pool's guard keeps; the same headroom means more in use."""
    usage = make_usage(headroom_bytes=GIB)
    said = {"basis": "now", "memory_per_task": "64Mi", "io_ratio": 0.99}
    assert recommend(limits=make_limits(memory_bytes=2 * GIB), usage=usage, **said).max_workers == 11
    assert recommend(limits=make_limits(memory_bytes=4 * GIB), usage=usage, **said).max_workers == 6


@given(containers(), usages, arguments())
def test_every_answer_is_sane(limits, usage, said):
    answer = recommend(limits=limits, usage=usage, **said)
    assert 1 <= answer.min_workers <= answer.max_workers <= answer.ceiling <= 1000
    assert answer.queue_size >= 1024
    assert answer.fits or answer.max_workers == 1
    assert answer.explain()


@given(containers(), usages, arguments(), st.floats(0, 1), st.sampled_from(["cpus", "memory_bytes", "pids_limit"]))
def test_a_tighter_limit_never_gives_more_workers(limits, usage, said, factor, which):
    value = getattr(limits, which)
    if value is None:
        value = 10**6
    tight = max(value * factor, 0.001) if which == "cpus" else int(value * factor)
    changes = {which: tight} | ({"cpu_quota": tight} if which == "cpus" else {})
    lost = value - tight if which == "memory_bytes" else 0  # as much is used, so there is so much less room
    less = dataclasses.replace(usage, headroom_bytes=usage.headroom_bytes - lost)
    tighter = recommend(limits=dataclasses.replace(limits, **changes), usage=less, **said)
    looser = recommend(limits=limits, usage=usage, **said)
    assert tighter.max_workers <= looser.max_workers
    assert tighter.ceiling <= looser.ceiling
