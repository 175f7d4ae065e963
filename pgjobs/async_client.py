"""The verbs for callers in an event loop: one line each, over `calls`, with the signatures of `Client`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TypeVar

from pgjobs import calls, portions
from pgjobs.calls import Cancellation, Edit, Filter, JobFilter, QueueStatus, TaskStatus, WorkerStatus
from pgjobs.connections import AsyncRunner, arun, arun_copy, in_one_async_transaction
from pgjobs.gathering import Gathering, Stopped
from pgjobs.job import Job, JobId, Lease, Progress, Spec, Status
from pgjobs.portions import Portions

T = TypeVar("T")


class AsyncClient:
    """The verbs on one connection; what they do is committed when its transaction is.

    Arguments: runner, of the connection; ours, whether nobody else uses it meanwhile.
    """

    def __init__(self, runner: AsyncRunner, *, ours: bool = False) -> None:
        self._runner = runner
        self._ours = ours

    async def enqueue(self, spec: Spec) -> JobId:
        """Put one job into its queue and return its id."""
        return await arun(self._runner, calls.enqueue(spec, self._runner.is_alone()))

    async def enqueue_many(self, specs: Iterable[Spec], notify: bool = True) -> list[JobId]:
        """Put many jobs into their queues, all or none, and return their ids in the order given."""
        if isinstance(specs, Gathering) and specs.goes_on and self._ours:
            try:
                return await self._enqueue_while_gathering(specs, notify)
            except Stopped as stopped:
                error = stopped.error
            raise error
        # All of them before the first is sent: a generator that raises half way must not leave half of them behind.
        jobs = list(specs)
        # One that must not be announced keeps the transaction silent.
        notify = notify and all(job.notify for job in jobs)
        if (ids := await self._copy(jobs, notify)) is not None:
            return ids
        chunks = portions.chunks(jobs)
        async with in_one_async_transaction(self._runner) if len(chunks) > 1 else nullcontext():
            return [id for chunk in chunks for id in await arun(self._runner, calls.enqueue_many(chunk, notify))]

    async def _enqueue_while_gathering(self, gathering: Gathering, notify: bool) -> list[JobId]:
        """Write a portion, and gather the next one meanwhile; all in one transaction."""
        ids: list[JobId] = []
        async with in_one_async_transaction(self._runner):
            while jobs := gathering.portion():
                notify = notify and all(job.notify for job in jobs)
                some = await self._copy(jobs, notify, gathering.few)
                for chunk in portions.chunks(jobs) if some is None else ():
                    written = await arun(self._runner, calls.enqueue_many(chunk, notify))
                    ids += written
                ids += some or ()
        return ids

    async def _copy(
        self, jobs: Sequence[Spec], notify: bool, meanwhile: Callable[[], None] | None = None
    ) -> list[JobId] | None:
        """Put them there by COPY and return their ids; None if that cannot be, or is not worth while."""
        if not (portions.are_for_copy(jobs) and self._runner.can_copy()):
            return None
        reserved = await arun(self._runner, calls.reserve(jobs, notify))
        if reserved is not None:
            await arun_copy(self._runner, reserved.copy(meanwhile))
        return None if reserved is None else reserved.ids

    async def job(self, id: int) -> Job:
        """Look a job up, wherever it is. Raises JobNotFound."""
        return await arun(self._runner, calls.job(id))

    async def jobs(
        self, status: Status | None = None, queue: str | None = None, task: str | None = None, limit: int = 50
    ) -> list[Job]:
        """List jobs, newest first, without their errors."""
        return await arun(self._runner, calls.jobs(status, queue, task, limit))

    async def watch(
        self, ids: Iterable[int], take: Iterable[int] = (), let_go: Iterable[int] = ()
    ) -> list[calls.Ending]:
        """List which of these jobs are over, and how; take and let go the locks by which a session says that it waits."""
        return await arun(self._runner, calls.watch(ids, take, let_go))

    async def cancel(self, ids: Sequence[int], reason: str | None = None) -> Cancellation:
        """Cancel jobs that wait, ask those that run to stop, and return which is which."""
        return await arun(self._runner, calls.cancel(ids, reason))

    async def failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """List the ids of dead letters that fit, smallest first, and change nothing."""
        return await arun(self._runner, calls.failed(filter, limit, after))

    async def retry_failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """Make dead letters jobs again and return their ids. Raises JobNotFound when a named id is not there."""
        return await arun(self._runner, calls.retry_failed(filter, limit, after))

    async def clear_failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """Delete dead letters for good and return their ids. Raises JobNotFound when a named id is not there."""
        return await arun(self._runner, calls.clear_failed(filter, limit, after))

    async def matching(self, filter: JobFilter, limit: int, after: int = 0) -> list[int]:
        """List the ids of live jobs that fit, smallest first, and change nothing."""
        return await arun(self._runner, calls.matching(filter, limit, after))

    async def move(self, to_queue: str, filter: JobFilter, limit: int, after: int = 0) -> list[int]:
        """Put jobs that do not run into another queue and return their ids, smallest first."""
        return await arun(self._runner, calls.move(to_queue, filter, limit, after))

    async def edit(self, id: int, edit: Edit) -> None:
        """Change a job that does not run. Raises JobNotFound, JobNotWaiting when it runs or is over."""
        return await arun(self._runner, calls.edit(id, edit))

    async def pause(self, queue: str | None = None, task: str | None = None) -> None:
        """Start nothing of a queue, or of a task, until it is resumed."""
        return await arun(self._runner, calls.pause(queue, task))

    async def resume(self, queue: str | None = None, task: str | None = None) -> None:
        """Let a paused queue or task run again."""
        return await arun(self._runner, calls.resume(queue, task))

    async def resume_tasks(self, limit: int) -> int:
        """Take jobs of resumed tasks out of their lines again and return how many."""
        return await arun(self._runner, calls.resume_tasks(limit))

    async def prune_history(self, older_than: timedelta, slot: int, limit: int, after: int = 0) -> calls.Pruned:
        """Delete what finished longer ago from one slot of the history, up to `limit` jobs unless it goes as a whole."""
        return await arun(self._runner, calls.prune_history(older_than, slot, limit, after))

    async def task_overview(self) -> list[TaskStatus]:
        """Return one line per task that is paused or being resumed."""
        return await arun(self._runner, calls.task_overview())

    async def cancel_where(self, filter: JobFilter, reason: str | None, limit: int, after: int = 0) -> Cancellation:
        """Cancel live jobs that fit, smallest ids first, as `cancel` does, and return which is which."""
        return await arun(self._runner, calls.cancel_where(filter, reason, limit, after))

    async def whereabouts(self, ids: Sequence[int]) -> dict[int, Status]:
        """Tell the status of each of these jobs, wherever it is; those that never were, or were pruned, are absent."""
        return await arun(self._runner, calls.whereabouts(ids))

    async def sweep(self, portions: Portions[T], told: Callable[[T], None] | None = None) -> list[T]:
        """Do something in portions, one statement each, and return what each returned; `told` hears it as it comes."""
        done: list[T] = []
        while (verb := portions.next()) is not None:
            done.append(await verb(self))
            portions.took(done[-1])
            if told is not None:
                told(done[-1])
        return done

    async def queue_overview(self) -> list[QueueStatus]:
        """Return one line per queue."""
        return await arun(self._runner, calls.queue_overview())

    async def worker_overview(self) -> list[WorkerStatus]:
        """Return one line per worker."""
        return await arun(self._runner, calls.worker_overview())

    async def check_schema(self) -> None:
        """Check that the schema fits this version. Raises SchemaTooOld or SchemaTooNew."""
        return await arun(self._runner, calls.check_schema())

    async def now(self) -> datetime:
        """Return what time it is, by the clock that decides."""
        return await arun(self._runner, calls.now())

    async def renew(self, worker: int, running: int, claims_since: str | None, stopping: bool) -> None:
        """Renew a worker's lease. Raises LeaseLost when it is gone."""
        return await arun(self._runner, calls.renew(worker, running, claims_since, stopping))

    async def renew_many(self, supervisor: int | None, reports: Sequence[calls.Report]) -> list[int]:
        """Renew the leases of several workers at once and return those whose lease is gone."""
        return await arun(self._runner, calls.renew_many(supervisor, reports))

    async def hold(self) -> int:
        """Show by a lock, for as long as this session lasts, that whoever renews on it is there; return the id to renew under."""
        return await arun(self._runner, calls.hold())

    async def rescue(self, limit: int, dead: Sequence[int] = ()) -> calls.Rescued:
        """Take back jobs of lost workers; return how many go on and how many went to the dead letters."""
        return await arun(self._runner, calls.rescue(limit, dead))

    async def prune(self) -> bool:
        """Empty the next slot of the history ring and return whether there was something in it."""
        return await arun(self._runner, calls.prune())

    async def release(self, leases: Sequence[Lease]) -> calls.Step:
        """Give jobs of one worker back unstarted, not counted."""
        return await arun(self._runner, calls.release(leases))

    async def cancel_asked(self, worker: int, limit: int) -> list[tuple[int, int, str | None]]:
        """List the runs of a worker that are asked to stop: id, run, reason."""
        return await arun(self._runner, calls.cancel_asked(worker, limit))

    async def progress(self, leases: Sequence[Lease], said: Sequence[Progress]) -> calls.Step:
        """Write what runs of one worker say of their progress; return those that are locked for a moment."""
        return await arun(self._runner, calls.progress(leases, said))

    async def register(
        self, name: str, host: str, pid: int, version: str, queues: Sequence[str], concurrency: int, lease: timedelta,
        on_failure: str | None = None,
    ) -> int:  # fmt: skip
        """Register a worker and return its id."""
        return await arun(
            self._runner, calls.register(name, host, pid, version, queues, concurrency, lease, on_failure)
        )

    async def leases(self, worker: int, limit: int) -> list[Lease]:
        """List what a worker holds, oldest claims first."""
        return await arun(self._runner, calls.leases(worker, limit))

    async def resign(self, worker: int) -> int:
        """A worker leaves; return how many jobs it still holds because somebody had them locked."""
        return await arun(self._runner, calls.resign(worker))

    async def claim(self, worker: int, limit: int, scan: calls.Scan) -> calls.Step:
        """Claim up to `limit` jobs that are due."""
        return await arun(self._runner, calls.claim(worker, limit, scan))

    async def settle(self, worker: int, settlement: calls.Settlement) -> calls.Step:
        """Write outcomes, each only if its lease still stands."""
        return await arun(self._runner, calls.settle(worker, settlement))

    async def settle_and_claim(
        self, worker: int, settlement: calls.Settlement, limit: int, scan: calls.Scan
    ) -> calls.Step:
        """Write outcomes and claim up to `limit` jobs, in one round trip."""
        return await arun(self._runner, calls.settle_and_claim(worker, settlement, limit, scan))
