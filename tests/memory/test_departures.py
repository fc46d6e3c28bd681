"""Whose calls have ended between two looks."""

from cgexec._memory.departures import Departures
from cgexec._memory.footprints import Footprint

LONG, SHORT, OTHER = (Footprint(name, name) for name in ("long", "short", "other"))


def test_who_does_not_run_any_more_has_ended():
    seen = Departures()
    assert seen.see({1: LONG, 2: SHORT, 3: SHORT}, 0, []) == {}
    assert seen.see({1: LONG}, 2, []) == {SHORT: 2}
    assert seen.see({}, 1, []) == {LONG: 1}


def test_who_runs_has_not_ended_however_many_others_have():
    seen = Departures()
    for n in range(100):
        counts = seen.see({0: LONG, n + 1: SHORT}, 50 if n else 0, [])
        assert LONG not in counts
    assert counts == {SHORT: 50}


def test_those_never_seen_are_of_what_was_started_of_late_and_of_calls_that_were_gone_after_one_look():
    seen = Departures()
    assert seen.see({}, 10, [SHORT]) == {SHORT: 10}
    assert seen.see({}, 5, [SHORT, OTHER]) == {SHORT: 2, OTHER: 3}
    seen.see({1: LONG, 2: OTHER}, 0, [])
    seen.see({1: LONG, 2: OTHER, 3: SHORT}, 0, [])
    assert seen.see({}, 23, [OTHER]) == {LONG: 1, OTHER: 11, SHORT: 11}, "three that were seen, twenty that were not"


def test_what_nobody_knows_is_no_ones():
    assert Departures().see({}, 10, []) == {}


def test_calls_that_teach_nothing_take_their_part():
    seen = Departures()
    seen.see({1: None, 2: SHORT}, 0, [])
    assert seen.see({}, 12, []) == {SHORT: 6}


def test_who_is_counted_a_look_later_is_not_counted_twice():
    seen = Departures()
    seen.see({1: SHORT, 2: SHORT}, 0, [])
    assert seen.see({2: SHORT}, 0, []) == {SHORT: 1}
    assert seen.see({2: SHORT}, 1, [OTHER]) == {}
    assert seen.see({2: SHORT}, 1, [OTHER]) == {OTHER: 1}


def test_who_is_never_counted_is_forgotten_in_a_pause():
    seen = Departures()
    seen.see({1: SHORT}, 0, [])
    seen.see({}, 0, [])
    assert seen.see({}, 1, [OTHER]) == {OTHER: 1}
