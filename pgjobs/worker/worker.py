"""One worker: its parts wired, started, and drained at the end; see the package for who talks to whom."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from pgjobs.calls import Report
from pgjobs.connections import connecting, is_broken
from pgjobs.errors import LeaseLost
from pgjobs.hooks import Hooks
from pgjobs.listener import Listener
from pgjobs.outcome import failure
from pgjobs.task import ExecutorName, Task
from pgjobs.version import __version__
from pgjobs.worker.cancels import Cancels
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.events import Events
from pgjobs.worker.executors import Executor
from pgjobs.worker.executors.in_loop import AsyncExecutor
from pgjobs.worker.executors.in_process import ProcessExecutor
from pgjobs.worker.intake import Intake
from pgjobs.worker.keeper import Keeper, Keeping
from pgjobs.worker.options import WorkerOptions, on_failure
from pgjobs.worker.runs import Runs
from pgjobs.worker.session import Session
from pgjobs.worker.settler import Outbox
from pgjobs.worker.slots import Slots
from pgjobs.worker.stop import Stop
from pgjobs.worker.stuck import Stuck
from pgjobs.worker.wakeups import Wakeups

log = logging.getLogger("pgjobs.worker")

LINGER = 0.002  # seconds an outcome may wait for others to be settled with it
STOPPED_BY_FORCE = 5.0  # seconds that cut-short runs may take to end
RECONCILE_EVERY = 60.0
LOOK_AFTER_KEEPER = 1.0

MakeKeeping = Callable[[timedelta, Report, Callable[[int], None]], Keeping]


class Worker:
    """One worker. `await run()` works until `stop()`, or with drain until nothing runnable is left.

    Arguments: tasks, dsn, options, hooks; keeping, who keeps its lease, by default a keeper of its own.
    """

    def __init__(
        self, tasks: Mapping[str, Task[Any, Any]], dsn: str, options: WorkerOptions, hooks: Hooks | None = None,
        keeping: MakeKeeping | None = None,
    ) -> None:  # fmt: skip
        self.options = options
        self.id = 0
        self.alone = False  # whether only handlers share its event loop with it
        self.name = options.name or f"{socket.gethostname()}:{os.getpid()}"
        self._tasks = tasks
        self._make_keeping: MakeKeeping = keeping or partial(Keeper, dsn)
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()
        self._drained = False
        self._last_step = 0.0
        self._reconcile_at = 0.0
        self._stop = Stop(options.grace)
        self._session = Session(dsn)
        self._outbox = Outbox()
        self._claimer = Claimer(self._outbox, options.queues, options.poll)
        self._claimer.board.tell = self._changed_in_thread
        self._slots = Slots(options.concurrency, options.queues, tasks)
        self._events = Events(hooks or Hooks())
        self._stuck = Stuck(self.stats, self._one_more_stuck)
        self._executors: dict[ExecutorName, Executor] = {
            "async": AsyncExecutor(),
            "thread": self._stuck.threads,
            "process": ProcessExecutor(),
        }
        changed = self._changed.set
        self._runs = Runs(
            tasks, self._executors, self._slots, self._claimer, self._events, self._stop, changed
        )  # fmt: skip
        self._intake = Intake(self._slots, self._claimer, self._runs, self._stop)
        self._cancels = Cancels(self._claimer, self._runs)
        wakeups = Wakeups(options.queues, self._claimer, self._cancels, changed)
        self._listener = Listener(dsn, wakeups.heard, wakeups.listening)

    @property
    def stats(self) -> Counter[str]:
        """How many outcomes of each kind were settled: done, failed, snoozed, cancelled, release, fenced; and how many
        threads did not stop when they were asked to: stuck."""
        return self._claimer.stats

    def stop(self) -> None:
        """Claim no more and let what runs finish within the grace; called again: cut it short at once."""
        self._stop.ask()
        self._changed.set()

    async def ready_or_done(self, running: asyncio.Task[None]) -> None:
        """Wait until the worker has claimed once; raise what kept it from starting."""
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([ready, running], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if running.done():
            running.result()

    async def run(self) -> None:
        """Work. Raises ConnectionFailed or a SchemaError when it cannot start; later troubles are waited out.

        Raises WorkerStuck at its end when it ended because several threads would not stop.
        """
        self._loop = asyncio.get_running_loop()
        try:
            with connecting():
                self._claimer.attach(await self._session.connect(check=True))
            await self._serve()
        finally:
            await self._session.close()
        self._stuck.check(self.id)

    async def _serve(self) -> None:
        self._keeper = self._make_keeping(self.options.lease, self._report(), self._lost_in_thread)
        await self._register()
        self._reconcile_at = time.monotonic() + RECONCILE_EVERY  # so far it holds nothing
        self._keeper.start()
        listening = asyncio.create_task(self._listen(), name="pgjobs listener")
        log.info(
            "worker %d (%s) works on %s, %d jobs at a time",
            self.id, self.name, ", ".join(self.options.queues), self._slots.total,
        )  # fmt: skip
        gives_back = True
        try:
            await self._work()
        except asyncio.CancelledError:
            # By a handler, then. Its job must count that as a crash, or it would end one worker after another for ever.
            gives_back = not self.alone
            raise
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            self._runs.cut_short()
            for executor in self._executors.values():
                await executor.close()
            self._keeper.stop()
            if gives_back:
                await self._session.resign(self.id)
            await self._events.teller.close()

    async def _listen(self) -> None:
        """Listen, but claim first: what was announced before is looked for as soon as anything is heard."""
        await self._ready.wait()
        await self._listener.run()

    # The main line

    async def _work(self) -> None:
        while True:
            await self._wait()
            if (self._stop or self._drained) and not self._runs and not self._outbox and not self._intake.waiting:
                return
            if self._stop:
                self._intake.begin()  # or rather gives it back
                self._stop.begin(len(self._runs))
                if self._stop.is_over() or self._stuck.are_all(len(self._runs)):
                    await self._cut_short()
                    return
            self._keeper.check()
            self._runs.let_go()
            try:
                try:
                    await self._step()
                except LeaseLost:
                    await self._lease_lost(self.id)
            except Exception as error:  # also of the new registration
                if not is_broken(error):
                    raise
                await self._come_back(error)

    async def _step(self) -> None:
        """One round trip: settle, claim, start what was claimed."""
        if time.monotonic() >= self._reconcile_at:
            self._reconcile_at = time.monotonic() + RECONCILE_EVERY
            await self._claimer.reconcile()
        await self._cancels.step()
        wanted, closed = self._intake.room() if self._claims else (0, frozenset[str]())
        pace = self._claimer.pace
        sweep = pace.sweep_due(time.monotonic())
        if not self._runs:
            self._cancels.later()
        claimed = await self._intake.step(wanted, closed)
        self._last_step = time.monotonic()
        if claimed:
            self._ready.set()
            if self.options.drain and not (pace.full or self._runs or self._outbox or self._intake.waiting):
                # Only a look from the head proves that there is nothing left.
                self._drained = sweep
                pace.sweep_now(time.monotonic())
        self._keeper.report = self._report()

    @property
    def _claims(self) -> bool:
        return not (self._stop or self._drained)

    async def _wait(self) -> None:
        """Sleep until there is something to settle or to claim."""
        stop, strays, board, intake = self._stop, self._runs.strays, self._claimer.board, self._intake
        while not (self._drained or stop.at_once or (stop and stop.ends is None)):
            now = time.monotonic()
            due = now + LOOK_AFTER_KEEPER
            if self._outbox:
                # Half of what fits is done, or all: settle at once. Else let a few more come along.
                soon = not (self._runs or intake.waiting) or len(self._outbox) * 2 >= intake.capacity
                due = now if soon else min(due, self._last_step + LINGER)
            if self._claims and intake.room()[0] > 0:
                due = min(due, self._claimer.pace.claim_at)
            if self._claimer.arrived and (due > now or intake.is_few()):
                intake.begin()
                continue
            if self._runs.ahead:
                due = min(due, self._runs.ahead.late_at())
            if self._runs:
                due = min(due, self._cancels.due_at)
            if board:
                due = min(due, board.due_at())
            if strays:
                due = now if stop else min(due, strays.due_at())
            if stop.ends is not None:
                if (not self._runs and not self._outbox) or self._stuck.are_all(len(self._runs)):
                    return
                due = min(due, stop.ends)
            if due <= now:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(due - now):
                    await self._changed.wait()
            except TimeoutError:
                if due == now + LOOK_AFTER_KEEPER:
                    self._keeper.check()

    async def _cut_short(self) -> None:
        """The grace is over: end what runs, settle what came of it, give back the rest."""
        if self._runs:
            log.warning("cutting %d running jobs short; they go back to their queues, not counted", len(self._runs))
        self._runs.cut_short()
        await self._runs.ended(STOPPED_BY_FORCE)
        while self._outbox:
            before = len(self._outbox)
            await self._claimer.step(0)
            if len(self._outbox) >= before:
                break  # locked by somebody; leaving gives them back

    # The lease and the connection

    async def _register(self) -> None:
        sent = time.monotonic()
        self.id = self._claimer.worker = await self._session.client.register(
            self.name, socket.gethostname(), os.getpid(), __version__, self.options.queues,
            self._slots.total, self.options.lease, on_failure(self._tasks),
        )  # fmt: skip
        self._events.begin(self.id)
        self._claimer.on_settled = self._events.settled if self._events.wanted else None
        self._keeper.report = self._report()
        self._keeper.renewed(sent)

    def _report(self) -> Report:
        return Report(self.id, len(self._runs), self._claimer.claims_since, bool(self._stop))

    async def _come_back(self, error: Exception) -> None:
        self._events.teller.tell("error", None, failure(error))
        client = await self._session.come_back(
            error, self._stop, self._runs.__len__, self._outbox.__len__, self._keeper.check
        )
        if client is not None:
            self._claimer.attach(client)
            self._reconcile_at = 0.0  # a reply may have been lost

    async def _lease_lost(self, worker: int) -> None:
        """The database knows this worker no more: stop what it ran, and begin again as a new one."""
        log.warning("worker %d: its lease has lapsed, %d running jobs are no longer its own", worker, len(self._runs))
        self._lost(worker)
        if self.options.on_lease_lost == "stop":
            await self._runs.ended(STOPPED_BY_FORCE)
        await self._register()
        self._claimer.attach(self._session.client)

    def _lost(self, worker: int) -> None:
        # The claim finds out by itself what to do about it; only what runs must be stopped now.
        if worker == self.id:
            self._intake.void()
            if self.options.on_lease_lost == "stop":
                self._runs.cut_short()
        self._claimer.pace.woken(time.monotonic(), 0)
        self._changed.set()

    # What others say

    def _lost_in_thread(self, worker: int) -> None:
        with suppress(RuntimeError):  # the loop is gone, and so is what ran in it
            self._loop.call_soon_threadsafe(self._lost, worker)

    def _changed_in_thread(self) -> None:
        with suppress(RuntimeError):  # the loop is gone: an abandoned thread still speaks
            self._loop.call_soon_threadsafe(self._changed.set)

    def _one_more_stuck(self, too_many: bool) -> None:
        if too_many and not self._stop:
            self._stuck.end(self.id)
            self._stop.ask()
        self._changed.set()
