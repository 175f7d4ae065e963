"""The runs under way in a worker. Each begins in a slot, and ends in the outbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pgjobs.job import Claimed, Lease
from pgjobs.outcome import Release
from pgjobs.task import ExecutorName, Task
from pgjobs.worker.ahead import Ahead
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.events import Events
from pgjobs.worker.executors import Executor
from pgjobs.worker.run import Run
from pgjobs.worker.runner import Runner
from pgjobs.worker.settler import Entry
from pgjobs.worker.slots import Slots
from pgjobs.worker.stop import Stop
from pgjobs.worker.strays import Strays


class Runs:
    """Starts what was claimed where there is a slot, and hands its outcome over to the claimer.

    Arguments: on_end, called in the event loop whenever a run has ended.
    """

    def __init__(
        self, tasks: Mapping[str, Task[Any, Any]], executors: Mapping[ExecutorName, Executor], slots: Slots,
        claimer: Claimer, events: Events, stop: Stop, on_end: Callable[[], None],
    ) -> None:  # fmt: skip
        self.strays = Strays()
        self.ahead = Ahead()
        self._tasks = tasks
        self._runner = Runner(executors, events, claimer.board.say, self._ended)
        self._slots = slots
        self._claimer = claimer
        self._outbox = claimer.outbox
        self._stop = stop
        self._on_end = on_end
        self._running: dict[Lease, Run] = {}
        self._vacant = 0  # slots for which something claimed ahead is being started
        self._none_left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, lease: Lease, job: Claimed, until: float | None = None) -> None:
        """Start a job; without a slot for it, it is held for a moment, or until this monotonic time."""
        task = self._tasks.get(job.task)
        if task is not None and not self._slots.take(job.queue, task.options_.executor):
            self.strays.hold(lease, job, until)
            return
        self._running[lease] = run = Run(lease, job, task)
        self._runner.start(run)

    def hold(self, jobs: list[tuple[Lease, Claimed]]) -> None:
        """Keep these jobs until there are slots for them."""
        self.ahead.hold(jobs, time.monotonic())

    def begin(self, free: int) -> None:
        """Start so many of them."""
        for _ in range(min(free, len(self.ahead))):
            self._start_ahead()

    def give_back(self) -> None:
        """Give back, uncounted, what was claimed and has not begun."""
        for lease, job in self.ahead.give_up():
            self._outbox.put(Entry(lease, job, Release(), self._tasks.get(job.task)))

    def cancel(self, lease: Lease, reason: str | None) -> bool:
        """Stop a run that somebody wants cancelled, or ask it to stop; once. Return whether that was news."""
        run = self._running.get(lease)
        return run is not None and self._runner.cancel(run, reason)

    def cut_short(self) -> None:
        """Cut short what runs; its outcome is to give it back, like what has not begun."""
        self.give_back()
        for run in list(self._running.values()):
            if run.lease in self._running:  # the end of one may show that of another
                self._runner.cut_short(run)

    async def ended(self, timeout: float) -> None:
        """Wait until all of them have ended, or the time is up."""
        self._none_left.clear()
        if self._running:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), timeout)

    def let_go(self) -> None:
        """Give back, uncounted, what found no slot in time; and at a stop all of it."""
        if self.ahead and (self._stop or time.monotonic() >= self.ahead.late_at()):
            self.give_back()
        for lease, job in self.strays.take_late(all=bool(self._stop)):
            self._outbox.put(Entry(lease, job, Release(), self._tasks.get(job.task)))

    def _ended(self, run: Run) -> None:
        del self._running[run.lease]
        if run.task is not None and self._slots.give_back(run.task.options_.executor):
            self._slot_freed()
        if run.context is not None and self._claimer.board.has(run.lease):
            # A statement that writes progress may be under way without this: then the outcome waits for the next.
            self._outbox.waiting.add(run.lease)
        self._outbox.put(run)
        if self.ahead and not self._stop:
            self._start_ahead()
        if not self._running:
            self._none_left.set()
        self._on_end()

    def _start_ahead(self) -> None:
        self._vacant += 1
        if self._vacant > 1:
            return  # one that ended as it started: whoever started it goes on
        while self._vacant:
            if (job := self.ahead.take()) is not None:
                self.start(*job)
            self._vacant -= 1

    def _slot_freed(self) -> None:
        """An executor that was full has a slot again: start what was held for it, or claim for it."""
        if self._slots.shared or self._stop:
            return
        for lease, job, until in self.strays.take():
            self.start(lease, job, until)
        self._claimer.pace.woken(time.monotonic(), 0)
