"""Texts for people, wherever they are printed."""

from __future__ import annotations

import signal
from datetime import timedelta
from itertools import pairwise

UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def span(duration: timedelta) -> str:
    """Return a duration as people say it: 450ms, 4.2s, 42s, 3m 12s, 1h 5m, 2d 3h."""
    seconds = duration.total_seconds()
    if seconds < 0:
        return "-" + span(-duration)
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{int(seconds * 10) / 10:g}s"
    for (unit, size), (smaller, part) in pairwise(UNITS):
        if seconds >= size:
            rest = int(seconds % size // part)
            return f"{int(seconds // size)}{unit}" + (f" {rest}{smaller}" if rest else "")
    return f"{int(seconds)}s"


def ended(status: int) -> str:
    """Say how a process ended, by its return code as subprocess has it."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def printable(text: str) -> str:
    """Return the text with control characters, but for line feeds and tabs, written as escapes."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
