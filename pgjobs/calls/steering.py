"""What people do to live jobs, queues and tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pgjobs.calls.call import Call, Rows, numbers, where


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which live jobs: all conditions must fit. Of jobs that run only with the status "running"."""

    ids: Sequence[int] | None = None
    queue: str | None = None
    task: str | None = None
    status: str | None = None  # ready (due), scheduled, waiting, running; None: all that do not run
    older_than: timedelta | None = None  # enqueued longer ago
    newer_than: timedelta | None = None
    metadata: str | None = None  # a JSON object that the job's contains

    def params(self) -> tuple[Any, ...]:
        return (
            None if self.ids is None else numbers(self.ids),
            self.queue, self.task, self.status, self.older_than, self.newer_than, self.metadata,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What became of the jobs that were to be cancelled, by id; those that are in no list were over already, or never were."""

    cancelled: list[int]  # they waited
    asked: list[int]  # they run: their workers stop them, within a second as a rule
    locked: list[int]  # somebody has them locked for a moment: ask again


def cancel(ids: Sequence[int], reason: str | None) -> Call[Cancellation]:
    """Cancel jobs that wait, and ask those that run to stop; returns which is which."""

    def read(rows: Rows) -> Cancellation:
        by_status: dict[str, list[int]] = {"cancelled": [], "asked": [], "locked": []}
        for id, status in rows:
            by_status[status].append(id)
        return Cancellation(**by_status)

    return Call("select id, status from pgjobs.cancel(%s::bigint[], %s::text)", (numbers(ids), reason), read)


def cancel_where(filter: JobFilter, reason: str | None, limit: int, after: int = 0) -> Call[Cancellation]:
    """Cancel live jobs that fit, smallest ids first, as `cancel` does; returns which is which."""
    call = cancel((), reason)
    return dataclasses.replace(
        call,
        sql="select id, status from pgjobs.cancel_where_v1(%s::text, %s::bigint[], %s::text, %s::text, %s::text,"
        " %s::interval, %s::interval, %s::jsonb, %s::integer, %s::bigint)",
        params=(reason, *filter.params(), limit, after),
    )


def matching(filter: JobFilter, limit: int, after: int = 0) -> Call[list[int]]:
    """List the ids of live jobs that fit, smallest first, and change nothing."""
    of_status = {
        None: ("status <> %s::text", "running"),
        "ready": ("status = 'ready' and available_at <= pgjobs.now() and %s::boolean", True),
        "scheduled": ("status = 'ready' and available_at > pgjobs.now() and %s::boolean", True),
    }
    conditions, params = where(
        ("id > %s::bigint", after),
        ("id = any (%s::bigint[])", None if filter.ids is None else numbers(filter.ids)),
        ("queue = %s::text", filter.queue),
        ("task = %s::text", filter.task),
        of_status.get(filter.status, ("status = %s::text", filter.status)),
        ("enqueued_at < pgjobs.now() - %s::interval", filter.older_than),
        ("enqueued_at >= pgjobs.now() - %s::interval", filter.newer_than),
        ("metadata @> %s::jsonb", filter.metadata),
    )
    return Call(
        f"select id from pgjobs.jobs{conditions} order by id limit %s::integer",
        (*params, limit),
        lambda rows: [row[0] for row in rows],
    )


def move(to_queue: str, filter: JobFilter, limit: int, after: int = 0) -> Call[list[int]]:
    """Put jobs that do not run into another queue; returns their ids, smallest first."""
    return Call(
        "select pgjobs.move_v1(%s::text, %s::bigint[], %s::text, %s::text, %s::text, %s::interval, %s::interval,"
        " %s::jsonb, %s::integer, %s::bigint)",
        (to_queue, *filter.params(), limit, after),
        lambda rows: [row[0] for row in rows],
    )


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to change in a job; None leaves it as it is. `delay` and `available_at` exclude each other."""

    priority: int | None = None
    queue: str | None = None
    delay: timedelta | None = None
    available_at: datetime | None = None
    payload: str | None = None  # JSON
    metadata: str | None = None  # JSON
    max_attempts: int | None = None
    timeout: timedelta | None = None
    version: int | None = None  # of the payload


def edit(id: int, edit: Edit) -> Call[None]:
    """Change a job that does not run. Raises JobNotFound, JobNotWaiting when it runs or is over."""
    return Call(
        "select pgjobs.edit_v1(%s::bigint, %s::integer, %s::text, %s::interval, %s::timestamptz, %s::jsonb, %s::jsonb,"
        " %s::integer, %s::interval, %s::integer)",
        (id if 0 < id < 2**63 else 0, None if edit.priority is None else int(edit.priority), edit.queue, edit.delay,
         edit.available_at, edit.payload, edit.metadata, edit.max_attempts, edit.timeout, edit.version),
        lambda rows: None,
    )  # fmt: skip


def pause(queue: str | None = None, task: str | None = None) -> Call[None]:
    """Start nothing of a queue, or of a task, until it is resumed."""
    return Call("select pgjobs.pause(%s::text, %s::text)", (queue, task), lambda rows: None)


def resume(queue: str | None = None, task: str | None = None) -> Call[None]:
    """A paused queue or task runs again."""
    return Call("select pgjobs.resume(%s::text, %s::text)", (queue, task), lambda rows: None)
