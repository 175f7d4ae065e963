"""Runs one claimed job to its outcome, whatever happens inside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from pgjobs.context import JobContext, JobInterrupted
from pgjobs.errors import JobTimeout, MemoryExceeded, ProcessDied
from pgjobs.job import Claimed, Progress
from pgjobs.middleware import Around, log_runs
from pgjobs.outcome import Cancelled, Failed, Outcome, Release, Snoozed
from pgjobs.payload import decode
from pgjobs.task import ExecutorName, Task
from pgjobs.worker.executors import Executor
from pgjobs.worker.executors.in_loop import timed_out

log = logging.getLogger("pgjobs.worker")

# Failures that executors put into words themselves, and the exceptions that policies know them by.
_OURS: dict[str, type[BaseException]] = {
    kind.__name__: kind for kind in (JobTimeout, ProcessDied, MemoryExceeded, JobInterrupted)
}

UNKNOWN_FIRST = 5.0  # seconds until a job that this worker's code cannot do is looked at again; doubles with every run
UNKNOWN_MOST = 3600.0


class Runner:
    """Finds the task of a job, hands it to its executor, and makes an outcome of whatever comes back."""

    def __init__(self, tasks: Mapping[str, Task[Any, Any]], executors: Mapping[ExecutorName, Executor]) -> None:
        self._tasks = tasks
        self._executors = executors
        self._runs: dict[tuple[int, int], tuple[JobContext, Executor]] = {}
        self._asked: dict[tuple[int, int], str | None] = {}  # who of them is asked to stop, and why
        # At this level every run is worth a line when it starts and one when it ends.
        self._logged = logging.getLogger("pgjobs.task").isEnabledFor(logging.DEBUG)

    async def run(
        self,
        job: Claimed,
        context: JobContext | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> Outcome:
        """Run the job and return its outcome. Cancelling this coroutine cuts the run short; the outcome is Release.

        Arguments: report is called with what the handler says of its progress, from any thread.
        """
        task = self._tasks.get(job.task)
        if task is None:
            return _not_yet(job, f"has no task {job.task!r}. Is it started with the right --app?")
        if job.version is not None and job.version > task.version:
            return _not_yet(
                job, f"has {job.task} at version {task.version}, and its payload is of version {job.version}"
            )
        key = (job.id, job.run)
        try:
            context = context or make_context(job, task)
            context._report = report
            arguments = task.present(decode(job.payload), job.version)
            executor = self._executors[task.options_.executor]
            self._runs[key] = context, executor
            if self._logged:
                with Around((log_runs,), context) as around:
                    around.result = await executor.run(task, job, arguments, context)
                outcome = cast(Outcome, around.result)
            else:
                outcome = await executor.run(task, job, arguments, context)
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is None or not current.cancelling():
                # Nobody cancelled us: the handler raised it by itself, and that is a failure like any other.
                outcome = Failed("asyncio.CancelledError", "the handler was cancelled from within")
                outcome = task.options_.policy.judge(outcome, error, job.attempts + 1)
            elif context is not None and context.expired:
                # A thread that was asked long ago, and is now left to itself.
                outcome = _judged(timed_out(context), task, job)
            else:
                outcome = Release()
        except BaseException as error:
            outcome = task.options_.policy.outcome(error, job.attempts + 1)
        else:
            if type(outcome) is Failed:
                outcome = _judged(outcome, task, job)
        finally:
            self._runs.pop(key, None)
        if self._asked and key in self._asked:
            reason = self._asked.pop(key)
            if type(outcome) is Release:
                outcome = Cancelled(reason)
        if type(outcome) is Failed:
            log.warning("job %d (%s): attempt %d failed: %s: %s", job.id, job.task, job.attempts + 1,
                        outcome.error, outcome.message[:500], extra=job.fields)  # fmt: skip
        return outcome

    def cancel(self, id: int, run: int, reason: str | None, running: asyncio.Task[Any]) -> bool:
        """Stop a run, or ask it to where it cannot be stopped; once. Return whether that was news.

        Arguments: running, the asyncio task that awaits `run`.
        """
        key = (id, run)
        if key not in self._runs or key in self._asked:
            return False
        self._asked[key] = reason
        context, executor = self._runs[key]
        executor.cancel(context, running)
        return True


def _judged(failed: Failed, task: Task[Any, Any], job: Claimed) -> Failed:
    """Return a failure with what the task's policy says, if it is one that we put into words; others were judged already."""
    kind = _OURS.get(failed.error)
    return failed if kind is None else task.options_.policy.judge(failed, kind(failed.message), job.attempts + 1)


def make_context(job: Claimed, task: Task[Any, Any]) -> JobContext:
    """Return what the handler can know about its run."""
    options = task.options_
    return JobContext(
        job.id, job.run, job.queue, job.task, job.attempts + 1,
        options.max_attempts if job.max_attempts is None else job.max_attempts,
        datetime.fromisoformat(job.enqueued_at), datetime.now(UTC),
        options.timeout if job.timeout is None else timedelta(seconds=job.timeout),
        None if job.metadata is None else decode(job.metadata),
    )  # fmt: skip


def _not_yet(job: Claimed, why: str) -> Outcome:
    # Not counted: during a deploy another worker, or this one's successor, can do it. The run counts the tries.
    delay = timedelta(seconds=min(UNKNOWN_FIRST * 2 ** min(job.run - 1, 20), UNKNOWN_MOST))
    log.warning("job %d is left for %s: this worker %s", job.id, delay, why, extra=job.fields)
    return Snoozed(delay)
