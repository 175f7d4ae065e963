"""Statements for asyncpg, which numbers its parameters and wants each as the type that it is cast to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any


def dollars(sql: str, params: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Return a statement with %s for its parameters as one with $1, $2, ..., and the parameters.

    All but numbers and booleans travel as text and are cast by the server, so that no codec that the caller has set for
    jsonb or timestamptz has a say.
    """
    parts = sql.split("%s")
    given: list[Any] = []
    text = [parts[0]]
    for number, (value, part) in enumerate(zip(params, parts[1:], strict=True), start=1):
        if isinstance(value, timedelta):
            value = f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"
        elif isinstance(value, datetime):
            value = value.isoformat()
        text.append(f"${number}::text" if isinstance(value, str) else f"${number}")
        text.append(part)
        given.append(value)
    return "".join(text), given
