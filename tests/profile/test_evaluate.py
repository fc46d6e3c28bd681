"""What follows from measured levels: pure arithmetic, on levels that are made up."""

import json
import xml.etree.ElementTree as ET

import pytest

from cgexec._profile.evaluate import Level, evaluate, ladder, stop_reason
from cgexec._profile.report import as_dict, render
from support.values import MIB, make_limits, make_usage

ROOM = 4096 * MIB


def levels(*throughputs, memory=10, wall=0.1, cpu=0.05, gil=0.0, **more):
    """Return levels 1, 2, 3, 4, 6, ... with these throughputs, each worker holding so many MiB."""
    steps = ladder(64)
    return [
        Level(workers, 100, throughput, wall, cpu, 0.0, gil if workers == 1 else None, 50 * MIB,
              workers * memory * MIB, **more)
        for workers, throughput in zip(steps, throughputs, strict=False)
    ]  # fmt: skip


def result(measured, **changes):
    limits = make_limits(**changes)
    return evaluate(measured, "because", limits, make_usage(), gil=True)


@pytest.mark.parametrize(("most", "steps"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 3, 4, 5]), (10, [1, 2, 3, 4, 6, 8, 10])])
def test_the_ladder_ends_with_the_most(most, steps):
    assert ladder(most) == steps


@pytest.mark.parametrize(
    ("measured", "following", "why"),
    [
        ([], 1, ""),
        (levels(10, 20), 3, ""),
        (levels(10, 20, 20), 4, ""),
        (levels(10, 20, 20, 20), 6, "throughput rises no more"),
        (levels(10, 20, 20.5, 20.9), 6, "throughput rises no more"),
        (levels(10, 20, 15, 30), 6, ""),
        (levels(10, 20, memory=1200), 3, "3 workers may not fit in memory"),
        (levels(10, 20, wall=70.0), 3, "the time is used up"),
        ([*levels(10), Level(2, ended="killed, most likely for memory")], 3, "2 workers: killed, most likely for memory"),
    ],
)  # fmt: skip
def test_when_no_more_are_tried(measured, following, why):
    assert stop_reason(measured, following, ROOM, 60.0) == why


def test_the_knee_is_the_fewest_that_get_about_as_much_done_as_any():
    seen = result(levels(10, 20, 29, 30, 30.2, 29))
    assert (seen.knee, seen.flat, seen.workers) == (3, True, 3)
    assert seen.why == "more brought no more throughput"


def test_while_throughput_rises_the_last_that_was_tried_is_used():
    seen = result(levels(10, 20, 30, 40))
    assert (seen.flat, seen.workers) == (False, 4)
    assert seen.why == "throughput still rose there, and more were not tried (because)"
    assert result(levels(10, 20, 30, 25)).why == "4 brought no more, and more were not tried (because)"


def test_of_a_single_level_it_is_not_said_that_throughput_rose():
    seen = evaluate(levels(10), "2 workers may not fit in memory", make_limits(), make_usage(), gil=True)
    assert (seen.workers, seen.why) == (1, "more were not tried (2 workers may not fit in memory)")


def test_memory_allows_fewer_than_throughput_would_want():
    seen = result(levels(10, 20, 30, 40, 60, 60, 60, memory=100), memory_bytes=512 * MIB)
    # 512 MiB less 15 %, less the 50 MiB of the process, over 100 MiB each.
    assert (seen.knee, seen.workers) == (6, 3)
    assert seen.why == "more would help, but memory allows no more"


def test_the_task_is_described_by_what_it_did_alone():
    seen = result(levels(10, 20, cpu=0.01))
    assert seen.cpu_share == pytest.approx(0.1)
    assert seen.recommendation.max_workers == 20  # 2 CPUs / 0.1


def test_waiting_for_a_cpu_is_no_io():
    measured = levels(10, 20, wall=0.2, cpu=0.1)
    measured[0] = measured[0]._replace(queued=0.1)
    seen = result(measured)
    assert seen.cpu_share == 1
    assert "the machine is busy: for 50% of it no CPU was free" in " ".join(render("m:f", seen).split())


def test_a_quota_is_no_busy_machine():
    measured = levels(10, 20, wall=0.2, cpu=0.02, throttled=0.95)
    measured[0] = measured[0]._replace(queued=0.18)
    text = " ".join(render("m:f", result(measured)).split())
    assert "a call takes 200 ms (for 90% of it the CPU limit had stopped it), 100% of it computing" in text
    assert "busy" not in text


@pytest.mark.parametrize(
    ("cpu", "share", "gil", "releases"),
    [(0.1, 1.0, True, False), (0.1, 0.02, True, True), (0.005, 0.04, True, False), (0.1, None, True, None), (0.1, 1.0, False, True)],
    ids=["pure", "native", "mostly-waiting-pure", "not-known", "free-threaded"],
)  # fmt: skip
def test_pure_python_is_told_by_the_lock_it_holds(cpu, share, gil, releases):
    seen = evaluate(levels(10, cpu=cpu, gil=share), "", make_limits(), make_usage(), gil=gil)
    assert seen.releases_gil is releases


def test_what_was_not_measured_about_the_lock_is_not_said():
    seen = result(levels(10, cpu=0.1, gil=None))
    text = " ".join(render("m:f", seen).split())
    assert "100% of it computing; whether under the GIL was not measured, which a longer --seconds may do." in text
    assert "outside the GIL" not in text
    assert as_dict("m:f", seen)["releases_gil"] is None


def test_the_estimate_is_the_most_that_a_call_was_seen_to_hold():
    measured = levels(10, 20, memory=10)
    measured[0] = measured[0]._replace(peaks=(8 * MIB, 9 * MIB, 14 * MIB))
    seen = result(measured)
    assert seen.memory == (8 * MIB, 10 * MIB, 14 * MIB)
    assert 'memory_per_task="14Mi"' in render("m:f", seen)


def test_a_level_that_ended_badly_counts_for_nothing():
    measured = [*levels(10, 20), Level(3, ended="raised RuntimeError: too many connections")]
    seen = evaluate(measured, stop_reason(measured, 4, ROOM, 60.0), make_limits(), make_usage(), gil=True)
    assert [level.workers for level in seen.levels] == [1, 2]
    assert seen.workers == 2
    why = "throughput still rose there, and more failed (3 workers: raised RuntimeError: too many connections)"
    assert f"use 2 workers for m:f: {why}" in " ".join(render("m:f", seen).split())


def test_the_report_fits_80_columns_and_says_it_all():
    seen = result(levels(10, 20, 29, 30, 30.2, throttled=0.25))
    text = render("application.reports:monthly_report_of_everything", seen)
    assert max(map(len, text.split("\n"))) <= 80
    for part in (
        "use 3 workers",
        "<- as much as any",
        "25%",
        "50% of it computing",
        "10 MiB",
        "recommend() gives 4",
        "because",
    ):
        assert part in " ".join(text.split()), part
    assert text.endswith('cgexec.ThreadPoolExecutor(3, memory_per_task="10Mi")')


def test_the_json_is_json():
    said = json.loads(json.dumps(as_dict("m:f", result(levels(10, 20, 29, 30, 30.2)))))
    assert (said["workers"], said["knee"], said["recommendation"]["max_workers"]) == (3, 3, 4)
    assert said["levels"][0]["workers"] == 1


def words_of(path):
    return " ".join(element.text or "" for element in ET.parse(path).iter() if element.tag.endswith("text"))


@pytest.mark.parametrize(
    ("releases_gil", "gil", "words"),
    [(True, 0.0, "what the CPU limit allows"), (False, 1.0, "what the GIL allows")],
    ids=["native", "pure"],
)
def test_the_picture_has_the_limits_that_are_near(tmp_path, releases_gil, gil, words):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "cgexec[plot]"')
    from cgexec._profile.plot import plot

    seen = result(levels(10, 20, 29, 30, memory=200, wall=0.05, cpu=0.05, gil=gil), memory_bytes=2048 * MIB)
    assert seen.releases_gil is releases_gil
    plot("m:f", seen, str(tmp_path / "x.svg"))
    text = words_of(tmp_path / "x.svg")
    assert words in text
    assert "limit less reserve" in text
    assert "far above" not in text
    (tmp_path / "y.svg").mkdir()
    with pytest.raises(ValueError, match=r"--plot .*: Is a directory"):
        plot("m:f", seen, str(tmp_path / "y.svg"))


def test_calls_of_no_time_and_no_memory_are_said_to_be_so():
    text = " ".join(render("m:f", result(levels(10, 20, memory=0, wall=2e-5, cpu=1e-5))).split())
    assert "Alone a call takes 20 us" in text
    assert "it holds less than 1 MiB" in text
    assert text.endswith("cgexec.ThreadPoolExecutor(2)")
