"""Puts what was measured into a page of the docs, between two marks, so that no figure there is typed by hand."""

import re
from pathlib import Path

__all__ = ["put"]


def put(page: Path, name: str, text: str) -> None:
    """
    Replace what stands between ``<!-- measured: NAME -->`` and ``<!-- end: NAME -->`` on the page.

    Raises:
        ValueError: the marks are not there.
    """
    begin, end = f"<!-- measured: {name} -->\n", f"<!-- end: {name} -->\n"
    old = page.read_text(encoding="utf-8")
    new, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text.strip()}\n\n{end}", old, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{page}: expected the marks {begin.strip()!r} and {end.strip()!r} once, found {count}")
    page.write_text(new, encoding="utf-8")
