"""What a server's command line asks for."""

import pytest

from cgexec._manifest.servers import Asked, asked_by


@pytest.mark.parametrize(
    ("words", "env", "asked"),
    [
        (["gunicorn", "-w", "4", "--threads=8", "app"], {}, Asked("gunicorn", 4, 8)),
        (["/usr/bin/gunicorn", "-w4"], {}, Asked("gunicorn", 4, None)),
        (["gunicorn", "app"], {"GUNICORN_CMD_ARGS": "--workers 3"}, Asked("gunicorn", 3, None)),
        (["gunicorn", "-w", "2"], {"GUNICORN_CMD_ARGS": "--workers 3"}, Asked("gunicorn", 2, None)),
        (["uvicorn", "app:x", "--workers", "two"], {}, Asked("uvicorn", None, None)),
        (["celery", "-A", "x", "worker", "-c", "6"], {}, Asked("celery", 6, None)),
        (["celery", "-A", "x", "worker", "-P", "threads", "--concurrency=20"], {}, Asked("celery", None, 20)),
        (["python", "-m", "gunicorn", "-w"], {}, Asked("gunicorn", None, None)),
        (["gunicorn", "app"], {"WEB_CONCURRENCY": "4"}, Asked("gunicorn", 4, None)),
        (["gunicorn", "-w", "2"], {"WEB_CONCURRENCY": "4"}, Asked("gunicorn", 2, None)),
        (["gunicorn"], {"WEB_CONCURRENCY": "4", "GUNICORN_CMD_ARGS": "-w 3"}, Asked("gunicorn", 3, None)),
        (["uvicorn", "app:x"], {"WEB_CONCURRENCY": "auto"}, Asked("uvicorn", None, None)),
        (["hypercorn", "app:x"], {"WEB_CONCURRENCY": "4"}, Asked("hypercorn", None, None)),
        (["gunicorn", "--workers", "1000000", "--threads", "0008"], {}, Asked("gunicorn", 1_000_000, 8)),
        (["gunicorn", "--workers", "1234567", "--threads", "9" * 5000], {}, Asked("gunicorn", None, None)),
        (["python", "app.py", "-w", "4"], {}, Asked("", None, None)),
    ],
)
def test_what_a_server_is_told_to_start(words, env, asked):
    assert asked_by(words, env) == asked
