"""The page, in a real browser without a window."""

from support.browser import after_scripts
from support.service import LONG, serving


def shown(server, tmp_path, *texts):
    """Return the page once it shows the texts: the browser's clock does not wait for a server that is slow to answer."""
    for _ in range(5):
        seen, _ = after_scripts(f"{server.http}/", tmp_path)
        if all(text in seen for text in texts):
            break
    return seen


def test_it_shows_jobs_and_the_pool_live(tmp_path):
    with serving(**LONG, max_workers=2, queue_size=3) as server:
        jobs = [server.start() for _ in range(3)]
        server.wait(jobs[1], "running")
        seen = shown(server, tmp_path, '<b id="running">2 of 2</b>', "pool 'jobs': 2 workers")
    assert '<b id="running">2 of 2</b>' in seen
    assert '<b id="waiting">1, 3 places</b>' in seen
    for job_id in jobs:
        assert f"<td>{job_id[:12]}</td>" in seen
    assert seen.count('<td class="running">running</td>') == 2
    assert '<p id="shown"></p>' in seen, "all of them"
    assert "pool 'jobs': 2 workers" in seen


def test_what_runs_is_shown_among_many_that_wait(tmp_path):
    with serving(**LONG, max_workers=2, queue_size=60) as server:
        jobs = [server.start() for _ in range(50)]
        for job_id in jobs[:2]:
            server.wait(job_id, "running")
        seen = shown(server, tmp_path, "40 of 50 jobs")
    assert "40 of 50 jobs" in seen
    for job_id in jobs[:2]:
        assert f"<td>{job_id[:12]}</td>" in seen


def test_memory_without_a_number_is_said_once(tmp_path):
    with serving(**LONG) as server:
        seen, _ = after_scripts(f"{server.http}/", tmp_path)
    assert "no limit of no limit" not in seen
    assert '<b id="memory">no limit seen</b>' in seen or " MiB of " in seen
