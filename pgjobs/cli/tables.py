"""Tables and times for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import click

from pgjobs.texts import UNITS, printable, span

__all__ = ["Cell", "cut", "display_width", "one_line", "printable", "relative", "span", "table"]

GAP = "  "


class Cell(NamedTuple):
    """A text or number with a colour, as click names them; shown on terminals only."""

    content: str | int
    colour: str | None = None


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell | str | int]], width: int | None = None) -> str:
    """Return rows under headers. Columns are as wide as their content; numbers stand on the right.

    Arguments: width, the most a line may take; the last column is cut to it. None: nothing is cut.
    """
    cells = [[value if isinstance(value, Cell) else Cell(value) for value in row] for row in rows]
    texts = [[_text(cell.content) for cell in row] for row in cells]
    right = [all(isinstance(row[i].content, int) for row in cells) for i in range(len(headers))]
    widths = [max(map(display_width, column)) for column in zip(headers, *texts, strict=True)]
    if width is not None:
        widths[-1] = max(len(headers[-1]), min(widths[-1], width - sum(widths[:-1]) - len(GAP) * (len(headers) - 1)))

    def line(row: Sequence[str], colours: Sequence[str | None], bold: bool = False) -> str:
        parts = []
        for text, colour, column, is_right in zip(row, colours, widths, right, strict=True):
            shown = cut(text, column)
            padding = " " * (column - display_width(shown))
            styled = click.style(shown, fg=colour, bold=bold or None) if shown and (colour or bold) else shown
            parts.append(padding + styled if is_right else styled + padding)
        return GAP.join(parts).rstrip()

    lines = [line(headers, [None] * len(headers), bold=True)]
    lines += [line(text, [cell.colour for cell in row]) for text, row in zip(texts, cells, strict=True)]
    return "\n".join(lines)


def _text(content: str | int) -> str:
    return f"{content:,}" if isinstance(content, int) else one_line(content)


def one_line(text: str) -> str:
    """Return the text as one line that cannot move the cursor or change the terminal's colours."""
    return printable(" ".join(text.split()))


def display_width(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """Return the text in at most this many columns, with an ellipsis where it was cut."""
    if display_width(text) <= width:
        return text
    while display_width(text) > max(width - 1, 0):
        text = text[:-1]
    return text + "…"


def relative(moment: datetime, now: datetime) -> str:
    """Return when it is, or was, in one unit: 3m ago, in 5s, now."""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    unit, size = next((unit, size) for unit, size in UNITS if abs(seconds) >= size)
    number = f"{int(abs(seconds) / size + 0.1)}{unit}"  # a delay of 5m is "in 5m" a few seconds later, too
    return f"in {number}" if seconds > 0 else f"{number} ago"
