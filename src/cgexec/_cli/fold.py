"""Long lines on a terminal. Pure."""

import re
import textwrap
from collections.abc import Iterator

__all__ = ["fold"]

# What a line's text stands behind: its columns, two blanks or more between them, or the dash of a note.
_COLUMNS = re.compile(r".*\S {2,}(?=\S)|\s*(?:- )?")
_LEAST = 24  # characters of text in a line


def fold(text: str, width: int) -> str:
    """Return *text* with lines longer than *width* broken between words and indented to where their text begins."""
    return "\n".join(part for line in text.split("\n") for part in _folded(line, width))


def _folded(line: str, width: int) -> Iterator[str]:
    if len(line) <= width:
        yield line
        return
    columns = _COLUMNS.match(line[: max(0, width - _LEAST)])
    indent = " " * (0 if columns is None else columns.end())
    yield from textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
