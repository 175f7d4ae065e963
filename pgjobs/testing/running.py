"""Runs a job of a stand-in to its outcome, by the worker's own runner and executors."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from pgjobs.hooks import Hooks
from pgjobs.job import Claimed, Lease
from pgjobs.outcome import Outcome
from pgjobs.task import ExecutorName, Task
from pgjobs.worker.events import Events
from pgjobs.worker.executors import Executor
from pgjobs.worker.executors.in_loop import AsyncExecutor
from pgjobs.worker.executors.in_thread import ThreadExecutor, _Work
from pgjobs.worker.run import Run
from pgjobs.worker.runner import Runner

Tasks = Mapping[str, Task[Any, Any]]


class InLoop:
    """Runs jobs in the caller's event loop, blocking functions in threads, as a worker does."""

    def __init__(self, tasks: Tasks, threads: ThreadExecutor | None = None) -> None:
        self._tasks = _here(tasks)
        self._threads = threads or ThreadExecutor()
        self._ends: dict[Lease, asyncio.Future[Outcome]] = {}
        self._executors: dict[ExecutorName, Executor] = {"async": AsyncExecutor(), "thread": self._threads}
        self._runner = Runner(self._executors, Events(Hooks()), lambda lease, progress: None, self._ended)

    async def run(self, job: Claimed, until: float) -> Outcome:
        """Run a job until this monotonic time at most."""
        run = Run(Lease(job.id, job.run, 0), job, self._tasks.get(job.task))
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._ends[run.lease] = ended
        for executor in self._executors.values():
            executor.home = None  # each job has the context of who runs it
        self._runner.start(run)
        try:
            await asyncio.wait([ended], timeout=max(0.0, until - time.monotonic()))
        finally:
            if not ended.done():
                self._runner.cut_short(run)
        return await ended

    def _ended(self, run: Run) -> None:
        ended = self._ends.pop(run.lease)
        if not ended.done():
            ended.set_result(run.outcome)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._threads.close()


class Blocking:
    """Runs jobs for a caller who has no event loop, or blocks it.

    The runner has a loop in a thread of its own, and so have coroutines. Blocking functions come back to the calling
    thread, which a test's own connections and settings may belong to. Nobody is left to stop those at a timeout.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._loop = InLoop(tasks, _CallingThread(self._calls))

    def run(self, job: Claimed, until: float) -> Outcome:
        """Run a job; a coroutine until this monotonic time at most."""
        ended: Future[Outcome] = Future()
        context = contextvars.copy_context()

        def aside() -> None:
            try:
                ended.set_result(context.run(asyncio.run, self._loop.run(job, until)))
            except BaseException as error:
                ended.set_exception(error)
            finally:
                self._calls.put(None)

        thread = threading.Thread(target=aside, name="pgjobs testing", daemon=True)
        thread.start()
        while (call := self._calls.get()) is not None:
            call()
        thread.join()
        return ended.result()


class _CallingThread(ThreadExecutor):
    """An executor for blocking functions, which somebody else takes out of a queue and calls."""

    def __init__(self, calls: SimpleQueue[Callable[[], object] | None]) -> None:
        super().__init__()
        self._calls = calls

    def cut_short(self, run: Run) -> None:
        """Ask it to stop, and wait for it: it cannot be left behind, it has the caller's thread."""
        self.cancel(run)

    def _hand_over(self, work: _Work) -> None:
        self._calls.put(work.do)


def _here(tasks: Tasks) -> dict[str, Task[Any, Any]]:
    """The tasks, those for child processes as ones for this: a child would not see what a test has set up."""
    here = dict(tasks)
    for name, task in tasks.items():
        if task.options_.executor == "process":
            here[name] = copy.copy(task)
            here[name].options_ = dataclasses.replace(
                task.options_, executor="async" if task.is_coroutine else "thread"
            )
    return here
