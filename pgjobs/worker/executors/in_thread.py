"""The thread executor: blocking functions, each in a thread of the worker's process.

A thread cannot be stopped from outside. It is asked (`job.cancelled`, `job.check()`, a generator between its yields); a
task that said `interrupt=True` has JobInterrupted raised in it, wherever its Python code is, and then its thread is not
used again. One that does not stop within a second is stuck: it keeps its lease and its slot, and is counted.

Not concurrent.futures: its threads are joined at the interpreter's exit, so one handler that never returns would keep
a stopped worker alive for ever. These are daemons; an abandoned one ends with the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from pgjobs.context import JobContext, JobInterrupted
from pgjobs.job import Claimed
from pgjobs.outcome import Done, Outcome, Release
from pgjobs.payload import encode_result
from pgjobs.task import Task
from pgjobs.worker.executors.calling import call, end_fork
from pgjobs.worker.executors.in_loop import timed_out

log = logging.getLogger("pgjobs.worker")

ASKED_FOR = 1.0  # seconds a thread that is asked to stop may take before it counts as stuck, or is abandoned


class ThreadExecutor:
    """Threads made when first needed, up to the worker's concurrency, and used again.

    Arguments: on_stuck, called in the event loop whenever a thread does not stop though it was asked to.
    """

    def __init__(self, on_stuck: Callable[[], None] = lambda: None) -> None:
        self.stuck: set[_Run] = set()
        self._on_stuck = on_stuck
        self._work: SimpleQueue[_Run | None] = SimpleQueue()
        self._runs: dict[tuple[int, int], _Run] = {}
        self._threads = 0
        self._idle = 0  # threads without work, as the event loop sees them

    async def run(self, task: Task[Any, Any], job: Claimed, arguments: dict[str, Any], context: JobContext) -> Outcome:
        """Run a function in a thread. At its timeout, or when cut short, it is asked to stop."""
        run = _Run(task, arguments, context, self._settle)
        key = (context.id, context.run)
        self._runs[key] = run
        self._hand_over(run)
        limit = None
        if context.timeout is not None:
            limit = run.loop.call_later(context.timeout.total_seconds(), self._ask, run)
        try:
            return await asyncio.shield(run.finished)
        except asyncio.CancelledError:
            self._ask(run)
            await asyncio.wait([run.finished], timeout=ASKED_FOR)
            if run.finished.done():
                return run.finished.result()  # it obeyed, or came to its end
            raise
        finally:
            del self._runs[key]
            if limit is not None:
                limit.cancel()

    def cancel(self, context: JobContext, running: asyncio.Task[Any]) -> None:
        """Ask the thread to stop, and go on waiting for it."""
        run = self._runs.get((context.id, context.run))
        if run is not None:
            self._ask(run)

    async def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._work.put(None)

    def _hand_over(self, run: _Run) -> None:
        if self._idle:
            self._idle -= 1
        else:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"pgjobs thread {self._threads}", daemon=True).start()
        self._work.put(run)

    def _serve(self) -> None:
        with suppress(JobInterrupted):  # it may strike late; by then the outcome is told
            while (run := self._work.get()) is not None and run.do():
                pass

    def _settle(self, run: _Run, outcome: Outcome) -> None:
        if run.settled:
            return  # an interruption struck while it was told, and it was told again
        run.settled = True
        if run.interrupted:
            self._threads -= 1
        else:
            self._idle += 1
        if run in self.stuck:
            self.stuck.discard(run)
            log.warning("job %d (%s): its thread has come to an end after all", run.context.id, run.context.task)
        if not run.finished.done():
            run.finished.set_result(outcome)

    def _ask(self, run: _Run) -> None:
        run.context._ask_to_stop()
        if run.task.options_.interrupt:
            run.interrupt()
        if not run.asked:
            run.asked = True
            run.loop.call_later(ASKED_FOR, self._look_after, run)

    def _look_after(self, run: _Run) -> None:
        if not run.settled:
            self.stuck.add(run)
            log.warning(
                "job %d (%s): its thread was asked to stop and does not; it keeps its slot. Let the handler call"
                " job.check(), or give the task executor='process'", run.context.id, run.context.task,
            )  # fmt: skip
            self._on_stuck()


class _Run:
    """One run in a thread, seen from both sides."""

    def __init__(
        self, task: Task[Any, Any], arguments: dict[str, Any], context: JobContext,
        settle: Callable[[_Run, Outcome], None],
    ) -> None:  # fmt: skip
        self.task = task
        self.context = context
        self.loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[Outcome] = self.loop.create_future()
        self.asked = self.settled = False
        self.interrupted = False
        self._arguments = arguments
        self._variables = contextvars.copy_context()
        self._settle = settle
        self._thread: int | None = None
        self._over = False

    def do(self) -> bool:
        """Run in the calling thread and tell the outcome; return whether the thread may be used again."""
        outcome: Outcome | None = None
        while True:
            try:
                self._thread = threading.get_ident()
                if outcome is None and self.context.cancelled and self.task.options_.interrupt:
                    outcome = _stopped(self.context)  # asked before it began: then there was no thread to interrupt yet
                if outcome is None:
                    pid = os.getpid()
                    outcome = self._variables.run(_call, self.task, self._arguments, self.context)
                    if os.getpid() != pid:
                        end_fork(outcome)
                # I write `over` and read `interrupted`, the loop the other way round: one of us sees the other.
                self._over = True
                with suppress(RuntimeError):  # the loop is gone: this run was abandoned, it is no longer ours to settle
                    self.loop.call_soon_threadsafe(self._settle, self, outcome)
                return not self.interrupted
            except JobInterrupted:  # just when the handler had come back; it strikes once
                outcome = outcome or _stopped(self.context)

    def interrupt(self) -> None:
        """Raise JobInterrupted in the thread, unless the handler has come back."""
        if self.interrupted or self._thread is None or self._over:
            return
        self.interrupted = True
        if not self._over:
            import ctypes

            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(JobInterrupted))


def _call(task: Task[Any, Any], arguments: dict[str, Any], context: JobContext) -> Outcome:
    try:
        return Done(encode_result(call(task, arguments, context), task=task.name))
    except JobInterrupted as error:
        return _stopped(context) if context.cancelled else task.options_.policy.outcome(error, context.attempt)
    except BaseException as error:
        return task.options_.policy.outcome(error, context.attempt)


def _stopped(context: JobContext) -> Outcome:
    return timed_out(context) if context.expired else Release()
