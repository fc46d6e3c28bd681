"""The short forms of bench/stress.py: nothing is lost or doubled under fire, and nothing leaks."""

import importlib.util
import sys
from pathlib import Path

import pytest

STRESS = Path(__file__).parents[2] / "bench" / "stress.py"


@pytest.fixture(scope="module")
def stress():
    spec = importlib.util.spec_from_file_location("bench_stress", STRESS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_under_fire_nothing_is_lost_and_nothing_runs_twice(stress, seed):
    assert stress.stress(1.0, seed, each=0.5) > 100


@pytest.mark.slow
def test_many_submits_leak_nothing(stress):
    second, third = stress.leak(60_000)
    # Free lists and the specializing interpreter's caches settle in the first third.
    assert min(second, third) < 20_000
