"""What people do to jobs, queues and tasks while they live: the methods of an App for it, each for both kinds of callers."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Literal

from pgjobs import checks, portions
from pgjobs.async_client import AsyncClient
from pgjobs.calls import Cancellation, Edit, Filter, JobFilter, Pruned, QueueStatus, TaskStatus, WorkerStatus
from pgjobs.client import Client
from pgjobs.errors import InvalidJob
from pgjobs.job import Job, Priority, Status
from pgjobs.payload import encode_metadata, encode_payload
from pgjobs.task import Task

Live = Literal["ready", "scheduled", "waiting", "running"]


class Steering(ABC):
    """The part of an App that steers. Everywhere `tx` is the transaction to do it in, else it is done at once.

    What may concern many jobs is done in portions, each committed by itself, unless it is in a transaction of yours.
    """

    tasks: dict[str, Task[Any, Any]]

    @abstractmethod
    def client(self, tx: Any = None) -> AbstractContextManager[Client]:
        """Lend a client."""

    @abstractmethod
    def aclient(self, tx: Any = None) -> AbstractAsyncContextManager[AsyncClient]:
        """The same as `client`, for callers in an event loop."""

    # Queues and tasks

    def pause(self, queue: str | None = None, *, task: str | None = None, tx: Any = None) -> None:
        """Start nothing of a queue, or of a task, until it is resumed; what runs, runs on."""
        with self.client(tx) as client:
            client.pause(_name("queue", queue), _name("task", task))

    async def apause(self, queue: str | None = None, *, task: str | None = None, tx: Any = None) -> None:
        """The same as `pause`, for callers in an event loop."""
        async with self.aclient(tx) as client:
            await client.pause(_name("queue", queue), _name("task", task))

    def resume(self, queue: str | None = None, *, task: str | None = None, tx: Any = None) -> None:
        """Let a paused queue or task run again."""
        with self.client(tx) as client:
            client.resume(_name("queue", queue), _name("task", task))

    async def aresume(self, queue: str | None = None, *, task: str | None = None, tx: Any = None) -> None:
        """The same as `resume`, for callers in an event loop."""
        async with self.aclient(tx) as client:
            await client.resume(_name("queue", queue), _name("task", task))

    # Live jobs

    def edit(
        self,
        id: int,
        *,
        priority: Priority | int | None = None,
        queue: str | None = None,
        delay: timedelta | float | None = None,
        available_at: datetime | None = None,
        payload: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout: timedelta | float | None = None,
        tx: Any = None,
    ) -> None:
        """Change a job that does not run; what is not named stays as it is.

        Arguments: delay, from now, and timeout in seconds or as timedeltas; available_at, an aware datetime; payload,
        all arguments by name, as JSON has them, checked against the present version of the task if the app has it;
        metadata, which replaces what there was.
        Raises JobNotFound, JobNotWaiting when the job runs or is over, InvalidJob for what makes no sense.
        """
        change = _edit(id, priority, queue, delay, available_at, payload, metadata, max_attempts, timeout)
        with self.client(tx) as client:
            if payload is not None:
                change = fitting(self.tasks, change, client.job(id), payload)
            client.edit(id, change)

    async def aedit(
        self,
        id: int,
        *,
        priority: Priority | int | None = None,
        queue: str | None = None,
        delay: timedelta | float | None = None,
        available_at: datetime | None = None,
        payload: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout: timedelta | float | None = None,
        tx: Any = None,
    ) -> None:
        """The same as `edit`, for callers in an event loop."""
        change = _edit(id, priority, queue, delay, available_at, payload, metadata, max_attempts, timeout)
        async with self.aclient(tx) as client:
            if payload is not None:
                change = fitting(self.tasks, change, await client.job(id), payload)
            await client.edit(id, change)

    def cancel(self, *ids: int, reason: str | None = None, tx: Any = None) -> Cancellation:
        """Cancel these jobs: those that wait at once; those that run are asked to stop. Returns which is which."""
        with self.client(tx) as client:
            return client.cancel(ids, reason)

    async def acancel(self, *ids: int, reason: str | None = None, tx: Any = None) -> Cancellation:
        """The same as `cancel`, for callers in an event loop."""
        async with self.aclient(tx) as client:
            return await client.cancel(ids, reason)

    def cancel_where(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        status: Live | None = None,
        older_than: timedelta | float | None = None,
        newer_than: timedelta | float | None = None,
        metadata: Mapping[str, Any] | None = None,
        reason: str | None = None,
        limit: int | None = None,
        tx: Any = None,
    ) -> Cancellation:
        """Cancel all live jobs that fit every condition; those that run only with status="running". Returns which.

        Arguments: older_than, newer_than, since they were enqueued, in seconds or as timedeltas; metadata, which the
        job's must contain; limit, how many at most. Raises InvalidJob when no condition is given.
        """
        filter = _conditions(queue, task, status, older_than, newer_than, metadata)
        with self.client(tx) as client:
            return _together(client.sweep(portions.cancel_where(filter, reason, limit)))

    async def acancel_where(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        status: Live | None = None,
        older_than: timedelta | float | None = None,
        newer_than: timedelta | float | None = None,
        metadata: Mapping[str, Any] | None = None,
        reason: str | None = None,
        limit: int | None = None,
        tx: Any = None,
    ) -> Cancellation:
        """The same as `cancel_where`, for callers in an event loop."""
        filter = _conditions(queue, task, status, older_than, newer_than, metadata)
        async with self.aclient(tx) as client:
            return _together(await client.sweep(portions.cancel_where(filter, reason, limit)))

    def move(
        self,
        queue: str,
        to_queue: str,
        *,
        task: str | None = None,
        status: Live | None = None,
        older_than: timedelta | float | None = None,
        newer_than: timedelta | float | None = None,
        metadata: Mapping[str, Any] | None = None,
        limit: int | None = None,
        tx: Any = None,
    ) -> list[int]:
        """Put the jobs of a queue that do not run and fit every condition into another queue. Returns their ids.

        Arguments as for `cancel_where`. They keep priority and time, and stand behind what is due there already.
        """
        filter = _conditions(queue, task, status, older_than, newer_than, metadata)
        with self.client(tx) as client:
            return _joined(client.sweep(portions.move(checks.name("queue", to_queue, InvalidJob), filter, limit)))

    async def amove(
        self,
        queue: str,
        to_queue: str,
        *,
        task: str | None = None,
        status: Live | None = None,
        older_than: timedelta | float | None = None,
        newer_than: timedelta | float | None = None,
        metadata: Mapping[str, Any] | None = None,
        limit: int | None = None,
        tx: Any = None,
    ) -> list[int]:
        """The same as `move`, for callers in an event loop."""
        filter = _conditions(queue, task, status, older_than, newer_than, metadata)
        async with self.aclient(tx) as client:
            return _joined(await client.sweep(portions.move(checks.name("queue", to_queue, InvalidJob), filter, limit)))

    # Dead letters and the history

    def retry_failed(
        self,
        *ids: int,
        queue: str | None = None,
        task: str | None = None,
        error: str | None = None,
        since: timedelta | float | None = None,
        limit: int | None = None,
        tx: Any = None,
    ) -> list[int]:
        """Make dead letters jobs again, their attempts counted anew. Returns their ids.

        Arguments: ids, only these, which must all be there; error, a part of the last error's text; since, died within
        this time, in seconds or as a timedelta; limit, how many at most. Without any, all dead letters are retried.
        Raises JobNotFound when a named id is not there; then nothing is done.
        """
        sweep = portions.retry_failed(Filter(ids or None, queue, task, error, _time("since", since)), limit)
        with self.client(tx) as client:
            return _joined(client.sweep(sweep))

    async def aretry_failed(
        self,
        *ids: int,
        queue: str | None = None,
        task: str | None = None,
        error: str | None = None,
        since: timedelta | float | None = None,
        limit: int | None = None,
        tx: Any = None,
    ) -> list[int]:
        """The same as `retry_failed`, for callers in an event loop."""
        sweep = portions.retry_failed(Filter(ids or None, queue, task, error, _time("since", since)), limit)
        async with self.aclient(tx) as client:
            return _joined(await client.sweep(sweep))

    def clear_failed(
        self,
        *ids: int,
        queue: str | None = None,
        task: str | None = None,
        error: str | None = None,
        since: timedelta | float | None = None,
        limit: int | None = None,
        tx: Any = None,
    ) -> list[int]:
        """Delete dead letters for good. Returns their ids.

        Arguments as for `retry_failed`: without any, all dead letters are deleted.
        Raises JobNotFound when a named id is not there; then nothing is done.
        """
        sweep = portions.clear_failed(Filter(ids or None, queue, task, error, _time("since", since)), limit)
        with self.client(tx) as client:
            return _joined(client.sweep(sweep))

    async def aclear_failed(
        self,
        *ids: int,
        queue: str | None = None,
        task: str | None = None,
        error: str | None = None,
        since: timedelta | float | None = None,
        limit: int | None = None,
        tx: Any = None,
    ) -> list[int]:
        """The same as `clear_failed`, for callers in an event loop."""
        sweep = portions.clear_failed(Filter(ids or None, queue, task, error, _time("since", since)), limit)
        async with self.aclient(tx) as client:
            return _joined(await client.sweep(sweep))

    def prune(self, older_than: timedelta | float, *, tx: Any = None) -> int:
        """Delete what finished longer ago than this, in seconds or as a timedelta. Returns how many jobs."""
        sweep = portions.Prune(checks.duration("older_than", older_than, InvalidJob))
        with self.client(tx) as client:
            return _count(client.sweep(sweep))

    async def aprune(self, older_than: timedelta | float, *, tx: Any = None) -> int:
        """The same as `prune`, for callers in an event loop."""
        sweep = portions.Prune(checks.duration("older_than", older_than, InvalidJob))
        async with self.aclient(tx) as client:
            return _count(await client.sweep(sweep))

    # Looking

    def jobs(
        self,
        *,
        status: Status | str | None = None,
        queue: str | None = None,
        task: str | None = None,
        limit: int = 50,
        tx: Any = None,
    ) -> list[Job]:
        """List jobs, newest first, wherever they are, without their errors."""
        with self.client(tx) as client:
            return client.jobs(_status(status), queue, task, limit)

    async def ajobs(
        self,
        *,
        status: Status | str | None = None,
        queue: str | None = None,
        task: str | None = None,
        limit: int = 50,
        tx: Any = None,
    ) -> list[Job]:
        """The same as `jobs`, for callers in an event loop."""
        async with self.aclient(tx) as client:
            return await client.jobs(_status(status), queue, task, limit)

    def queues(self, *, tx: Any = None) -> list[QueueStatus]:
        """Tell how each queue stands."""
        with self.client(tx) as client:
            return client.queue_overview()

    async def aqueues(self, *, tx: Any = None) -> list[QueueStatus]:
        """The same as `queues`, for callers in an event loop."""
        async with self.aclient(tx) as client:
            return await client.queue_overview()

    def paused_tasks(self, *, tx: Any = None) -> list[TaskStatus]:
        """Tell which tasks are paused, or being resumed, and how many of their jobs wait."""
        with self.client(tx) as client:
            return client.task_overview()

    async def apaused_tasks(self, *, tx: Any = None) -> list[TaskStatus]:
        """The same as `paused_tasks`, for callers in an event loop."""
        async with self.aclient(tx) as client:
            return await client.task_overview()

    def workers(self, *, tx: Any = None) -> list[WorkerStatus]:
        """List the workers that the database knows."""
        with self.client(tx) as client:
            return client.worker_overview()

    async def aworkers(self, *, tx: Any = None) -> list[WorkerStatus]:
        """The same as `workers`, for callers in an event loop."""
        async with self.aclient(tx) as client:
            return await client.worker_overview()


def fitting(tasks: Mapping[str, Task[Any, Any]], change: Edit, job: Job, payload: Mapping[str, Any]) -> Edit:
    """Return the change with the version that the payload is of. Raises InvalidPayload when it does not fit the task."""
    task = tasks.get(job.task)
    if task is None:
        return change
    task.check(payload)
    return dataclasses.replace(change, version=task.version)


def _edit(
    id: int,
    priority: Priority | int | None,
    queue: str | None,
    delay: timedelta | float | None,
    available_at: datetime | None,
    payload: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    max_attempts: int | None,
    timeout: timedelta | float | None,
) -> Edit:
    return Edit(
        priority=priority,
        queue=_name("queue", queue),
        delay=_time("delay", delay),
        available_at=None if available_at is None else checks.moment("available_at", available_at, InvalidJob),
        payload=None if payload is None else encode_payload(payload, task=f"job {id}"),
        metadata=None if metadata is None else encode_metadata(metadata, task=f"job {id}"),
        max_attempts=max_attempts,
        timeout=_time("timeout", timeout),
    )


def _conditions(
    queue: str | None,
    task: str | None,
    status: Live | None,
    older_than: timedelta | float | None,
    newer_than: timedelta | float | None,
    metadata: Mapping[str, Any] | None,
) -> JobFilter:
    contained = None if metadata is None else encode_metadata(metadata, task="a condition")
    filter = JobFilter(
        None, queue, task, status, _time("older_than", older_than), _time("newer_than", newer_than), contained
    )
    if filter == JobFilter():
        raise InvalidJob("Say which jobs: at least one of queue, task, status, older_than, newer_than, metadata.")
    return filter


def _time(what: str, value: timedelta | float | None) -> timedelta | None:
    return None if value is None else checks.duration(what, value, InvalidJob)


def _name(kind: str, value: str | None) -> str | None:
    return None if value is None else checks.name(kind, value, InvalidJob)


def _status(status: Status | str | None) -> Status | None:
    try:
        return None if status is None else Status(status)
    except ValueError:
        raise InvalidJob(f"A job is {', '.join(Status)}, not {status!r}.") from None


def _joined(done: Sequence[list[int]]) -> list[int]:
    return [id for portion in done for id in portion]


def _together(done: Sequence[Cancellation]) -> Cancellation:
    return Cancellation(
        _joined([portion.cancelled for portion in done]),
        _joined([portion.asked for portion in done]),
        _joined([portion.locked for portion in done]),
    )


def _count(done: Sequence[Pruned]) -> int:
    return sum(pruned.jobs for pruned in done)
