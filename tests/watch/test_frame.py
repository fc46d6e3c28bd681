"""What is shown: right numbers, 80 columns, and whatever a socket may say."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgexec._watch.draw import as_rich, as_text
from cgexec._watch.frame import make_frame

GIB = 1 << 30
POOL = {
    "number": 1, "name": "reports", "mode": "enforce", "limit": 8, "running": 8, "waiting": 122, "oldest_waiting": 412.0,
    "longest_running": 280.0, "longest_running_function": "app.reports.monthly.generate", "rejected": {"queue": 12},
    "completed": 30, "failed": 2, "held_for": None, "blocked": 0, "closed": None,
}  # fmt: skip
PROCESS = {
    "pid": 17, "time": 100.0, "pools": [POOL],
    "limits": {"cpus": 2.0, "cpu_quota": 2.0, "memory_bytes": 4 * GIB, "memory_request": GIB, "pids_limit": 400},
    "usage": {"memory_bytes": 3 * GIB, "working_set_bytes": 2 * GIB, "pids": 31, "nr_periods": 100, "nr_throttled": 30,
              "psi_memory_full": 1.0, "psi_cpu_some": 2.0, "oom_kills": 2},
}  # fmt: skip
LATER = {
    **PROCESS, "time": 102.0, "pools": [{**POOL, "completed": 35, "failed": 3}],
    "usage": {**PROCESS["usage"], "nr_periods": 120, "nr_throttled": 42, "psi_cpu_some": 2.5},
}  # fmt: skip


def text(now, before=()):
    return as_text(make_frame(now, before, where="here", clock="12:00:00"))


def drawn(now, before=(), *, width):
    """Return what rich draws on a terminal of so many columns."""
    console = pytest.importorskip("rich.console", reason='needs rich: pip install "cgexec[rich]"')
    file = io.StringIO()
    frame = make_frame(now, before, where="here", clock="12:00:00")
    console.Console(width=width, file=file).print(as_rich(frame))
    return file.getvalue()


def test_a_frame_shows_use_rates_and_pools():
    assert text([LATER], [PROCESS]).split("\n") == [
        "cgexec  here  12:00:00",
        "memory        [###############-----]  75%  3 GiB of 4 GiB",
        "working set   [##########----------]  50%  2 GiB of 4 GiB, 200% of request",
        "tasks (pids)  [##------------------]   8%  31 of 400",
        "CPUs 2, throttled 60%, memory stalls 0%, CPU waits 25%, OOM kills 2",
        "",
        "pool     running  waiting  oldest  longest                 rate  refused",
        "reports   8 of 8      122   7 min  5 min monthly.generate   3/s       12",
    ]


def test_the_use_of_a_level_above_is_a_share_of_that_levels_limit():
    above = {"memory_bytes": 7 * GIB, "working_set_bytes": 6 * GIB, "level_limit": 8 * GIB, "level_is_own": False,
             "pids": 51, "pids_headroom": 9}  # fmt: skip
    assert text([{**PROCESS, "usage": {**PROCESS["usage"], **above}}]).split("\n")[1:4] == [
        "memory        [##################--]  88%  7 GiB of 8 GiB",
        "working set   [###############-----]  75%  6 GiB of 8 GiB",
        "tasks (pids)  [#################---]  85%  51 of 60",
    ]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"nr_periods": 9, "nr_throttled": 40, "psi_cpu_some": 0.1, "psi_memory_full": 0.1}, id="anew"),
        pytest.param(
            {"nr_periods": 120, "nr_throttled": 3, "psi_cpu_some": 0.1, "psi_memory_full": 0.1}, id="one-back"
        ),
        pytest.param({"sources": dict.fromkeys(("nr_throttled", "psi_cpu_some", "psi_memory_full"), "/b")}, id="moved"),
    ],
)
def test_counters_of_another_cgroup_are_no_rate(change):
    assert "CPUs 2, OOM kills 2" in text([{**LATER, "usage": {**LATER["usage"], **change}}], [PROCESS]).split("\n")


def test_no_more_than_all_periods_are_throttled():
    late = {**LATER, "usage": {**LATER["usage"], "nr_periods": 109, "nr_throttled": 40}}
    assert "throttled 100%" in text([late], [PROCESS])


def test_two_pools_of_one_name_have_rates_of_their_own():
    def said(time, **completed):
        pools = [{**POOL, "number": int(number[1:]), "completed": count} for number, count in completed.items()]
        return [{**PROCESS, "time": time, "pools": pools}]

    def rates(now, before):
        return [row.rate for row in make_frame(now, before, where="here", clock="12:00:00").pools]

    assert rates(said(102.0, _1=40, _2=500), said(100.0, _1=30, _2=100)) == ["5/s", "200/s"]
    assert rates(said(102.0, _2=500), said(100.0, _1=30, _2=100)) == ["200/s"]  # the first has been closed
    assert rates(said(102.0, _1=40, _3=500), said(100.0, _1=30, _2=100)) == ["5/s", "-"]


def test_the_first_frame_has_no_rates():
    lines = text([PROCESS]).split("\n")
    assert "CPUs 2, throttled 30%, OOM kills 2" in lines
    assert lines[-1].split()[-2:] == ["-", "12"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"held_for": 33.0}, "reports: held by memory for 33 s"),
        ({"blocked": 2}, "reports: 2 submitters blocked"),
        ({"closed": "cannot schedule"}, "reports: closing"),
        ({"mode": "observe"}, "reports: CGEXEC_MODE=observe"),
    ],
)
def test_what_is_wrong_has_a_line(change, said):
    assert text([{**PROCESS, "pools": [{**POOL, **change}]}]).split("\n")[-1] == said


def test_pools_of_several_processes_are_told_apart():
    lines = text([PROCESS, {**PROCESS, "pid": 18}]).split("\n")
    assert [line.split("  ")[0] for line in lines[-2:]] == ["reports (17)", "reports (18)"]


def test_long_names_and_large_numbers_fit_80_columns():
    pool = {**POOL, "name": "x" * 50, "running": 1000, "limit": 1000, "waiting": 10**6, "held_for": 1e6}
    lines = text([{**PROCESS, "pools": [pool]}]).split("\n")
    assert max(map(len, lines)) <= 80
    assert "1000 of 1000" in lines[-2]


LONG = {**POOL, "name": "reports-of-the-month", "longest_running_function": "__main__.render_report"}


def test_the_module_gives_way_before_the_name_of_the_function():
    assert "5 min render_report " in text([{**PROCESS, "pools": [LONG]}])
    longer = {**LONG, "longest_running_function": "app.jobs." + "render_" * 5}
    assert "5 min render_rende~ " in text([{**PROCESS, "pools": [longer]}])


@pytest.mark.parametrize(("width", "shown"), [(80, "5 min render_repo"), (100, "5 min __main__.render_report ")])
def test_the_module_gives_way_on_a_terminal_too(width, shown):
    assert shown in drawn([{**PROCESS, "pools": [LONG]}], width=width)


def test_nothing_that_a_terminal_would_act_on_is_shown():
    nasty = {**POOL, "name": "\x1b[2J\x07", "longest_running_function": "a\rb\n\x9b31m", "mode": "\x1b]0;x\x07"}
    shown = text([{**PROCESS, "pools": [nasty]}])
    assert all(letter.isprintable() or letter == "\n" for letter in shown)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
POOLS = st.fixed_dictionaries({}, optional=dict.fromkeys(POOL, ANYTHING))
PROCESSES = st.fixed_dictionaries(
    {"pools": st.lists(POOLS | ANYTHING, max_size=3)},
    optional={
        "pid": ANYTHING,
        "time": ANYTHING,
        "limits": st.fixed_dictionaries({}, optional=dict.fromkeys(PROCESS["limits"], ANYTHING)) | ANYTHING,
        "usage": st.fixed_dictionaries({}, optional=dict.fromkeys(PROCESS["usage"], ANYTHING)) | ANYTHING,
    },
)


@given(st.lists(PROCESSES, min_size=1, max_size=2), st.lists(PROCESSES, max_size=2))
def test_whatever_a_socket_says_is_shown(now, before):
    shown = text(now, before)
    assert all(len(line) <= 80 for line in shown.split("\n"))
    assert all(len(line) <= 80 for line in drawn(now, before, width=80).split("\n"))
