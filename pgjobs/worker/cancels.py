"""Requests to cancel: the worker asks which of its runs somebody wants stopped, when it is told and about once a second."""

from __future__ import annotations

import logging
import time

from pgjobs.job import Lease
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.runs import Runs

log = logging.getLogger("pgjobs.worker")

ASK_EVERY = 1.0  # seconds, while something runs, though nobody says that there is something to cancel (I9)


class Cancels:
    """Asks, and has the runs stopped. Not asked while nothing runs."""

    def __init__(self, claimer: Claimer, runs: Runs) -> None:
        self.due_at = 0.0
        self._claimer = claimer
        self._runs = runs

    def later(self) -> None:
        """Ask in a while: what begins now, nobody has asked to stop."""
        self.due_at = time.monotonic() + ASK_EVERY

    def now(self) -> None:
        """Ask at once: somebody says that there is something to cancel."""
        self.due_at = 0.0

    async def step(self) -> None:
        """Ask if it is time, and stop those runs."""
        if not self._runs or time.monotonic() < self.due_at:
            return
        self.later()
        for id, run, why in await self._claimer.cancel_asked():
            if self._runs.cancel(Lease(id, run, self._claimer.worker), why):
                log.info("job %d: run %d is to be cancelled%s", id, run, f": {why}" if why else "")
