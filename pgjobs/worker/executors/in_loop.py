"""The async executor: coroutines in the worker's event loop."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from pgjobs.context import JobContext
from pgjobs.errors import JobTimeout
from pgjobs.job import Claimed
from pgjobs.outcome import Done, Failed, Outcome, from_exception
from pgjobs.payload import encode_result
from pgjobs.task import Task
from pgjobs.worker.executors.calling import acall, end_fork


class AsyncExecutor:
    """Awaits the handler; the caller gives each job an asyncio task, and so a context, of its own."""

    async def run(self, task: Task[Any, Any], job: Claimed, arguments: dict[str, Any], context: JobContext) -> Outcome:
        """Run a coroutine function; at its timeout it is cancelled and fails."""
        pid = os.getpid()
        try:
            if context.timeout is None:
                result = await acall(task, arguments, context)
            else:
                async with asyncio.timeout(context.timeout.total_seconds()) as limit:
                    result = await acall(task, arguments, context)
        except TimeoutError:
            if context.timeout is None or not limit.expired():
                raise  # the handler's own
            return timed_out(context)
        except BaseException as error:
            if os.getpid() != pid:
                end_fork(from_exception(error))
            raise
        if os.getpid() != pid:
            end_fork(Done())
        return Done(encode_result(result, task=task.name))

    def cancel(self, context: JobContext, running: asyncio.Task[Any]) -> None:
        """Cancel the coroutine; it may clean up in its `finally` blocks."""
        context._ask_to_stop()
        running.cancel()

    async def close(self) -> None:
        """Nothing to let go of."""


def timed_out(context: JobContext) -> Failed:
    """Return the outcome of a run that was stopped at its timeout."""
    return Failed(JobTimeout.__name__, f"it ran longer than its timeout of {context.timeout}")
