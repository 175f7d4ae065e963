"""Jobs in memory: the verbs of a client without a server, for unit tests.

What Python does for a job is the worker's own code here too: the runner, outcomes, backoff, the form of a settlement.
Only what SQL does is done again, one job at a time and under a lock. tests/testing/test_conformance.py runs one suite
over this and the real thing. What is not done again is refused: transactions, workers, and verbs and settings unknown here.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn, cast

from pgjobs.async_client import AsyncClient
from pgjobs.calls import Filter, QueueStatus, Settlement
from pgjobs.client import Client
from pgjobs.errors import JobNotFound, PgjobsError
from pgjobs.job import AttemptError, Claimed, Job, JobId, Lease, Priority, Spec, Status
from pgjobs.outcome import Outcome
from pgjobs.payload import decode
from pgjobs.task import Task
from pgjobs.testing.clock import MemoryClock
from pgjobs.worker.settler import Entry, settlement

WORKER = 1  # whose leases they are


class NotSupported(PgjobsError):
    """A stand-in for the database was asked for something that only a real one does."""


@dataclass(slots=True)
class _Row:
    """A job. Texts are JSON, as a driver would carry them: nothing of a caller's objects is kept."""

    spec: Spec
    id: int
    enqueued_at: datetime
    available_at: datetime | None
    status: Status = Status.READY
    run: int = 0
    attempts: int = 0
    claimed_at: datetime | None = None
    finished_at: datetime | None = None
    worker: int | None = None
    result: str | None = None
    reason: str | None = None
    error: str = ""  # of a dead letter
    errors: list[AttemptError] = field(default_factory=list)

    @property
    def order(self) -> tuple[int, datetime, int]:
        assert self.available_at is not None
        return self.spec.priority, self.available_at, self.id


_SPEC = {
    "task",
    "payload",
    "queue",
    "priority",
    "delay",
    "available_at",
    "max_attempts",
    "timeout",
    "metadata",
    "notify",
}
_OTHER = {"id", "run", "outcome", "delay", "error", "message", "traceback", "reason", "max_attempts"}


class InMemory:
    """A client whose jobs live in this object. Argument: the app's tasks. `clock` moves its time."""

    _runner = None  # a client's, which this has none of

    def __init__(self, tasks: Mapping[str, Task[Any, Any]]) -> None:
        self.tasks = tasks
        self.clock = MemoryClock()
        self._rows: dict[int, _Row] = {}
        self._ids = itertools.count(1)
        self._lock = threading.RLock()

    # What an app asks a stand-in for

    def client(self, tx: Any) -> Client:
        """Return this as a client. Raises NotSupported for a transaction."""
        if tx is not None:
            raise NotSupported(
                "Jobs in memory know no transactions: leave out tx= and app.using(...), or test this on a real database."
            )
        return cast(Client, self)

    def aclient(self, tx: Any) -> AsyncClient:
        """The same as `client`, for callers in an event loop."""
        return cast(AsyncClient, _InLoop(self.client(tx)))

    # The verbs of a client

    def enqueue(self, spec: Spec) -> JobId:
        """Put one job into its queue and return its id."""
        (id,) = self._add([spec])
        return id

    def enqueue_many(self, specs: Iterable[Spec], notify: bool = True) -> list[JobId]:
        """Put many jobs into their queues in one statement and return their ids in the order given."""
        return self._add(list(specs))

    def job(self, id: int) -> Job:
        """Look a job up, wherever it is. Raises JobNotFound."""
        with self._lock:
            row = self._rows.get(id)
            if row is None:
                raise JobNotFound(f"There is no job with the id {id}: it never was, or it was pruned.")
            return _job(row, row.errors)

    def jobs(
        self, status: Status | None = None, queue: str | None = None, task: str | None = None, limit: int = 50
    ) -> list[Job]:
        """List jobs, newest first, without their errors."""
        with self._lock:
            rows = [
                row
                for row in reversed(self._rows.values())
                if status in (None, row.status) and queue in (None, row.spec.queue) and task in (None, row.spec.task)
            ]
            return [_job(row, ()) for row in rows[:limit]]

    def cancel(self, ids: Sequence[int], reason: str | None = None) -> list[int]:
        """Cancel jobs that wait and return the ids that were cancelled."""
        with self._lock:
            chosen = [row for id in sorted(set(ids)) if (row := self._rows.get(id)) and row.status is Status.READY]
            for row in chosen:
                self._finish(row, Status.CANCELLED, reason=reason)
            return [row.id for row in chosen]

    def failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """List the ids of dead letters that fit, smallest first, and change nothing."""
        with self._lock:
            return [row.id for row in itertools.islice(self._dead(filter, after), limit)]

    def retry_failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """Make dead letters jobs again and return their ids. Raises JobNotFound when a named id is not there."""
        with self._lock:
            for id in sorted(filter.ids or ()):
                if id not in self._rows or self._rows[id].status is not Status.DEAD:
                    raise JobNotFound(f"There is no dead letter with the id {id}; nothing was retried.")
            chosen = list(itertools.islice(self._dead(filter, after), limit))
            for row in chosen:
                row.status, row.attempts, row.available_at = Status.READY, 0, self.now()
                row.finished_at = row.claimed_at = row.worker = row.reason = None
            return [row.id for row in chosen]

    def queue_overview(self) -> list[QueueStatus]:
        """Return one line per queue."""
        with self._lock:
            now, counts = self.now(), dict[str, Counter[str]]()
            first: dict[str, datetime] = {}
            for row in self._rows.values():
                count = counts.setdefault(row.spec.queue, Counter())
                due = row.available_at if row.status is Status.READY else None
                if due is not None and due <= now:
                    first[row.spec.queue] = min(due, first.get(row.spec.queue, due))
                count["scheduled" if due is not None and due > now else row.status] += 1
            return [
                QueueStatus(
                    queue, count["ready"], count["scheduled"], count["running"], count["dead"],
                    now - first[queue] if queue in first else None, paused=False,
                )
                for queue, count in sorted(counts.items()) if count.keys() & {"ready", "scheduled", "running", "dead"}
            ]  # fmt: skip

    def now(self) -> datetime:
        """Return what time it is, by the clock that decides."""
        return self.clock.now()

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("_") and hasattr(Client, name):
            raise NotSupported(f"Jobs in memory know no {name}: test this on a real database.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # What a worker asks for

    def take_due(self, queues: Sequence[str] | None = None, id: int | None = None) -> Claimed | None:
        """Claim the next job that is due, of these queues and with this id where they are given."""
        with self._lock:
            now = self.now()
            due = [
                row
                for row in self._rows.values()
                if row.status is Status.READY and row.available_at is not None and row.available_at <= now
                and (queues is None or row.spec.queue in queues) and id in (None, row.id)
            ]  # fmt: skip
            if not due:
                return None
            row = min(due, key=lambda row: row.order)
            at = row.available_at
            row.status, row.run, row.worker, row.claimed_at = Status.RUNNING, row.run + 1, WORKER, now
            spec = row.spec
            return Claimed(
                verb="claimed", id=row.id, run=row.run, queue=spec.queue, rank=spec.priority, available_at=str(at),
                task=spec.task, payload=spec.payload, priority=spec.priority, attempts=row.attempts, crashes=0,
                max_attempts=spec.max_attempts, timeout=None if spec.timeout is None else spec.timeout.total_seconds(),
                enqueued_at=row.enqueued_at.isoformat(), metadata=spec.metadata,
            )  # fmt: skip

    def put_outcome(self, job: Claimed, outcome: Outcome) -> Entry:
        """Write the outcome of a run, and return it as a worker's outbox would have carried it."""
        entry = Entry(Lease(job.id, job.run, WORKER), job, outcome, self.tasks.get(job.task))
        with self._lock:
            self._write(settlement([entry]))
        return entry

    def _write(self, written: Settlement) -> None:
        for index, id in enumerate(written.ids):
            if written.keep is not None and not written.keep[index]:
                del self._rows[id]
            else:
                result = "null" if written.results is None else written.results[index]
                self._finish(self._rows[id], Status.COMPLETED, result=None if result == "null" else result)
        for other in written.others:
            if unknown := other.keys() - _OTHER:
                raise NotSupported(f"Jobs in memory know no {min(unknown)}: test this on a real database.")
            given: dict[str, Any] = {key: other.get(key) for key in _OTHER - {"id", "run"}}
            self._write_other(self._rows[other["id"]], **given)

    def _write_other(
        self, row: _Row, *, outcome: str, delay: float | None, error: str, message: str, traceback: str | None,
        reason: str | None, max_attempts: int | None,
    ) -> None:  # fmt: skip
        now = self.now()
        if outcome == "cancel":
            self._finish(row, Status.CANCELLED, reason=reason)
            return
        if outcome in ("retry", "fail"):
            row.attempts += 1
            assert row.claimed_at is not None
            row.errors.append(
                AttemptError(row.run, row.attempts, error, message, traceback, row.claimed_at, now, WORKER)
            )
            if outcome == "fail" or row.attempts >= (row.spec.max_attempts or max_attempts or 1):
                row.error = f"{error}: {message}" if message else error
                ending = "failed" if outcome == "fail" else "exhausted"
                self._finish(row, Status.DEAD, reason=f"{ending}: {row.error}")
                return
        row.status, row.worker, row.claimed_at = Status.READY, None, None
        row.available_at = now + timedelta(seconds=max(delay or 0, 0))

    def _finish(self, row: _Row, status: Status, *, result: str | None = None, reason: str | None = None) -> None:
        row.status, row.result, row.reason = status, result, reason
        row.finished_at, row.available_at = self.now(), None

    def _add(self, specs: list[Spec]) -> list[JobId]:
        for spec in specs:
            for each in dataclasses.fields(spec):
                if each.name not in _SPEC and getattr(spec, each.name) != each.default:
                    raise NotSupported(f"Jobs in memory know no {each.name}: test this on a real database.")
        with self._lock:
            now = self.now()
            rows = [
                _Row(spec, next(self._ids), now, max(now, spec.available_at or now + (spec.delay or timedelta(0))))
                for spec in specs
            ]
            self._rows |= {row.id: row for row in rows}
            return [JobId(row.id) for row in rows]

    def _dead(self, filter: Filter, after: int) -> Iterator[_Row]:
        since = None if filter.since is None else self.now() - filter.since
        for row in sorted(self._rows.values(), key=lambda row: row.id):
            if (
                row.status is Status.DEAD and row.id > after
                and (filter.ids is None or row.id in filter.ids)
                and filter.queue in (None, row.spec.queue) and filter.task in (None, row.spec.task)
                and (filter.error is None or filter.error.lower() in row.error.lower())
                and (since is None or (row.finished_at is not None and row.finished_at >= since))
            ):  # fmt: skip
                yield row


class _InLoop:
    """The verbs of a stand-in as coroutines: its own `averb` where it has one."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._runner = None

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._client, f"a{name}", None)
        if own is not None:
            return own
        verb = getattr(self._client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return verb(*args, **kwargs)

        return call


def _job(row: _Row, errors: Sequence[AttemptError]) -> Job:
    spec = row.spec
    return Job(
        id=row.id, queue=spec.queue, task=spec.task, status=row.status, priority=Priority(spec.priority),
        payload=decode(spec.payload), attempts=row.attempts, max_attempts=spec.max_attempts, crashes=0, run=row.run,
        worker=row.worker, enqueued_at=row.enqueued_at, available_at=row.available_at, claimed_at=row.claimed_at,
        finished_at=row.finished_at, result=None if row.result is None else decode(row.result), reason=row.reason,
        metadata=None if spec.metadata is None else decode(spec.metadata), errors=tuple(errors),
    )  # fmt: skip
