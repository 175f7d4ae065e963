"""Runs claimed jobs to their outcomes, whatever happens inside them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

from pgjobs.context import JobInterrupted
from pgjobs.errors import JobTimeout, MemoryExceeded, ProcessDied
from pgjobs.job import Lease, Progress
from pgjobs.outcome import Cancelled, Failed, Outcome, Release, Snoozed
from pgjobs.task import ExecutorName
from pgjobs.worker.events import Events
from pgjobs.worker.executors import Executor
from pgjobs.worker.run import Run, make_context

log = logging.getLogger("pgjobs.worker")

# Failures that executors put into words themselves, and the exceptions that policies know them by.
_OURS: dict[str, type[BaseException]] = {
    kind.__name__: kind for kind in (JobTimeout, ProcessDied, MemoryExceeded, JobInterrupted)
}

UNKNOWN_FIRST = 5.0  # seconds until a job that this worker's code cannot do is looked at again; doubles with every run
UNKNOWN_MOST = 3600.0


class Runner:
    """Hands runs to the executors of their tasks, and makes outcomes of whatever comes back.

    Arguments: report, called from any thread with what a handler says of its progress; ended, called in the event loop
    with each run when it has its outcome.
    """

    def __init__(
        self, executors: Mapping[ExecutorName, Executor], events: Events,
        report: Callable[[Lease, Progress], None], ended: Callable[[Run], None],
    ) -> None:  # fmt: skip
        self._executors = executors
        self._events = events
        self._report = report
        self._over = ended
        for executor in executors.values():
            executor.ended = self._ended

    def start(self, run: Run) -> None:
        """Start a run. It may have ended when this returns."""
        task, job = run.task, run.job
        if task is None:
            self._leave(run, f"has no task {job.task!r}. Is it started with the right --app?")
            return
        if job.version is not None and job.version > task.version:
            self._leave(run, f"has {job.task} at version {task.version}, and its payload is of version {job.version}")
            return
        if task.shows_context or self._events.watches:
            try:
                run.context = make_context(job, task)
                run.context._report = partial(self._report, run.lease)
                if self._events.watches:
                    self._events.started(run)
            except BaseException as error:
                self._ended(run, task.options_.policy.outcome(error, job.attempts + 1))
                return
        self._executors[task.options_.executor].start(run)

    def cancel(self, run: Run, reason: str | None) -> bool:
        """Stop a run, or ask it to where it cannot be stopped; once. Return whether that was news."""
        if run.asked is not None:
            return False
        run.asked = Cancelled(reason)
        assert run.task is not None
        self._executors[run.task.options_.executor].cancel(run)
        return True

    def cut_short(self, run: Run) -> None:
        """Cut a run short; its outcome is to give it back."""
        assert run.task is not None
        self._executors[run.task.options_.executor].cut_short(run)

    def _ended(self, run: Run, outcome: Outcome) -> None:
        if type(outcome) is Release:
            if run.asked is not None:
                outcome = run.asked
        elif type(outcome) is Failed:
            outcome = self._failed(run, outcome)
        run.outcome = outcome
        run.work = None
        if run.watch is not None:
            self._events.ended(run)
        self._over(run)

    def _failed(self, run: Run, failed: Failed) -> Failed:
        """Log a failure; return it with what the task's policy says, if we put it into words: others were judged already."""
        job = run.job
        kind = _OURS.get(failed.error)
        if kind is not None and run.task is not None:
            failed = run.task.options_.policy.judge(failed, kind(failed.message), job.attempts + 1)
        log.warning("job %d (%s): attempt %d failed: %s: %s", job.id, job.task, job.attempts + 1,
                    failed.error, failed.message[:500], extra=job.fields)  # fmt: skip
        return failed

    def _leave(self, run: Run, why: str) -> None:
        # Not counted: during a deploy another worker, or this one's successor, can do it. The run counts the tries.
        job = run.job
        delay = timedelta(seconds=min(UNKNOWN_FIRST * 2 ** min(job.run - 1, 20), UNKNOWN_MOST))
        log.warning("job %d is left for %s: this worker %s", job.id, delay, why, extra=job.fields)
        self._ended(run, Snoozed(delay))
