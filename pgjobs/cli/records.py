"""What --json prints: the fields as in SQL, times in ISO 8601, durations in seconds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import click


def echo_json(value: Any) -> None:
    """Print a value: a record as an object, several as an array of objects."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def record(value: Any, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return a dataclass as a mapping, without some of its fields."""
    return {
        field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in set(without)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if dataclasses.is_dataclass(value):
        return record(value)
    if isinstance(value, Decimal):  # an integer of thousands of digits
        return str(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")
