"""A frame as text of 80 columns, and as what rich draws on a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cgexec._extras import extra
from cgexec._watch.frame import Bar, Frame, PoolRow

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group
    from rich.text import Text

__all__ = ["as_rich", "as_text"]

_WIDTH = 80
_BAR = 20
_NAME = 18
# From these shares on a bar is drawn as near its limit, and at it.
_NEAR, _AT = 0.75, 0.9
_HEADS = ("pool", "running", "waiting", "oldest", "longest", "rate", "refused")


def as_text(frame: Frame) -> str:
    """Return the frame as lines, complete without colour, none longer than 80."""
    label = max((len(bar.label) for bar in frame.bars), default=0)
    lines = [frame.title]
    if frame.notice:
        lines.append(frame.notice)
    lines += [_bar_line(bar, label) for bar in frame.bars]
    if frame.facts:
        lines.append(", ".join(frame.facts))
    if frame.pools:
        lines += ["", *_table(frame.pools)]
    return "\n".join(line[:_WIDTH].rstrip() for line in lines)


def _bar_line(bar: Bar, label: int) -> str:
    filled = round(_BAR * min(1.0, max(0.0, bar.share or 0.0)))
    drawn = "" if bar.share is None else f"[{'#' * filled}{'-' * (_BAR - filled)}] {bar.share:>4.0%}  "
    return f"{bar.label:<{label}}  {drawn}{bar.text}"


def _cells(row: PoolRow) -> tuple[str, ...]:
    return (row.name, row.running, row.waiting, row.oldest, row.longest, row.rate, row.refused)


def _table(pools: tuple[PoolRow, ...]) -> list[str]:
    rows = [_HEADS, *(_cells(row) for row in pools)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    widths[0] = min(widths[0], _NAME)
    # The function's name gives way to the numbers, its module first.
    widths[4] = max(8, min(widths[4], _WIDTH - sum(widths) + widths[4] - 2 * (len(widths) - 1)))
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column not in (0, 4) else _fit(cell, width, module=column == 4).ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells))
    return [*lines, *_troubles(pools)]


def _troubles(pools: tuple[PoolRow, ...]) -> list[str]:
    return [f"{row.name}: {row.trouble}" for row in pools if row.trouble]


def _fit(text: str, width: int, *, module: bool) -> str:
    """Return so much of *text* as fits. *module*: it ends in a function's, as ``5 min monthly.generate`` does."""
    if module and len(text) > width:
        text = _without_module(text)
    return text if len(text) <= width else f"{text[: width - 1]}~"


def _without_module(text: str) -> str:
    duration, space, name = text.rpartition(" ")
    return duration + space + name.rpartition(".")[2]


def as_rich(frame: Frame) -> "Group":
    """
    Return the frame for a terminal.

    Raises:
        MissingExtra: rich is not installed.
    """
    with extra("rich", "watch", "rich"):
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text
    bars = Table.grid(padding=(0, 2))
    for bar in frame.bars:
        style = _style(bar.share or 0.0)
        drawn = Text("") if bar.share is None else ProgressBar(1.0, min(1.0, bar.share), _BAR, complete_style=style)
        percent = "" if bar.share is None else f"{bar.share:.0%}"
        bars.add_row(Text(bar.label), drawn, Text(percent, style, justify="right"), Text(bar.text))
    parts: list[Text | Table] = [Text(frame.title, "bold")]
    if frame.notice:
        parts.append(Text(frame.notice, "red"))
    parts += [bars, Text("  ".join(frame.facts))]
    if frame.pools:
        table = Table(box=None, padding=(0, 1), pad_edge=False, expand=True, header_style="bold")
        for head in _HEADS:
            left = head in ("pool", "longest")
            table.add_column(
                head, justify="left" if left else "right", no_wrap=True, overflow="ellipsis",
                ratio=1 if head == "longest" else None, max_width=_NAME if head == "pool" else None,
            )  # fmt: skip
        for row in frame.pools:
            style = "yellow" if row.trouble else ""
            cells = [Text(cell, style) for cell in _cells(row)]
            table.add_row(*cells[:4], _Longest(row.longest, style), *cells[5:])
        parts += [Text(""), table, *(Text(line, "yellow") for line in _troubles(frame.pools))]
    return Group(*parts)


class _Longest(NamedTuple):
    """The longest task's cell for rich, which says only while it draws how wide that may be."""

    text: str
    style: str

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        """Draw it."""
        from rich.text import Text

        whole = Text(self.text, self.style)
        yield whole if whole.cell_len <= options.max_width else Text(_without_module(self.text), self.style)


def _style(share: float) -> str:
    return "red" if share >= _AT else "yellow" if share >= _NEAR else "green"
