"""What can become of a job."""

import math

import pytest
from fastapi_service.states import FINAL, MOVES, Job, State, moved, reported


def job(state, **known):
    return Job("a", "me", 0.0, state, **known)


def test_every_state_has_its_ways_and_final_ones_have_none():
    assert set(MOVES) == set(State)
    assert {state for state, ways in MOVES.items() if not ways} == FINAL


@pytest.mark.parametrize("state", set(State) - FINAL)
def test_whatever_has_not_ended_can_be_interrupted_and_cancelled(state):
    assert moved(job(state), State.INTERRUPTED, 5.0, error="gone").ended == 5.0
    if state is not State.CANCELLING:
        assert moved(moved(job(state), State.CANCELLING, 1.0), State.CANCELLED, 2.0).state is State.CANCELLED


@pytest.mark.parametrize("state", FINAL)
@pytest.mark.parametrize("to", State)
def test_of_two_ends_the_first_holds(state, to):
    assert moved(job(state), to, 1.0) is None


def test_a_retry_counts_its_attempt_and_begins_anew():
    again = moved(job(State.RETRYING, progress=60.0, started=1.0), State.QUEUED, 2.0)
    assert (again.attempt, again.started) == (2, None)
    running = moved(again, State.RUNNING, 3.0)
    assert (running.progress, running.started, running.attempt) == (0.0, 3.0, 2)


@pytest.mark.parametrize("state", State)
def test_only_what_runs_progresses(state):
    runs = {State.RUNNING, State.OVERDUE, State.CANCELLING}
    assert (reported(job(state), 10.0) is not None) == (state in runs)


@pytest.mark.parametrize("progress", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_progress(progress):
    assert reported(job(State.RUNNING), progress) is None
