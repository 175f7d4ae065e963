"""The thread executor: blocking functions, each in a thread of the worker's process.

Not concurrent.futures: its threads are joined at the interpreter's exit, so one handler that never returns would keep
a stopped worker alive for ever. These are daemons; an abandoned one ends with the process.
"""

from __future__ import annotations

import asyncio
import contextvars
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
from pgjobs.worker.executors.in_loop import timed_out

ASKED_FOR = 1.0  # seconds a thread that is asked to stop may take before it is abandoned


class ThreadExecutor:
    """Threads made when first needed, up to the worker's concurrency, and used again."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = 0
        self._idle = 0  # threads without work, as the event loop sees them

    async def run(self, task: Task[Any, Any], job: Claimed, arguments: dict[str, Any], context: JobContext) -> Outcome:
        """Run a function in a thread. A thread cannot be stopped: at its timeout, or when cut short, it is asked to."""
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[Outcome] = loop.create_future()
        inherited = contextvars.copy_context()

        def settle(outcome: Outcome) -> None:
            self._idle += 1
            if not finished.done():
                finished.set_result(outcome)

        def work() -> None:
            outcome = inherited.run(_call, task, arguments, context)
            with suppress(RuntimeError):  # the loop is gone: this run was abandoned, it is no longer ours to settle
                loop.call_soon_threadsafe(settle, outcome)

        if self._idle:
            self._idle -= 1
        else:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"pgjobs thread {self._threads}", daemon=True).start()
        self._work.put(work)
        try:
            return await asyncio.shield(finished)
        except asyncio.CancelledError:
            context._ask_to_stop()
            await asyncio.wait([finished], timeout=ASKED_FOR)
            if finished.done():
                return finished.result()  # it obeyed, or came to its end
            raise

    async def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _call(task: Task[Any, Any], arguments: dict[str, Any], context: JobContext) -> Outcome:
    try:
        with task.around(context) as around:
            around.result = task.function(**task.bind(arguments, context))
        return Done(encode_result(around.result, task=task.name))
    except JobInterrupted:
        return timed_out(context) if context.expired else Release()
    except BaseException as error:
        return task.options_.policy.outcome(error, context.attempt)
