"""Every code block of README.md and docs/ is run: Python is executed, consoles are compared with what they show."""

import contextlib
import doctest
import io
import shlex
import unittest
from collections.abc import Iterator

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from cgexec._cli import main

_COMMAND = "$ python -m cgexec"
_CHECK = doctest.OutputChecker()
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run_console(example: Example) -> str | None:
    """Run each ``$ python -m cgexec ...`` of the block; return how it differs from what is shown, None if not."""
    block = str(example.parsed)
    for part in block.split(_COMMAND)[1:]:
        line, _, expected = part.partition("\n")
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = main(shlex.split(line))
        if 'pip install "cgexec[' in out.getvalue():
            raise unittest.SkipTest(out.getvalue().strip())
        if not _CHECK.check_output(expected.rstrip() + "\n", out.getvalue().rstrip() + "\n", _FLAGS):
            return f"{_COMMAND}{line}\nshown:\n{expected}\nprinted (status {status}):\n{out.getvalue()}"
    return None


class ConsoleBlockParser(CodeBlockParser):
    """Blocks in the language ``console``: the commands a reader would type, and what they print."""

    language = "console"

    def evaluate(self, example: Example) -> str | None:
        """Return what is wrong with the block, None if nothing is."""
        return run_console(example)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), ConsoleBlockParser(), SkipParser()],
    patterns=["README.md", "docs/**/*.md", "docs/*.md"],
).pytest()


@pytest.fixture(autouse=True)
def quiet_output() -> Iterator[None]:
    """What the blocks print is theirs."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
