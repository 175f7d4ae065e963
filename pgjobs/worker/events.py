"""What hooks are told of a run: that it starts, that it failed, and what came of it once that is written and not before."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pgjobs.hooks import Hooks
from pgjobs.job import Claimed, Lease, Progress
from pgjobs.outcome import Done, Failed
from pgjobs.task import Task
from pgjobs.worker.runner import Runner, make_context
from pgjobs.worker.settler import Ending, Entry
from pgjobs.worker.teller import Teller


class Events:
    """Turns what happens to runs into events, and has them told."""

    def __init__(self, hooks: Hooks) -> None:
        self.teller = Teller(hooks)
        self.wanted = False

    def begin(self, worker: int) -> None:
        """Tell from now on, as this worker, if there are hooks."""
        self.teller.worker = worker
        self.wanted = bool(self.teller)

    async def told(
        self, runner: Runner, lease: Lease, job: Claimed, task: Task[Any, Any] | None,
        report: Callable[[Progress], None],
    ) -> Entry:  # fmt: skip
        """Run a job, and tell that it starts and how it failed."""
        context = None
        with suppress(Exception):  # what is wrong with the job, the runner will say
            context = None if task is None else make_context(job, task)
        began = time.monotonic()
        if context is not None:
            self.teller.tell("start", context)
        outcome = await runner.run(job, context, report)
        seconds = time.monotonic() - began
        if type(outcome) is Failed:
            self.teller.tell("error", context, outcome, seconds)
        return Entry(lease, job, outcome, task, context, seconds)

    def settled(self, entry: Entry, ending: Ending) -> None:
        """Tell what was written. That it was cancelled, whatever came of it, no hook wants to know."""
        if type(entry.outcome) is Done:
            self.teller.tell("success", entry.context, entry.outcome, entry.seconds)
        elif type(entry.outcome) is Failed and ending != "cancelled":
            self.teller.tell("failure" if ending == "dead" else "retry", entry.context, entry.outcome, entry.seconds)
