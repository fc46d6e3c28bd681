"""
The code blocks of README*.md and docs/ are tried: Python is executed, consoles are compared with what they show, in
shells the options of our own command are parsed, YAML is loaded. The README's two marked commands are run by .ci/run.
"""

import contextlib
import doctest
import io
import re
import shlex
import unittest
from collections.abc import Iterator

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from cgexec._cli.main import command_line, main

_NEEDS_EXTRA = 'pip install "cgexec['
_COMMAND = "$ python -m cgexec"
_OURS = re.compile(r"python -m cgexec\b(?P<options>[^|&;)#\n]*)")
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
        if _NEEDS_EXTRA in out.getvalue():
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


class ShellBlockParser(CodeBlockParser):
    """Blocks in the language ``sh``: what a shell would be told; options that we do not have end the test."""

    language = "sh"

    def evaluate(self, example: Example) -> str | None:
        """Parse the options of our command, wherever it stands in a line."""
        for found in _OURS.finditer(str(example.parsed)):
            command_line(shlex.split(found["options"]))
        return None


class YamlBlockParser(CodeBlockParser):
    """Blocks in the language ``yaml``."""

    language = "yaml"

    def evaluate(self, example: Example) -> str | None:
        """Load the block."""
        try:
            import yaml
        except ImportError as error:
            raise unittest.SkipTest('needs pip install "cgexec[k8s]"') from error
        return None if yaml.safe_load(str(example.parsed)) else "there is nothing in it"


class PythonBlockParser(CodeBlockParser):
    """Blocks in the language ``python``. One that needs a package which is not installed is skipped, and says so."""

    language = "python"
    run = PythonEvaluator()

    def evaluate(self, example: Example) -> str | None:
        """Run the block."""
        try:
            return self.run(example)
        except ImportError as error:
            if _NEEDS_EXTRA in str(error):
                raise unittest.SkipTest(str(error)) from error
            raise


pytest_collect_file = Sybil(
    parsers=[PythonBlockParser(), ConsoleBlockParser(), ShellBlockParser(), YamlBlockParser(), SkipParser()],
    patterns=["README*.md", "docs/**/*.md", "docs/*.md"],
).pytest()


@pytest.fixture(autouse=True)
def quiet_output() -> Iterator[None]:
    """What the blocks print is theirs."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
