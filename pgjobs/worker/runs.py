"""The runs under way in a worker. Each begins in a slot, has an asyncio task of its own, and ends in the outbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pgjobs.job import Claimed, Lease
from pgjobs.outcome import Release
from pgjobs.task import Task
from pgjobs.worker.ahead import Ahead
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.events import Events
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
        self, tasks: Mapping[str, Task[Any, Any]], runner: Runner, slots: Slots, claimer: Claimer, events: Events,
        stop: Stop, on_end: Callable[[], None],
    ) -> None:  # fmt: skip
        self.strays = Strays()
        self.ahead = Ahead()
        self._tasks = tasks
        self._runner = runner
        self._slots = slots
        self._claimer = claimer
        self._events = events
        self._stop = stop
        self._on_end = on_end
        self._running: dict[Lease, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, lease: Lease, job: Claimed, until: float | None = None) -> None:
        """Start a job; without a slot for it, it is held for a moment, or until this monotonic time."""
        task = self._tasks.get(job.task)
        if task is not None and not self._slots.take(job.queue, task.options_.executor):
            self.strays.hold(lease, job, until)
            return
        # Not by the loop's create_task: an application's loop may have a task factory that begins to run at once.
        self._running[lease] = asyncio.Task(self._run(lease, job, task))

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
            self._claimer.outbox.put(Entry(lease, job, Release(), self._tasks.get(job.task)))

    def cancel(self, lease: Lease, reason: str | None) -> bool:
        """Stop a run that somebody wants cancelled, or ask it to stop; once. Return whether that was news."""
        running = self._running.get(lease)
        return running is not None and self._runner.cancel(lease.id, lease.run, reason, running)

    def cut_short(self) -> None:
        """Cut short what runs; its outcome is to give it back, like what has not begun."""
        self.give_back()
        for running in self._running.values():
            running.cancel()

    async def ended(self, timeout: float) -> None:
        """Wait until all of them have ended, or the time is up."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=timeout)

    def let_go(self) -> None:
        """Give back, uncounted, what found no slot in time; and at a stop all of it."""
        if self.ahead and (self._stop or time.monotonic() >= self.ahead.late_at()):
            self.give_back()
        for lease, job in self.strays.take_late(all=bool(self._stop)):
            self._claimer.outbox.put(Entry(lease, job, Release(), self._tasks.get(job.task)))

    async def _run(self, lease: Lease, job: Claimed, task: Task[Any, Any] | None) -> None:
        report = partial(self._claimer.board.say, lease)
        if self._events.wanted:
            entry = await self._events.told(self._runner, lease, job, task, report)
        else:
            entry = Entry(lease, job, await self._runner.run(job, None, report), task)
        del self._running[lease]
        if task is not None and self._slots.give_back(task.options_.executor):
            self._slot_freed()
        self._claimer.outbox.put(entry)
        if self.ahead and not self._stop:
            self._start_ahead()
        self._on_end()

    def _start_ahead(self) -> None:
        if (job := self.ahead.take()) is not None:
            self.start(*job)

    def _slot_freed(self) -> None:
        """An executor that was full has a slot again: start what was held for it, or claim for it."""
        if self._slots.shared or self._stop:
            return
        for lease, job, until in self.strays.take():
            self.start(lease, job, until)
        self._claimer.pace.woken(time.monotonic(), 0)
