"""Where handlers run: in the event loop, in threads, in child processes. One interface, three sets of promises.

            on timeout              on a cut-short run        a crash of the handler
async       cancelled               cancelled                 takes the worker along
thread      asked (JobContext)      asked, then abandoned     takes the worker along
process     killed                  killed                    a failed attempt; the child is replaced
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from pgjobs.context import JobContext
from pgjobs.job import Claimed
from pgjobs.outcome import Outcome
from pgjobs.task import Task


class Executor(Protocol):
    """Runs handlers. `run` returns an outcome or raises what the handler raised; cancelling it cuts the run short."""

    async def run(
        self, task: Task[Any, Any], job: Claimed, arguments: dict[str, Any], context: JobContext
    ) -> Outcome: ...

    def cancel(self, context: JobContext, running: asyncio.Task[Any]) -> None:
        """Stop this run, or ask it to; its `run` goes on until it has come to its end."""

    async def close(self) -> None:
        """Let go of everything; nothing runs any more, or is abandoned."""
