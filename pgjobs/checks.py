"""What people give, checked where they give it: each returns the value as it is kept, or raises `error` with a sentence."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from pgjobs.errors import PgjobsError
from pgjobs.job import Priority
from pgjobs.outcome import as_timedelta

Error = type[PgjobsError]

LONGEST = timedelta(days=36_525)  # a century; PostgreSQL and Python both can still add it to now

_UNITS = {"": 1, "b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}  # as PostgreSQL counts


def name(kind: str, value: str, error: Error) -> str:
    """A name of a queue or a task: what every terminal can print and every database can hold."""
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise error(f"The name of a {kind} must have 1 to 200 characters.")
    if re.search("[\0-\x1f\x7f-\x9f\ud800-\udfff]", value):
        raise error(f"The name of a {kind} cannot hold control characters or half of a surrogate pair: {value!r}.")
    return value


def priority(value: int, error: Error) -> Priority:
    """One of the five levels."""
    try:
        return Priority(value)
    except ValueError:
        raise error(f"The priority of a job must be one of -2, -1, 0, 1, 2, not {value!r}.") from None


def max_attempts(value: int, error: Error) -> int:
    """A number of attempts."""
    if not isinstance(value, int) or not 1 <= value <= 32_767:
        raise error(f"max_attempts must be a number from 1 to 32767, not {value!r}.")
    return value


def timeout(value: timedelta | float | None, error: Error) -> timedelta | None:
    """How long a run may take; None: as long as it likes."""
    given = None if value is None else duration("timeout", value, error)
    if given is not None and given <= timedelta(0):
        raise error(f"A timeout must be longer than nothing, not {given}.")
    return given


def duration(what: str, value: timedelta | float, error: Error) -> timedelta:
    """Seconds or a timedelta, of a century at most."""
    try:
        given = as_timedelta(value)
    except (TypeError, ValueError, OverflowError):
        raise error(f"{what} must be seconds or a timedelta, not {value!r}.") from None
    if given > LONGEST:
        raise error(f"{what} must not be longer than a century, and {given} is.")
    return given


def moment(what: str, value: datetime, error: Error) -> datetime:
    """A moment, which is the same wherever it is read."""
    if value.utcoffset() is None:
        raise error(f"{what} needs a time zone: a naive datetime means a different moment to every server.")
    return value


def size(what: str, value: int | str, error: Error) -> int:
    """Bytes, or a text like 512MB."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if found is None or found[2] not in _UNITS or not (given := int(float(found[1]) * _UNITS[found[2]])):
        raise error(f"{what} must be bytes or a text like '512MB', not {value!r}.")
    return given
