"""Each verb as a value: the SQL, its parameters, and how its rows are read. The one place that knows the functions in sql/.

A call never sees a connection. Parameters are only what every driver passes alike: text, numbers, None; arrays and JSON
travel as text with a cast.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar, cast

from pgjobs.errors import JobNotFound, SchemaTooNew, SchemaTooOld
from pgjobs.job import AttemptError, Claimed, Job, JobId, Lease, Priority, Progress, Spec, Status
from pgjobs.version import SCHEMA_VERSION

T = TypeVar("T")
Row = Sequence[Any]
Rows = Sequence[Row]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One verb: `sql` with %s for each of `params`, and `read`, which makes the rows into the result."""

    sql: str
    params: tuple[Any, ...]
    read: Callable[[Rows], T]


def enqueue(spec: Spec) -> Call[JobId]:
    """Put one job into its queue; returns its id."""
    return Call(
        "select id, created from pgjobs.enqueue_v1(%s::text, %s::jsonb, %s::text, %s::integer, %s::interval,"
        " %s::timestamptz, %s::integer, %s::interval, %s::jsonb, %s::boolean, %s::integer)",
        (spec.task, spec.payload, spec.queue, int(spec.priority), spec.delay, spec.available_at,
         spec.max_attempts, spec.timeout, spec.metadata, spec.notify, spec.version),
        lambda rows: JobId(*rows[0]),
    )  # fmt: skip


def enqueue_many(specs: Iterable[Spec], notify: bool = True) -> Call[list[JobId]]:
    """Put many jobs into their queues in one statement; returns their ids in the order given."""
    return Call(
        "select id, created from pgjobs.enqueue_many_v1(%s::jsonb, %s::boolean)",
        ("[" + ",".join(map(_spec_json, specs)) + "]", notify),
        lambda rows: [JobId(*row) for row in rows],
    )


def _spec_json(spec: Spec) -> str:
    settings: dict[str, Any] = {"task": spec.task, "queue": spec.queue, "priority": int(spec.priority)}
    if spec.delay is not None:
        settings["delay"] = spec.delay.total_seconds()
    if spec.available_at is not None:
        settings["available_at"] = spec.available_at.isoformat()
    if spec.max_attempts is not None:
        settings["max_attempts"] = spec.max_attempts
    if spec.timeout is not None:
        settings["timeout"] = spec.timeout.total_seconds()
    if spec.version is not None:
        settings["version"] = spec.version
    metadata = f',"metadata":{spec.metadata}' if spec.metadata is not None else ""
    return f'{json.dumps(settings)[:-1]},"payload":{spec.payload}{metadata}}}'


@dataclass(frozen=True, slots=True)
class Scan:
    """Where a claim is to look: one entry per queue and rank, in order, each with the cursor to begin after."""

    queues: Sequence[str]
    ranks: Sequence[int]
    after_at: Sequence[str]
    after_id: Sequence[int]
    overlap: timedelta
    idle: bool | None = None  # take (True) or let go (False) the idle locks


@dataclass(frozen=True, slots=True)
class Step:
    """What one round trip of a worker did."""

    claimed: list[Claimed]
    fenced: list[tuple[int, int]]  # (id, run): the lease is over, the outcome is void
    locked: list[tuple[int, int]]  # (id, run): send it again
    paused: list[str]
    cursor: tuple[str, int, str, int] | None  # queue, rank, at, id: where the limit was reached
    scanned: int  # how many entries were scanned to their end
    scanned_to: str | None  # and from when on they are to be scanned next
    due_in: timedelta | None  # when the next job falls due
    dead: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # (id, run): settled, and a dead letter now
    cancelled: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # it failed, but somebody had asked


@dataclass(frozen=True, slots=True)
class Settlement:
    """Outcomes on their way to the database: completed ones in parallel lists, the others as JSON objects."""

    ids: Sequence[int] = ()
    runs: Sequence[int] = ()
    results: Sequence[str] | None = None  # JSON texts; None: no job has a result
    keep: Sequence[bool] | None = None  # None: all go into the history
    others: Sequence[dict[str, Any]] = ()

    def params(self) -> tuple[Any, ...]:
        return (
            _numbers(self.ids),
            _numbers(self.runs),
            None if self.results is None else "[" + ",".join(self.results) + "]",
            None if self.keep is None else "{" + ",".join("t" if keep else "f" for keep in self.keep) + "}",
            json.dumps(self.others) if self.others else None,
        )


def settle(worker: int, settlement: Settlement) -> Call[Step]:
    """Write outcomes, each only if its lease still stands."""
    return Call(
        "select verb, id, run from pgjobs.settle_v1(%s::integer, %s::bigint[], %s::integer[], %s::jsonb, %s::boolean[],"
        " %s::jsonb)",
        (worker, *settlement.params()),
        _read_step,
    )


def settle_and_claim(worker: int, settlement: Settlement, limit: int, scan: Scan) -> Call[Step]:
    """Write outcomes and claim up to `limit` jobs, in one round trip."""
    return Call(
        "select verb, id, run, queue, rank, at, task, payload, priority, attempts, crashes, max_attempts, seconds,"
        " enqueued_at, metadata, version from pgjobs.settle_and_claim_v1(%s::integer, %s::bigint[], %s::integer[], %s::jsonb,"
        " %s::boolean[], %s::jsonb, %s::integer, %s::text[], %s::smallint[], %s::timestamptz[], %s::bigint[],"
        " %s::interval, %s::boolean)",
        (worker, *settlement.params(), limit, texts(scan.queues), _numbers(scan.ranks), texts(scan.after_at),
         _numbers(scan.after_id), scan.overlap, scan.idle),
        _read_step,
    )  # fmt: skip


def claim(worker: int, limit: int, scan: Scan) -> Call[Step]:
    """Claim up to `limit` jobs that are due."""
    return Call(
        "select verb, id, run, queue, rank, at, task, payload, priority, attempts, crashes, max_attempts, seconds,"
        " enqueued_at, metadata, version from pgjobs.claim_v1(%s::integer, %s::integer, %s::text[], %s::smallint[],"
        " %s::timestamptz[], %s::bigint[], %s::interval, %s::boolean)",
        (worker, limit, texts(scan.queues), _numbers(scan.ranks), texts(scan.after_at), _numbers(scan.after_id),
         scan.overlap, scan.idle),
        _read_step,
    )  # fmt: skip


def _read_step(rows: Rows) -> Step:
    claimed: list[Claimed] = []
    unsettled: dict[str, list[tuple[int, int]]] = {"fenced": [], "locked": [], "dead": [], "cancelled": []}
    paused: list[str] = []
    cursor = None
    scanned, scanned_to, due_in = 0, None, None
    for row in rows:
        verb = row[0]
        if verb == "claimed":
            claimed.append(Claimed._make(row))
        elif verb == "scanned":
            scanned, scanned_to = row[2], row[5]
            due_in = None if row[12] is None else timedelta(seconds=row[12])
        elif verb == "cursor":
            cursor = (row[3], row[4], row[5], row[1])
        elif verb == "paused":
            paused.append(row[3])
        else:
            unsettled[verb].append((row[1], row[2]))
    return Step(
        claimed,
        unsettled["fenced"],
        unsettled["locked"],
        paused,
        cursor,
        scanned,
        scanned_to,
        due_in,
        unsettled["dead"],
        unsettled["cancelled"],
    )


def release(leases: Sequence[Lease]) -> Call[Step]:
    """Give jobs of one worker back unstarted, not counted."""
    return Call(
        "select verb, id, run from pgjobs.release_v1(%s::integer, %s::bigint[], %s::integer[])",
        (leases[0].worker, _numbers([lease.id for lease in leases]), _numbers([lease.run for lease in leases])),
        _read_step,
    )


def register(
    name: str, host: str, pid: int, version: str, queues: Sequence[str], concurrency: int, lease: timedelta,
    on_failure: str | None = None,
) -> Call[int]:  # fmt: skip
    """Register a worker; returns its id. on_failure: as JSON text, by task, the job to enqueue when a job of it dies."""
    return Call(
        "select pgjobs.register_v1(%s::text, %s::text, %s::integer, %s::text, %s::text[], %s::integer, %s::interval,"
        " %s::jsonb)",
        (name, host, pid, version, texts(queues), concurrency, lease, on_failure),
        _read_int,
    )


def renew(worker: int, running: int, claims_since: str | None, stopping: bool) -> Call[None]:
    """Renew a worker's lease. Raises LeaseLost when it is gone."""
    return Call(
        "select pgjobs.renew_v1(%s::integer, %s::integer, %s::timestamptz, %s::boolean)",
        (worker, running, claims_since, stopping),
        lambda rows: None,
    )


class Report(NamedTuple):
    """What a worker says of itself when its lease is renewed."""

    worker: int
    running: int
    claims_since: str | None  # it holds nothing that it claimed before; None: it does not know
    stopping: bool

    def news(self, before: Report) -> bool:
        """Whether it says what is not to be kept until the next renewal: it is another worker, or has begun to stop."""
        return (self.worker, self.stopping) != (before.worker, before.stopping)


def renew_many(supervisor: int | None, reports: Sequence[Report]) -> Call[list[int]]:
    """Renew the leases of several workers at once; returns those whose lease is gone."""
    return Call(
        "select worker from pgjobs.renew_many_v1(%s::integer, %s::integer[], %s::integer[], %s::timestamptz[],"
        " %s::boolean[]) worker",
        (supervisor, _numbers(each.worker for each in reports), _numbers(each.running for each in reports),
         "{" + ",".join("null" if each.claims_since is None else f'"{each.claims_since}"' for each in reports) + "}",
         "{" + ",".join("t" if each.stopping else "f" for each in reports) + "}"),
        lambda rows: [row[0] for row in rows],
    )  # fmt: skip


def hold() -> Call[int]:
    """Show by a lock, for as long as this session lasts, that whoever renews on it is there; returns the id to renew under."""
    return Call("select pgjobs.hold_v1()", (), _read_int)


def leases(worker: int, limit: int) -> Call[list[Lease]]:
    """List what a worker holds, oldest claims first."""
    return Call(
        "select id, run from pgjobs.leases_v1(%s::integer, %s::integer)",
        (worker, limit),
        lambda rows: [Lease(id, run, worker) for id, run in rows],
    )


def resign(worker: int) -> Call[int]:
    """A worker leaves; returns how many jobs it still holds because somebody had them locked."""
    return Call("select pgjobs.resign_v1(%s::integer)", (worker,), _read_int)


class Rescued(tuple[int, int]):
    """How many jobs of lost workers go on and how many went to the dead letters, and how many workers are suspected."""

    suspected: int

    def __new__(cls, rescued: int, dead: int, suspected: int = 0) -> Rescued:
        self = super().__new__(cls, (rescued, dead))
        self.suspected = suspected
        return self


def rescue(limit: int, dead: Sequence[int] = ()) -> Call[Rescued]:
    """Take back jobs of lost workers; returns how many go on and how many went to the dead letters.

    Arguments: limit, of jobs; dead, workers whose process has been seen to end, however long their lease.
    """
    return Call(
        "select coalesce(sum(rescued), 0)::integer, coalesce(sum(dead), 0)::integer,"
        " (count(*) filter (where suspected))::integer from pgjobs.rescue_v1(%s::integer, %s::integer[])",
        (limit, _numbers(dead)),
        lambda rows: Rescued(*rows[0]),
    )


def prune() -> Call[bool]:
    """Empty the next slot of the history ring; returns whether there was something in it."""
    return Call("select pgjobs.prune_v1()", (), lambda rows: bool(rows[0][0]))


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
        (None if filter.ids is None else _numbers(filter.ids), filter.queue, filter.task, filter.error, filter.since,
         limit, after),
        lambda rows: [row[0] for row in rows],
    )  # fmt: skip


def clear_failed(filter: Filter, limit: int, after: int = 0) -> Call[list[int]]:
    """Delete dead letters for good; returns their ids. Raises JobNotFound when a named id is not there."""
    return Call(
        "select pgjobs.clear_failed_v1(%s::bigint[], %s::text, %s::text, %s::text, pgjobs.now() - %s::interval,"
        " %s::integer, %s::bigint)",
        (None if filter.ids is None else _numbers(filter.ids), filter.queue, filter.task, filter.error, filter.since,
         limit, after),
        lambda rows: [row[0] for row in rows],
    )  # fmt: skip


def failed(filter: Filter, limit: int, after: int = 0) -> Call[list[int]]:
    """List the ids of dead letters that fit, smallest first, and change nothing."""
    where, params = _where(
        ("id > %s::bigint", after),
        ("id = any (%s::bigint[])", None if filter.ids is None else _numbers(filter.ids)),
        ("queue = %s::text", filter.queue),
        ("task = %s::text", filter.task),
        ("position(lower(%s::text) in lower(error)) > 0", filter.error),
        ("failed_at >= pgjobs.now() - %s::interval", filter.since),
    )
    return Call(
        f"select id from pgjobs.dead_letters{where} order by id limit %s::integer",
        (*params, limit),
        lambda rows: [row[0] for row in rows],
    )


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

    return Call("select id, status from pgjobs.cancel(%s::bigint[], %s::text)", (_numbers(ids), reason), read)


def cancel_where(filter: JobFilter, reason: str | None, limit: int, after: int = 0) -> Call[Cancellation]:
    """Cancel live jobs that fit, smallest ids first, as `cancel` does; returns which is which."""
    call = cancel((), reason)
    return dataclasses.replace(
        call,
        sql="select id, status from pgjobs.cancel_where_v1(%s::text, %s::bigint[], %s::text, %s::text, %s::text,"
        " %s::interval, %s::interval, %s::jsonb, %s::integer, %s::bigint)",
        params=(reason, *filter.params(), limit, after),
    )


def cancel_asked(worker: int, limit: int) -> Call[list[tuple[int, int, str | None]]]:
    """List the runs of a worker that are asked to stop: id, run, reason."""
    return Call(
        "select id, run, reason from pgjobs.cancel_asked_v1(%s::integer, %s::integer)",
        (worker, limit),
        lambda rows: [(id, run, reason) for id, run, reason in rows],
    )


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
            None if self.ids is None else _numbers(self.ids),
            self.queue, self.task, self.status, self.older_than, self.newer_than, self.metadata,
        )  # fmt: skip


def move(to_queue: str, filter: JobFilter, limit: int, after: int = 0) -> Call[list[int]]:
    """Put jobs that do not run into another queue; returns their ids, smallest first."""
    return Call(
        "select pgjobs.move_v1(%s::text, %s::bigint[], %s::text, %s::text, %s::text, %s::interval, %s::interval,"
        " %s::jsonb, %s::integer, %s::bigint)",
        (to_queue, *filter.params(), limit, after),
        lambda rows: [row[0] for row in rows],
    )


def matching(filter: JobFilter, limit: int, after: int = 0) -> Call[list[int]]:
    """List the ids of live jobs that fit, smallest first, and change nothing."""
    of_status = {
        None: ("status <> %s::text", "running"),
        "ready": ("status = 'ready' and available_at <= pgjobs.now() and %s::boolean", True),
        "scheduled": ("status = 'ready' and available_at > pgjobs.now() and %s::boolean", True),
    }
    where, params = _where(
        ("id > %s::bigint", after),
        ("id = any (%s::bigint[])", None if filter.ids is None else _numbers(filter.ids)),
        ("queue = %s::text", filter.queue),
        ("task = %s::text", filter.task),
        of_status.get(filter.status, ("status = %s::text", filter.status)),
        ("enqueued_at < pgjobs.now() - %s::interval", filter.older_than),
        ("enqueued_at >= pgjobs.now() - %s::interval", filter.newer_than),
        ("metadata @> %s::jsonb", filter.metadata),
    )
    return Call(
        f"select id from pgjobs.jobs{where} order by id limit %s::integer",
        (*params, limit),
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


def resume_tasks(limit: int) -> Call[int]:
    """Take jobs of resumed tasks out of their lines again; returns how many."""
    return Call("select pgjobs.resume_tasks_v1(%s::integer)", (limit,), _read_int)


SLOTS = 16  # of the history ring


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was pruned of a slot: how many jobs, whether it was emptied at once, the last id deleted otherwise."""

    jobs: int
    emptied: bool
    last: int | None


def whereabouts(ids: Sequence[int]) -> Call[dict[int, Status]]:
    """Tell the status of each of these jobs, wherever it is; those that never were, or were pruned, are absent."""
    return Call(
        "select id, status from pgjobs.all_jobs where id = any (%s::bigint[])",
        (_numbers(ids),),
        lambda rows: {id: Status(status) for id, status in rows},
    )


def prune_history(older_than: timedelta, slot: int, limit: int, after: int = 0) -> Call[Pruned]:
    """Delete what finished longer ago from one slot of the history, up to `limit` jobs unless it goes as a whole."""
    return Call(
        "select pruned, emptied, last from pgjobs.prune_history_v1(%s::interval, %s::integer, %s::integer, %s::bigint)",
        (older_than, slot, limit, after),
        lambda rows: Pruned(*rows[0]),
    )


def progress(leases: Sequence[Lease], said: Sequence[Progress]) -> Call[Step]:
    """Write what runs of one worker say of their progress; returns those that are locked for a moment."""
    return Call(
        "select verb, id, run from pgjobs.progress_v1(%s::integer, %s::bigint[], %s::integer[], %s::jsonb)",
        (leases[0].worker, _numbers([lease.id for lease in leases]), _numbers([lease.run for lease in leases]),
         json.dumps([dataclasses.asdict(each) for each in said])),
        _read_step,
    )  # fmt: skip


def _time_columns(*columns: str) -> str:
    # Microseconds: a number is the same for every driver, whatever DateStyle and time zone the caller's session has.
    return ", ".join(f"(extract(epoch from {column}) * 1000000)::bigint" for column in columns)


_JOB_COLUMNS = (
    "id, queue, task, status, priority, payload::text, attempts, max_attempts, crashes, run, worker, "
    + _time_columns("enqueued_at", "available_at", "claimed_at", "finished_at")
    + ", result::text, reason, metadata::text, coalesce(version, 1), progress::text, line"
)


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
        (_numbers(ids), _numbers(take), _numbers(let_go)),
        lambda rows: [
            Ending(id, status, None if result is None else _json(result), reason, error)
            for id, status, result, reason, error in rows
        ],
    )


def jobs(
    status: Status | None = None, queue: str | None = None, task: str | None = None, limit: int = 50
) -> Call[list[Job]]:
    """List jobs, newest first, without their errors."""
    where, params = _where(("status = %s::text", status), ("queue = %s::text", queue), ("task = %s::text", task))
    return Call(
        f"select {_JOB_COLUMNS}, null from pgjobs.all_jobs{where} order by id desc limit %s::integer",
        (*params, limit),
        lambda rows: [_read_job(row) for row in rows],
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
        f"select {_names(QueueStatus)} from pgjobs.queue_overview", (), lambda rows: [QueueStatus(*row) for row in rows]
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
        f"select {_names(TaskStatus)} from pgjobs.task_overview", (), lambda rows: [TaskStatus(*row) for row in rows]
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
        f"select {_names(WorkerStatus)} from pgjobs.worker_overview",
        (),
        lambda rows: [WorkerStatus(*row) for row in rows],
    )


def check_schema() -> Call[None]:
    """Check that the schema fits this version. Raises SchemaTooOld or SchemaTooNew."""

    def read(rows: Rows) -> None:
        [(version, serves_from)] = rows
        if version < SCHEMA_VERSION:
            raise SchemaTooOld(
                f"The pgjobs schema is at version {version} and this pgjobs needs {SCHEMA_VERSION}: run `pgjobs migrate`."
            )
        if serves_from > SCHEMA_VERSION:
            raise SchemaTooNew(
                f"The pgjobs schema serves pgjobs from version {serves_from} on and this one is {SCHEMA_VERSION}:"
                " install a newer pgjobs."
            )

    return Call("select version, serves_from from pgjobs.schema_version()", (), read)


def now() -> Call[datetime]:
    """What time it is, by the clock that decides."""
    return Call("select pgjobs.now()", (), lambda rows: cast(datetime, rows[0][0]))


def begin() -> Call[None]:
    """Begin a transaction, where a library has no word for it."""
    return Call("begin", (), lambda rows: None)


def commit() -> Call[None]:
    """Commit it."""
    return Call("commit", (), lambda rows: None)


def rollback() -> Call[None]:
    """Roll it back."""
    return Call("rollback", (), lambda rows: None)


def database() -> Call[tuple[Any, ...]]:
    """Which database of which server this is: the same for two connections if, and only if, they reach the same one."""
    return Call(
        "select extract(epoch from pg_postmaster_start_time())::text, oid::bigint from pg_catalog.pg_database"
        " where datname = current_database()",
        (),
        lambda rows: tuple(rows[0]),
    )


def listen(channel: str) -> Call[None]:
    """Hear what is said on a channel. The name is ours and needs no quotes."""
    return Call(f"listen {channel}", (), lambda rows: None)


def notify(channel: str, payload: str) -> Call[None]:
    """Say something on a channel."""
    return Call("select pg_notify(%s::text, %s::text)", (channel, payload), lambda rows: None)


def session() -> Call[None]:
    """Settings for a session of our own, whatever the defaults of role and database are."""
    settings = {
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "off",
        "statement_timeout": "0",
        "lock_timeout": "0",
        "jit": "off",
        "DateStyle": "ISO",
        "TimeZone": "UTC",
    }
    return Call(
        "select " + ", ".join("set_config(%s, %s, false)" for _ in settings),
        tuple(text for setting in settings.items() for text in setting),
        lambda rows: None,
    )


def _where(*conditions: tuple[str, Any]) -> tuple[str, list[Any]]:
    """Join the conditions that have a value. A condition that is absent, not one that is always true, can use an index."""
    given = [(sql, value) for sql, value in conditions if value is not None]
    return (" where " + " and ".join(sql for sql, _ in given) if given else ""), [value for _, value in given]


def texts(values: Iterable[str]) -> str:
    """Return texts as the literal of an array."""
    return "{" + ",".join('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values) + "}"


def _numbers(values: Iterable[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _names(kind: type[Any]) -> str:
    return ", ".join(field.name for field in dataclasses.fields(kind))


def _read_int(rows: Rows) -> int:
    return int(rows[0][0])
