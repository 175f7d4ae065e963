"""Looking at jobs, queues, tasks and workers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from pgjobs.calls.call import Call, Row, Rows, columns_of, numbers, where
from pgjobs.errors import JobNotFound
from pgjobs.job import AttemptError, Job, Priority, Progress, Status

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def job(id: int) -> Call[Job]:
    """Look a job up, wherever it is. Raises JobNotFound."""

    def read(rows: Rows) -> Job:
        if not rows:
            raise JobNotFound(
                f"There is no job with the id {id}: it never was, or it was pruned, or its transaction was"
                " rolled back or not committed yet."
            )
        return _read_job(rows[0])

    return Call(
        f"select {_JOB_COLUMNS}, coalesce(errors, pgjobs.errors_of(id))::text from pgjobs.all_jobs where id = %s::bigint",
        (id if 0 < id < 2**63 else 0,),  # no job has the id 0
        read,
    )


def jobs(
    status: Status | None = None, queue: str | None = None, task: str | None = None, limit: int = 50
) -> Call[list[Job]]:
    """List jobs, newest first, without their errors."""
    conditions, params = where(("status = %s::text", status), ("queue = %s::text", queue), ("task = %s::text", task))
    return Call(
        f"select {_JOB_COLUMNS}, null from pgjobs.all_jobs{conditions} order by id desc limit %s::integer",
        (*params, limit),
        lambda rows: [_read_job(row) for row in rows],
    )


def whereabouts(ids: Sequence[int]) -> Call[dict[int, Status]]:
    """Tell the status of each of these jobs, wherever it is; those that never were, or were pruned, are absent."""
    return Call(
        "select id, status from pgjobs.all_jobs where id = any (%s::bigint[])",
        (numbers(ids),),
        lambda rows: {id: Status(status) for id, status in rows},
    )


class Ending(NamedTuple):
    """How a job ended. `status` is None for one that is nowhere; `error` is a dead letter's."""

    id: int
    status: str | None
    result: Any
    reason: str | None
    error: str | None


def watch(ids: Iterable[int], take: Iterable[int] = (), let_go: Iterable[int] = ()) -> Call[list[Ending]]:
    """Which of these jobs are over, and how; take and let go the locks by which a session says that it waits for jobs."""
    return Call(
        "select id, status, result, reason, error from pgjobs.watch_v1(%s::bigint[], %s::integer[], %s::integer[])",
        (numbers(ids), numbers(take), numbers(let_go)),
        lambda rows: [
            Ending(id, status, None if result is None else _json(result), reason, error)
            for id, status, result, reason, error in rows
        ],
    )


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How a queue stands: how many jobs are due, wait for their time, run, are dead; how long the first has waited."""

    queue: str
    ready: int
    scheduled: int
    running: int
    dead: int
    waiting_for: timedelta | None
    paused: bool
    waiting: int = 0  # in a line


def queue_overview() -> Call[list[QueueStatus]]:
    """One line per queue."""
    return Call(
        f"select {columns_of(QueueStatus)} from pgjobs.queue_overview",
        (),
        lambda rows: [QueueStatus(*row) for row in rows],
    )


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """A task that is paused or being resumed: since when, and how many of its jobs wait in line."""

    task: str
    paused_at: datetime | None
    resuming: bool
    waiting: int


def task_overview() -> Call[list[TaskStatus]]:
    """One line per task that is paused or being resumed."""
    return Call(
        f"select {columns_of(TaskStatus)} from pgjobs.task_overview",
        (),
        lambda rows: [TaskStatus(*row) for row in rows],
    )


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as the database knows it."""

    id: int
    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    concurrency: int
    running: int
    state: str
    started_at: datetime
    renewed_at: datetime
    lapses_at: datetime


def worker_overview() -> Call[list[WorkerStatus]]:
    """One line per worker."""
    return Call(
        f"select {columns_of(WorkerStatus)} from pgjobs.worker_overview",
        (),
        lambda rows: [WorkerStatus(*row) for row in rows],
    )


def _time_columns(*columns: str) -> str:
    # Microseconds: a number is the same for every driver, whatever DateStyle and time zone the caller's session has.
    return ", ".join(f"(extract(epoch from {column}) * 1000000)::bigint" for column in columns)


_JOB_COLUMNS = (
    "id, queue, task, status, priority, payload::text, attempts, max_attempts, crashes, run, worker, "
    + _time_columns("enqueued_at", "available_at", "claimed_at", "finished_at")
    + ", result::text, reason, metadata::text, coalesce(version, 1), progress::text, line"
)


def _read_job(row: Row) -> Job:
    (id, queue, task, status, priority, payload, attempts, max_attempts, crashes, run, worker, enqueued_at,
     available_at, claimed_at, finished_at, result, reason, metadata, version, progress, line, errors) = row  # fmt: skip
    return Job(
        id, queue, task, Status(status), Priority(priority), _json(payload), attempts, max_attempts, crashes, run,
        worker, EPOCH + enqueued_at * MICROSECOND, _time(available_at), _time(claimed_at), _time(finished_at),
        None if result is None else _json(result), reason,
        None if metadata is None else _json(metadata),
        version,
        tuple(_read_error(error) for error in json.loads(errors)) if errors is not None else (),
        None if progress is None else Progress(**_json(progress)),
        line,
    )  # fmt: skip


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else EPOCH + microseconds * MICROSECOND


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # an integer of thousands of digits, which plain SQL can write and Python refuses to read
        return json.loads(text, parse_int=Decimal)
    except RecursionError:  # nested by the thousands, likewise: as it stands
        return text


def _read_error(error: dict[str, Any]) -> AttemptError:
    times = {name: datetime.fromisoformat(error[name]) for name in ("started_at", "failed_at")}
    return AttemptError(**{**error, **times})
