"""What the three executors have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from pgjobs.context import JobContext
from pgjobs.job import Claimed
from pgjobs.outcome import Failed, Outcome, Release
from pgjobs.task import Task
from pgjobs.worker.run import Run, make_context


class Executor(ABC):
    """Runs handlers. All of its methods are called in the event loop."""

    # Who is told, in the event loop, of each run that was started and has ended: once, whatever happens.
    ended: Callable[[Run, Outcome], None]

    @abstractmethod
    def start(self, run: Run) -> None:
        """Start a run; never raises."""

    @abstractmethod
    def cancel(self, run: Run) -> None:
        """Stop this run, or ask it to; it goes on until it has come to its end."""

    @abstractmethod
    def cut_short(self, run: Run) -> None:
        """Stop this run, or ask it to and let go of it a moment later; unless it has come to an end, it is given back."""

    async def close(self) -> None:  # noqa: B027
        """Let go of everything; nothing runs any more, or is abandoned."""


class Awaiting(Executor):
    """One whose runs are awaited, each by an asyncio task."""

    def start(self, run: Run) -> None:
        """Begin with the next turn of the event loop."""
        run.work = asyncio.Task(self._await(run))

    def cut_short(self, run: Run) -> None:
        """Cancel the waiting."""
        run.work.cancel()

    @abstractmethod
    async def run(self, task: Task[Any, Any], job: Claimed, context: JobContext) -> Outcome:
        """Run a handler."""

    async def _await(self, run: Run) -> None:
        task, job = run.task, run.job
        assert task is not None
        try:
            context = run.context = run.context or make_context(job, task)
            outcome = await self.run(task, job, context)
        except asyncio.CancelledError:
            if run.context is not None and run.context.expired:
                outcome = Failed("JobTimeout", f"it ran longer than its timeout of {run.context.timeout}")
            else:
                outcome = Release()
        except BaseException as error:
            outcome = task.options_.policy.outcome(error, job.attempts + 1)
        self.ended(run, outcome)
