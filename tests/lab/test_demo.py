"""``python -m cgexec demo`` as people meet it: in a container that lets it make cgroups, and in one that does not."""

import pytest

from support.lab import run_in

pytestmark = pytest.mark.lab

DEMO = """
    import contextlib, io
    from cgexec._cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["demo", "--memory=96Mi", "--seconds=1", "--json"])
    seen = json.loads(out.getvalue())
    own = limits().sources["memory_limit"].rpartition("/")[0]
    left = [name for folder in {own, "/sys/fs/cgroup"} if os.path.isdir(folder)
            for name in os.listdir(folder) if name.startswith("cgexec-demo")]
    hows = {name: pool["how"] for name, pool in seen["pools"].items()}
    answer(status=status, real=seen["limit"]["real"], hows=hows, left=left, said=err.getvalue())
"""
MACHINES = {
    "v1": ["v1", "--memory", "400M", "--"],
    "v1-namespace": ["v1", "--memory", "400M", "--view", "ns", "--"],
    "v1-little-room": ["v1", "--memory", "200M", "--"],  # one after the other
    "v2": ["v2", "run", "--memory", "400M", "--"],
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_where_it_may_make_cgroups_the_kernel_kills_the_stock_pool(machine):
    seen = run_in(machine, DEMO, timeout=110)
    assert vars(seen.hows) == {"stock": "killed", "cgexec": "completed"}
    assert (seen.status, seen.real, seen.left) == (0, True, [])


@pytest.mark.parametrize("view", ["ro", "nomount"])
def test_where_it_may_not_the_limit_is_simulated_and_that_is_said(view):
    seen = run_in(["v1", "--memory", "400M", "--view", view, "--"], DEMO, timeout=110)
    assert vars(seen.hows) == {"stock": "memory error", "cgexec": "completed"}
    assert (seen.status, seen.real, seen.left) == (0, False, [])
    assert "SIMULATED" in seen.said
