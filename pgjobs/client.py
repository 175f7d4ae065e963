"""The verbs for callers who may block: one line each, over `calls`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TypeVar

from pgjobs import calls, portions
from pgjobs.calls import Cancellation, Edit, Filter, JobFilter, QueueStatus, TaskStatus, WorkerStatus
from pgjobs.connections import Runner, in_one_transaction, run, run_copy
from pgjobs.gathering import Gathering, Stopped
from pgjobs.job import Job, JobId, Lease, Progress, Spec, Status
from pgjobs.portions import Portions

T = TypeVar("T")


class Client:
    """The verbs on one connection; what they do is committed when its transaction is.

    Arguments: runner, of the connection; ours, whether nobody else uses it meanwhile.
    """

    def __init__(self, runner: Runner, *, ours: bool = False) -> None:
        self._runner = runner
        self._ours = ours

    def enqueue(self, spec: Spec) -> JobId:
        """Put one job into its queue and return its id."""
        return run(self._runner, calls.enqueue(spec, self._runner.is_alone()))

    def enqueue_many(self, specs: Iterable[Spec], notify: bool = True) -> list[JobId]:
        """Put many jobs into their queues, all or none, and return their ids in the order given."""
        if isinstance(specs, Gathering) and specs.goes_on and self._ours:
            try:
                return self._enqueue_while_gathering(specs, notify)
            except Stopped as stopped:
                error = stopped.error
            raise error
        # All of them before the first is sent: a generator that raises half way must not leave half of them behind.
        jobs = list(specs)
        # One that must not be announced keeps the transaction silent.
        notify = notify and all(job.notify for job in jobs)
        if (ids := self._copy(jobs, notify)) is not None:
            return ids
        chunks = portions.chunks(jobs)
        with in_one_transaction(self._runner) if len(chunks) > 1 else nullcontext():
            return [id for chunk in chunks for id in run(self._runner, calls.enqueue_many(chunk, notify))]

    def _enqueue_while_gathering(self, gathering: Gathering, notify: bool) -> list[JobId]:
        """Write a portion, and gather the next one meanwhile; all in one transaction."""
        ids: list[JobId] = []
        with in_one_transaction(self._runner):
            while jobs := gathering.portion():
                notify = notify and all(job.notify for job in jobs)
                some = self._copy(jobs, notify, gathering.few)
                for chunk in portions.chunks(jobs) if some is None else ():
                    written = run(self._runner, calls.enqueue_many(chunk, notify))
                    ids += written
                ids += some or ()
        return ids

    def _copy(
        self, jobs: Sequence[Spec], notify: bool, meanwhile: Callable[[], None] | None = None
    ) -> list[JobId] | None:
        """Put them there by COPY and return their ids; None if that cannot be, or is not worth while."""
        if not (portions.are_for_copy(jobs) and self._runner.can_copy()):
            return None
        reserved = run(self._runner, calls.reserve(jobs, notify))
        if reserved is not None:
            run_copy(self._runner, reserved.copy(meanwhile))
        return None if reserved is None else reserved.ids

    def job(self, id: int) -> Job:
        """Look a job up, wherever it is. Raises JobNotFound."""
        return run(self._runner, calls.job(id))

    def jobs(
        self, status: Status | None = None, queue: str | None = None, task: str | None = None, limit: int = 50
    ) -> list[Job]:
        """List jobs, newest first, without their errors."""
        return run(self._runner, calls.jobs(status, queue, task, limit))

    def watch(self, ids: Iterable[int], take: Iterable[int] = (), let_go: Iterable[int] = ()) -> list[calls.Ending]:
        """List which of these jobs are over, and how; take and let go the locks by which a session says that it waits."""
        return run(self._runner, calls.watch(ids, take, let_go))

    def cancel(self, ids: Sequence[int], reason: str | None = None) -> Cancellation:
        """Cancel jobs that wait, ask those that run to stop, and return which is which."""
        return run(self._runner, calls.cancel(ids, reason))

    def failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """List the ids of dead letters that fit, smallest first, and change nothing."""
        return run(self._runner, calls.failed(filter, limit, after))

    def retry_failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """Make dead letters jobs again and return their ids. Raises JobNotFound when a named id is not there."""
        return run(self._runner, calls.retry_failed(filter, limit, after))

    def clear_failed(self, filter: Filter, limit: int, after: int = 0) -> list[int]:
        """Delete dead letters for good and return their ids. Raises JobNotFound when a named id is not there."""
        return run(self._runner, calls.clear_failed(filter, limit, after))

    def matching(self, filter: JobFilter, limit: int, after: int = 0) -> list[int]:
        """List the ids of live jobs that fit, smallest first, and change nothing."""
        return run(self._runner, calls.matching(filter, limit, after))

    def move(self, to_queue: str, filter: JobFilter, limit: int, after: int = 0) -> list[int]:
        """Put jobs that do not run into another queue and return their ids, smallest first."""
        return run(self._runner, calls.move(to_queue, filter, limit, after))

    def edit(self, id: int, edit: Edit) -> None:
        """Change a job that does not run. Raises JobNotFound, JobNotWaiting when it runs or is over."""
        return run(self._runner, calls.edit(id, edit))

    def pause(self, queue: str | None = None, task: str | None = None) -> None:
        """Start nothing of a queue, or of a task, until it is resumed."""
        return run(self._runner, calls.pause(queue, task))

    def resume(self, queue: str | None = None, task: str | None = None) -> None:
        """Let a paused queue or task run again."""
        return run(self._runner, calls.resume(queue, task))

    def resume_tasks(self, limit: int) -> int:
        """Take jobs of resumed tasks out of their lines again and return how many."""
        return run(self._runner, calls.resume_tasks(limit))

    def prune_history(self, older_than: timedelta, slot: int, limit: int, after: int = 0) -> calls.Pruned:
        """Delete what finished longer ago from one slot of the history, up to `limit` jobs unless it goes as a whole."""
        return run(self._runner, calls.prune_history(older_than, slot, limit, after))

    def task_overview(self) -> list[TaskStatus]:
        """Return one line per task that is paused or being resumed."""
        return run(self._runner, calls.task_overview())

    def cancel_where(self, filter: JobFilter, reason: str | None, limit: int, after: int = 0) -> Cancellation:
        """Cancel live jobs that fit, smallest ids first, as `cancel` does, and return which is which."""
        return run(self._runner, calls.cancel_where(filter, reason, limit, after))

    def whereabouts(self, ids: Sequence[int]) -> dict[int, Status]:
        """Tell the status of each of these jobs, wherever it is; those that never were, or were pruned, are absent."""
        return run(self._runner, calls.whereabouts(ids))

    def sweep(self, portions: Portions[T], told: Callable[[T], None] | None = None) -> list[T]:
        """Do something in portions, one statement each, and return what each returned; `told` hears it as it comes."""
        done: list[T] = []
        while (verb := portions.next()) is not None:
            done.append(verb(self))
            portions.took(done[-1])
            if told is not None:
                told(done[-1])
        return done

    def queue_overview(self) -> list[QueueStatus]:
        """Return one line per queue."""
        return run(self._runner, calls.queue_overview())

    def worker_overview(self) -> list[WorkerStatus]:
        """Return one line per worker."""
        return run(self._runner, calls.worker_overview())

    def check_schema(self) -> None:
        """Check that the schema fits this version. Raises SchemaTooOld or SchemaTooNew."""
        return run(self._runner, calls.check_schema())

    def now(self) -> datetime:
        """Return what time it is, by the clock that decides."""
        return run(self._runner, calls.now())

    def renew(self, worker: int, running: int, claims_since: str | None, stopping: bool) -> None:
        """Renew a worker's lease. Raises LeaseLost when it is gone."""
        return run(self._runner, calls.renew(worker, running, claims_since, stopping))

    def renew_many(self, supervisor: int | None, reports: Sequence[calls.Report]) -> list[int]:
        """Renew the leases of several workers at once and return those whose lease is gone."""
        return run(self._runner, calls.renew_many(supervisor, reports))

    def hold(self) -> int:
        """Show by a lock, for as long as this session lasts, that whoever renews on it is there; return the id to renew under."""
        return run(self._runner, calls.hold())

    def rescue(self, limit: int, dead: Sequence[int] = ()) -> calls.Rescued:
        """Take back jobs of lost workers; return how many go on and how many went to the dead letters."""
        return run(self._runner, calls.rescue(limit, dead))

    def prune(self) -> bool:
        """Empty the next slot of the history ring and return whether there was something in it."""
        return run(self._runner, calls.prune())

    def release(self, leases: Sequence[Lease]) -> calls.Step:
        """Give jobs of one worker back unstarted, not counted."""
        return run(self._runner, calls.release(leases))

    def cancel_asked(self, worker: int, limit: int) -> list[tuple[int, int, str | None]]:
        """List the runs of a worker that are asked to stop: id, run, reason."""
        return run(self._runner, calls.cancel_asked(worker, limit))

    def progress(self, leases: Sequence[Lease], said: Sequence[Progress]) -> calls.Step:
        """Write what runs of one worker say of their progress; return those that are locked for a moment."""
        return run(self._runner, calls.progress(leases, said))

    def register(
        self, name: str, host: str, pid: int, version: str, queues: Sequence[str], concurrency: int, lease: timedelta,
        on_failure: str | None = None,
    ) -> int:  # fmt: skip
        """Register a worker and return its id."""
        return run(self._runner, calls.register(name, host, pid, version, queues, concurrency, lease, on_failure))

    def leases(self, worker: int, limit: int) -> list[Lease]:
        """List what a worker holds, oldest claims first."""
        return run(self._runner, calls.leases(worker, limit))

    def resign(self, worker: int) -> int:
        """A worker leaves; return how many jobs it still holds because somebody had them locked."""
        return run(self._runner, calls.resign(worker))

    def claim(self, worker: int, limit: int, scan: calls.Scan) -> calls.Step:
        """Claim up to `limit` jobs that are due."""
        return run(self._runner, calls.claim(worker, limit, scan))

    def settle(self, worker: int, settlement: calls.Settlement) -> calls.Step:
        """Write outcomes, each only if its lease still stands."""
        return run(self._runner, calls.settle(worker, settlement))

    def settle_and_claim(self, worker: int, settlement: calls.Settlement, limit: int, scan: calls.Scan) -> calls.Step:
        """Write outcomes and claim up to `limit` jobs, in one round trip."""
        return run(self._runner, calls.settle_and_claim(worker, settlement, limit, scan))
