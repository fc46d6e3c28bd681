"""The command line: ``python -m cgexec``, also installed as ``cgexec-py``. Reads, prints, and starts no thread."""

from cgexec._cli.main import main

__all__ = ["main"]
