"""The page, in a real browser without a window."""

import shutil
import subprocess

import pytest

from support.service import LONG, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def after_scripts(url, folder):
    """Return the page's elements as they are four seconds, by the browser's clock, after it was opened."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--virtual-time-budget=4000"]
    done = subprocess.run([browser, *options, "--dump-dom", url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_shows_jobs_and_the_pool_live(tmp_path):
    with serving(**LONG, max_workers=2, queue_size=3) as server:
        jobs = [server.start() for _ in range(3)]
        server.wait(jobs[1], "running")
        seen = after_scripts(f"{server.http}/", tmp_path)
    assert '<b id="running">2 of 2</b>' in seen
    assert '<b id="waiting">1, 3 places</b>' in seen
    for job_id in jobs:
        assert f"<td>{job_id[:12]}</td>" in seen
    assert seen.count('<td class="running">running</td>') == 2
    assert "pool 'jobs': 2 workers" in seen
