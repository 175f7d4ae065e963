"""Runs a job of a stand-in to its outcome, by the worker's own runner."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import Any, Self

from pgjobs.context import JobContext
from pgjobs.job import Claimed
from pgjobs.outcome import Outcome
from pgjobs.task import Task
from pgjobs.worker.executors import Executor
from pgjobs.worker.executors.in_loop import AsyncExecutor
from pgjobs.worker.executors.in_thread import ThreadExecutor, _call
from pgjobs.worker.runner import Runner

Tasks = Mapping[str, Task[Any, Any]]


class Blocking:
    """Runs jobs in the calling thread, which a test's own connections and settings may belong to.

    Coroutines get an event loop, blocking functions none, so that they may start one. Nobody is left who could stop
    the latter at a timeout; `job.check()` sees it.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._runner = Runner(tasks, _executors(_InPlace()))
        self._loop = asyncio.Runner()

    def run(self, job: Claimed, until: float) -> Outcome:
        """Run a job; a coroutine until this monotonic time at most."""
        task = self._tasks.get(job.task)
        context = contextvars.copy_context()
        if task is None or not task.is_coroutine:
            return context.run(_finish, self._runner, job)
        if _in_a_loop():
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(context.run, Blocking._run_apart, self._tasks, job, until).result()
        return self._loop.run(_bounded(self._runner, job, until), context=context)

    def close(self) -> None:
        """End the event loop, if there was need for one."""
        self._loop.close()

    @staticmethod
    def _run_apart(tasks: Tasks, job: Claimed, until: float) -> Outcome:
        with closing(Blocking(tasks)) as blocking:
            return blocking.run(job, until)


class InLoop:
    """Runs jobs in the caller's event loop, blocking functions in threads, as a worker does."""

    def __init__(self, tasks: Tasks) -> None:
        self._threads = ThreadExecutor()
        self._runner = Runner(tasks, _executors(_Either(self._threads)))

    async def run(self, job: Claimed, until: float) -> Outcome:
        """Run a job until this monotonic time at most."""
        return await _bounded(self._runner, job, until)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._threads.close()


class _InPlace:
    """An executor that calls the function where it stands."""

    async def run(self, task: Task[Any, Any], job: Claimed, arguments: dict[str, Any], context: JobContext) -> Outcome:
        if task.is_coroutine:
            return await AsyncExecutor().run(task, job, arguments, context)
        return _call(task, arguments, context)

    async def close(self) -> None: ...


class _Either:
    """The executors of a worker but for the process executor: a child would not see what a test has set up."""

    def __init__(self, threads: ThreadExecutor) -> None:
        self._threads = threads

    async def run(self, task: Task[Any, Any], job: Claimed, arguments: dict[str, Any], context: JobContext) -> Outcome:
        executor: Executor = AsyncExecutor() if task.is_coroutine else self._threads
        return await executor.run(task, job, arguments, context)

    async def close(self) -> None: ...


def _executors(executor: Executor) -> dict[Any, Executor]:
    return dict.fromkeys(("async", "thread", "process"), executor)


def _finish(runner: Runner, job: Claimed) -> Outcome:
    """Run what never waits, without an event loop."""
    running = runner.run(job)
    try:
        running.send(None)
    except StopIteration as ended:
        outcome: Outcome = ended.value
        return outcome
    raise AssertionError("a blocking function was awaited")


async def _bounded(runner: Runner, job: Claimed, until: float) -> Outcome:
    running = asyncio.create_task(runner.run(job))
    try:
        await asyncio.wait([running], timeout=max(0.0, until - time.monotonic()))
    finally:
        running.cancel()  # or it is done: then this does nothing
    return await running


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
