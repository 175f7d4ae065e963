"""Durations on the command line: `30s`, `5m`, `2h`, `1d`, `500ms`, `1h30m`, or plain seconds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*", re.ASCII)


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """A parameter that is a timedelta."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration; a value that is none is wrong usage."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()


def parse(text: str) -> timedelta:
    """Return a duration. Raises ValueError with a sentence."""
    text = text.strip().lower()
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
            return timedelta(seconds=float(text))
        if text and not _PART.sub("", text):
            return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))
    except OverflowError:
        raise ValueError(f"{text!r} is too long a time.") from None
    raise ValueError(f"{text!r} is not a duration like 30s, 5m, 2h, 1d, 500ms, or a number of seconds.")
