"""The async executor: coroutines in the worker's event loop."""

from __future__ import annotations

import asyncio
import inspect
from datetime import timedelta

from pgjobs.errors import JobTimeout
from pgjobs.outcome import Done, Failed, Outcome, Release
from pgjobs.payload import encode_result
from pgjobs.worker.executors.calling import acall, end_fork, forks
from pgjobs.worker.executors.executor import Executor
from pgjobs.worker.run import Run

DONE = Done()  # most handlers return nothing


class AsyncExecutor(Executor):
    """Awaits each handler in an asyncio task of its own, and so in a context of its own; cancelled at its timeout."""

    def start(self, run: Run) -> None:
        """Begin with the next turn of the event loop."""
        task, timeout = run.task, run.timeout
        assert task is not None
        plain = timeout is None and task.is_plain
        # Not by the loop's create_task: an application's loop may have a task factory that begins to run at once.
        run.work = asyncio.Task(
            self._run(run) if plain else self._run_within(run, timeout), name=task.name, context=self.fresh_context()
        )

    def cancel(self, run: Run) -> None:
        """Cancel the coroutine; it may clean up in its `finally` blocks."""
        if run.context is not None:
            run.context._ask_to_stop()
        self.cut_short(run)

    def cut_short(self, run: Run) -> None:
        """Cancel the coroutine; one that has not begun never will."""
        running: asyncio.Task[None] = run.work
        begun = inspect.getcoroutinestate(running.get_coro()) != inspect.CORO_CREATED  # type: ignore[arg-type]
        running.cancel()
        if not begun:
            self.ended(run, Release())

    async def _run(self, run: Run) -> None:
        """Run a coroutine function, and nothing around it: most jobs are no more."""
        task, job = run.task, run.job
        assert task is not None
        before = forks.count
        outcome: Outcome
        try:
            result = await task.function(**task.arguments(job.payload, job.version, run.context))
            outcome = DONE if result is None else Done(encode_result(result, task=task.name))
        except BaseException as error:
            outcome = _raised(run, error)
        if forks.count != before:
            end_fork(outcome)
        self.ended(run, outcome)

    async def _run_within(self, run: Run, timeout: timedelta | None) -> None:
        """Run it within its timeout and the app's middleware."""
        task, job = run.task, run.job
        assert task is not None
        before = forks.count
        outcome: Outcome
        limit = asyncio.timeout(None if timeout is None else timeout.total_seconds())
        try:
            async with limit:
                result = await acall(task, job.payload, job.version, run.context)
            outcome = Done(encode_result(result, task=task.name))
        except BaseException as error:
            ours = isinstance(error, TimeoutError) and limit.expired()
            outcome = timed_out(timeout) if ours else _raised(run, error)
        if forks.count != before:
            end_fork(outcome)
        self.ended(run, outcome)


def _raised(run: Run, error: BaseException) -> Outcome:
    task, attempt = run.task, run.job.attempts + 1
    assert task is not None
    if not isinstance(error, asyncio.CancelledError):
        return task.options_.policy.outcome(error, attempt)
    current = asyncio.current_task()
    if current is not None and current.cancelling():
        return Release()
    # Nobody cancelled us: the handler raised it by itself, and that is a failure like any other.
    failed = Failed("asyncio.CancelledError", "the handler was cancelled from within")
    return task.options_.policy.judge(failed, error, attempt)


def timed_out(timeout: timedelta | None) -> Failed:
    """Return the outcome of a run that was stopped at its timeout."""
    return Failed(JobTimeout.__name__, f"it ran longer than its timeout of {timeout}")
