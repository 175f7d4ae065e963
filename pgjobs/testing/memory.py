"""Jobs in memory: the verbs of a client without a server, for unit tests.

What Python does for a job is the worker's own code here too: the runner, outcomes, backoff, the form of a settlement.
Only what SQL does is done again, one job at a time and under a lock. tests/testing/test_conformance.py runs one suite
over this and the real thing. What is not done again is refused: transactions, workers, and verbs and settings unknown here.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, cast

from pgjobs import checks
from pgjobs.async_client import AsyncClient
from pgjobs.calls import Cancellation, Edit, Filter, JobFilter, QueueStatus
from pgjobs.client import Client
from pgjobs.errors import InvalidJob, JobNotFound, JobNotWaiting
from pgjobs.job import Claimed, Job, JobId, Lease, Spec, Status
from pgjobs.outcome import Outcome
from pgjobs.task import Task
from pgjobs.testing.clock import MemoryClock
from pgjobs.testing.rows import WORKER, NotSupported, Row
from pgjobs.worker.options import on_failure
from pgjobs.worker.settler import Entry, settlement

# The settings of a job that are known here.
_SPEC = {"task", "payload", "queue", "priority", "delay", "available_at"}
_SPEC |= {"max_attempts", "timeout", "metadata", "notify", "version"}


class InMemory:
    """A client whose jobs live in this object. Argument: the app's tasks. `clock` moves its time."""

    def __init__(self, tasks: Mapping[str, Task[Any, Any]]) -> None:
        self.tasks = tasks
        self.clock = MemoryClock()
        self._rows: dict[int, Row] = {}
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
        """Put many jobs into their queues, all or none, and return their ids in the order given."""
        return self._add(list(specs))

    def job(self, id: int) -> Job:
        """Look a job up, wherever it is. Raises JobNotFound."""
        with self._lock:
            row = self._rows.get(id)
            if row is None:
                raise JobNotFound(f"There is no job with the id {id}: it never was, or it was pruned.")
            return row.job(row.errors)

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
            return [row.job() for row in rows[:limit]]

    def cancel(self, ids: Sequence[int], reason: str | None = None) -> Cancellation:
        """Cancel jobs that wait, ask those that run to stop, and return which is which."""
        with self._lock:
            return self._cancel([row for id in sorted(set(ids)) if (row := self._rows.get(id)) is not None], reason)

    def failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """List the ids of dead letters that fit, smallest first, and change nothing."""
        with self._lock:
            return [row.id for row in self._dead(filter, limit, after)]

    def retry_failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """Make dead letters jobs again and return their ids. Raises JobNotFound when a named id is not there."""
        with self._lock:
            self._check_dead(filter, "retried")
            chosen = self._dead(filter, limit, after)
            for row in chosen:
                row.revive(self.now())
            return [row.id for row in chosen]

    def clear_failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """Delete dead letters for good and return their ids. Raises JobNotFound when a named id is not there."""
        with self._lock:
            self._check_dead(filter, "deleted")
            return [self._rows.pop(row.id).id for row in self._dead(filter, limit, after)]

    def matching(self, filter: JobFilter, limit: int, after: int = 0) -> list[int]:
        """List the ids of live jobs that fit, smallest first, and change nothing."""
        with self._lock:
            return [row.id for row in self._live(filter, limit, after)]

    def move(self, to_queue: str, filter: JobFilter, limit: int, after: int = 0) -> list[int]:
        """Put jobs that do not run into another queue and return their ids, smallest first."""
        checks.name("queue", to_queue, InvalidJob)
        if filter.status == "running":
            raise InvalidJob("A job that runs cannot be moved.")
        with self._lock:
            chosen = self._live(filter, limit, after)
            for row in chosen:
                if row.spec.queue != to_queue:
                    row.edit(Edit(queue=to_queue), self.now())
            return [row.id for row in chosen]

    def edit(self, id: int, edit: Edit) -> None:
        """Change a job that does not run. Raises JobNotFound, JobNotWaiting when it runs or is over."""
        if edit.delay is not None and edit.available_at is not None:
            raise InvalidJob("A job has a delay or an available_at, not both.")
        if edit.priority is not None:
            checks.priority(edit.priority, InvalidJob)
        if edit.max_attempts is not None:
            checks.max_attempts(edit.max_attempts, InvalidJob)
        checks.timeout(edit.timeout, InvalidJob)
        with self._lock:
            row = self._rows.get(id)
            if row is None:
                raise JobNotFound(f"There is no job with the id {id}: it never was, or it was pruned.")
            if row.status is not Status.READY:
                raise JobNotWaiting(
                    f"Job {id} is {row.status} and cannot be changed any more: only a job that waits can."
                )
            row.edit(edit, self.now())

    def cancel_where(self, filter: JobFilter, reason: str | None, limit: int, after: int = 0) -> Cancellation:
        """Cancel live jobs that fit, smallest ids first, as `cancel` does, and return which is which."""
        with self._lock:
            return self._cancel(self._live(filter, limit, after), reason)

    def whereabouts(self, ids: Sequence[int]) -> dict[int, Status]:
        """Tell the status of each of these jobs, wherever it is; those that never were, or were pruned, are absent."""
        with self._lock:
            return {id: self._rows[id].status for id in ids if id in self._rows}

    sweep = Client.sweep  # nothing but verbs of a client

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
                if row.due(now) and (queues is None or row.spec.queue in queues) and id in (None, row.id)
            ]
            return min(due, key=lambda row: row.order).claim(now) if due else None

    def put_outcome(self, job: Claimed, outcome: Outcome) -> tuple[Entry, list[JobId]]:
        """Write the outcome of a run.

        Returns it as a worker's outbox would have carried it, and the job that was enqueued if this one died.
        """
        entry = Entry(Lease(job.id, job.run, WORKER), job, outcome, self.tasks.get(job.task))
        written = settlement([entry])
        with self._lock:
            row, now = self._rows[job.id], self.now()
            for other in written.others:
                row.settle(other, now)
            if written.keep is not None:
                del self._rows[job.id]
            elif written.ids:
                row.finish(now, Status.COMPLETED, result=None if written.results is None else written.results[0])
            death = row.death(json.loads(on_failure(self.tasks) or "{}"))
            return entry, self._add([death] if death else [])

    def _add(self, specs: list[Spec]) -> list[JobId]:
        for spec in specs:
            for each in dataclasses.fields(spec):
                if each.name not in _SPEC and getattr(spec, each.name) != each.default:
                    raise NotSupported(f"Jobs in memory know no {each.name}: test this on a real database.")
        with self._lock:
            now = self.now()
            rows = [
                Row(spec, next(self._ids), now, max(now, spec.available_at or now + (spec.delay or timedelta(0))))
                for spec in specs
            ]
            self._rows |= {row.id: row for row in rows}
            return [JobId(row.id) for row in rows]

    def _dead(self, filter: Filter, limit: int, after: int) -> list[Row]:
        now = self.now()
        return self._first(limit, after, lambda row: row.is_dead_and_fits(filter, now))

    def _live(self, filter: JobFilter, limit: int, after: int) -> list[Row]:
        now = self.now()
        return self._first(limit, after, lambda row: row.is_live_and_fits(filter, now))

    def _first(self, limit: int, after: int, wanted: Callable[[Row], bool]) -> list[Row]:
        found = (row for row in self._rows.values() if row.id > after and wanted(row))  # which are in the order of ids
        return list(itertools.islice(found, limit))

    def _check_dead(self, filter: Filter, what: str) -> None:
        for id in sorted(filter.ids or ()):
            if id not in self._rows or self._rows[id].status is not Status.DEAD:
                raise JobNotFound(f"There is no dead letter with the id {id}; nothing was {what}.")

    def _cancel(self, rows: Sequence[Row], reason: str | None) -> Cancellation:
        if any(row.status is Status.RUNNING for row in rows):
            raise NotSupported("Jobs in memory cannot be asked to stop while they run: test this on a real database.")
        chosen = [row for row in rows if row.status is Status.READY]
        for row in chosen:
            row.finish(self.now(), Status.CANCELLED, reason=reason)
        return Cancellation([row.id for row in chosen], [], [])


class _InLoop:
    """The verbs of a stand-in as coroutines: its own `averb` where it has one."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._client, f"a{name}", None)
        if own is not None:
            return own
        verb = getattr(self._client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return verb(*args, **kwargs)

        return call
