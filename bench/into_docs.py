"""Shows what was measured, and puts it into a page of the docs, so that no figure there is typed by hand."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["add_option", "put", "show"]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Have the command take ``--docs PAGE``."""
    parser.add_argument("--docs", type=Path, help="a page of the docs whose table is replaced")


def show(lines: Iterable[str], name: str, page: Path | None) -> None:
    """Print each line as soon as it is known, and put all of them into *page* if there is one."""
    kept = []
    for line in lines:
        print(line, flush=True)
        kept.append(line)
    if page is not None:
        put(page, name, "\n".join(kept))


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
