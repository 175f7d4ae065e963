"""What people do to dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from pgjobs.calls.call import Call, numbers, where


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters: all conditions must fit; no condition means all."""

    ids: Sequence[int] | None = None
    queue: str | None = None
    task: str | None = None
    error: str | None = None  # a part of the last error's text
    since: timedelta | None = None  # died within this time


def retry_failed(filter: Filter, limit: int, after: int = 0) -> Call[list[int]]:
    """Make dead letters jobs again; returns their ids. Raises JobNotFound when a named id is not there."""
    return Call(
        "select pgjobs.retry_failed_v1(%s::bigint[], %s::text, %s::text, %s::text, pgjobs.now() - %s::interval,"
        " %s::integer, %s::bigint)",
        (None if filter.ids is None else numbers(filter.ids), filter.queue, filter.task, filter.error, filter.since,
         limit, after),
        lambda rows: [row[0] for row in rows],
    )  # fmt: skip


def clear_failed(filter: Filter, limit: int, after: int = 0) -> Call[list[int]]:
    """Delete dead letters for good; returns their ids. Raises JobNotFound when a named id is not there."""
    return Call(
        "select pgjobs.clear_failed_v1(%s::bigint[], %s::text, %s::text, %s::text, pgjobs.now() - %s::interval,"
        " %s::integer, %s::bigint)",
        (None if filter.ids is None else numbers(filter.ids), filter.queue, filter.task, filter.error, filter.since,
         limit, after),
        lambda rows: [row[0] for row in rows],
    )  # fmt: skip


def failed(filter: Filter, limit: int, after: int = 0) -> Call[list[int]]:
    """List the ids of dead letters that fit, smallest first, and change nothing."""
    conditions, params = where(
        ("id > %s::bigint", after),
        ("id = any (%s::bigint[])", None if filter.ids is None else numbers(filter.ids)),
        ("queue = %s::text", filter.queue),
        ("task = %s::text", filter.task),
        ("position(lower(%s::text) in lower(error)) > 0", filter.error),
        ("failed_at >= pgjobs.now() - %s::interval", filter.since),
    )
    return Call(
        f"select id from pgjobs.dead_letters{conditions} order by id limit %s::integer",
        (*params, limit),
        lambda rows: [row[0] for row in rows],
    )
