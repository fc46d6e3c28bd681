"""A real browser without a window."""

import shutil
import subprocess

import pytest

__all__ = ["after_scripts"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def after_scripts(url, folder, *, budget_ms=4000):
    """
    Return the elements of a page so many milliseconds, by the browser's clock, after it was opened, and what the browser
    had to say: errors of scripts are lines with CONSOLE in them. Skips where there is no browser.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={folder}"]
    command = [browser, *options, f"--virtual-time-budget={budget_ms}", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
