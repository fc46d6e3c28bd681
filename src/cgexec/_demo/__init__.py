"""The stock pool beside ours under one memory limit, for ``python -m cgexec demo``. Nothing else imports it."""
