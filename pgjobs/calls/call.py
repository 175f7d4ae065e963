"""What all verbs are: a value, whose parameters are only what every driver passes alike.

That is text, numbers, times, None; arrays and JSON travel as text with a cast.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Row = Sequence[Any]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One verb: `sql` with %s for each of `params`, and `read`, which makes the rows into the result."""

    sql: str
    params: tuple[Any, ...]
    read: Callable[[Rows], T]


def texts(values: Iterable[str]) -> str:
    """Return texts as the literal of an array."""
    values = list(values)
    together = "".join(values)  # looked at as one: a claim names its queues once for each rank
    if '"' in together or "\\" in together:
        values = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(values) + '"}' if values else "{}"


def numbers(values: Iterable[int]) -> str:
    """Return numbers as the literal of an array."""
    return "{" + ",".join(map(str, values)) + "}"


def columns_of(kind: type[Any]) -> str:
    """Return the columns that make a dataclass, by its fields."""
    return ", ".join(field.name for field in dataclasses.fields(kind))


def where(*conditions: tuple[str, Any]) -> tuple[str, list[Any]]:
    """Join the conditions that have a value. A condition that is absent, not one that is always true, can use an index."""
    given = [(sql, value) for sql, value in conditions if value is not None]
    return (" where " + " and ".join(sql for sql, _ in given) if given else ""), [value for _, value in given]


def read_int(rows: Rows) -> int:
    """Read the one number that a function returns."""
    return int(rows[0][0])
