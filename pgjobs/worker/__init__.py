"""The worker: claims jobs, runs them, settles their outcomes. This module wires the parts, starts them and drains them.

    listener  --wake-->  pace  --when-->  claimer  --jobs-->  slots, runner  --outcomes-->  outbox  --> claimer
    keeper (a thread): renews the lease, rescues, prunes; under a supervisor, that one does it for all its workers

Connections: one to claim and settle, one to listen, one for the keeper or, for all of its workers, for their supervisor; no
more, whatever the concurrency.
No connection is held and no transaction is open on behalf of a handler (I7).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg

from pgjobs import calls
from pgjobs.async_client import AsyncClient
from pgjobs.calls import Report
from pgjobs.connections import AsyncPsycopgRunner, arun, connecting, is_broken, reason
from pgjobs.errors import ConfigurationError, LeaseLost, WorkerStuck
from pgjobs.hooks import Hooks
from pgjobs.job import Claimed, Lease
from pgjobs.listener import Listener
from pgjobs.outcome import Done, Failed, Release, failure
from pgjobs.settings import CONNECT
from pgjobs.task import ExecutorName, Task
from pgjobs.version import __version__
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.executors import Executor
from pgjobs.worker.executors.in_loop import AsyncExecutor
from pgjobs.worker.executors.in_process import ProcessExecutor
from pgjobs.worker.executors.in_thread import ThreadExecutor
from pgjobs.worker.keeper import Keeper, Keeping
from pgjobs.worker.options import OnLeaseLost, WorkerOptions, on_failure
from pgjobs.worker.runner import Runner, make_context
from pgjobs.worker.settler import Entry, Outbox
from pgjobs.worker.slots import Slots
from pgjobs.worker.teller import Teller

__all__ = ["MakeKeeping", "OnLeaseLost", "Worker", "WorkerOptions", "run_until_stopped"]

log = logging.getLogger("pgjobs.worker")

LINGER = 0.002  # seconds an outcome may wait for others to be settled with it
STOPPED_BY_FORCE = 5.0  # seconds that cut-short runs may take to end
RECONCILE_EVERY = 60.0
LOOK_AFTER_KEEPER = 1.0
ASK_WHAT_TO_CANCEL = 1.0  # while something runs, though nobody says that there is something to cancel (I9)
HELD_FOR = 1.0  # seconds a job that does not fit waits for a slot before it is given back
STUCK_MOST = 3  # threads that will not stop, at which the worker ends and has to be replaced

MakeKeeping = Callable[[timedelta, Report, Callable[[int], None]], Keeping]


class Worker:
    """One worker. `await run()` works until `stop()`, or with drain until nothing runnable is left.

    Arguments: tasks, dsn, options, hooks; keeping, who keeps its lease, by default a keeper of its own.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[Any, Any]],
        dsn: str,
        options: WorkerOptions,
        hooks: Hooks | None = None,
        keeping: MakeKeeping | None = None,
    ) -> None:
        self.options = options
        self.id = 0
        self.name = options.name or f"{socket.gethostname()}:{os.getpid()}"
        self._tasks = tasks
        self._dsn = dsn
        self._make_keeping: MakeKeeping = keeping or partial(Keeper, dsn)
        self._outbox = Outbox()
        self._claimer = Claimer(self._outbox, options.queues, options.poll)
        self._slots = Slots(options.concurrency, options.queues, tasks)
        self._teller = Teller(hooks or Hooks())
        self._running: dict[Lease, asyncio.Task[None]] = {}
        self._held: dict[Lease, tuple[Claimed, float]] = {}  # claimed, waiting for a slot, and until when
        self._cancel_at = 0.0
        self._worn_out = False
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._stopping = False
        self._at_once = False
        self._drained = False
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._last_step = 0.0
        self._reconcile_at = 0.0

    @property
    def stats(self) -> Counter[str]:
        """How many outcomes of each kind were settled: done, failed, snoozed, cancelled, release, fenced; and how many
        threads did not stop when they were asked to: stuck."""
        return self._claimer.stats

    @property
    def free(self) -> int:
        """How many jobs may be claimed: what surely fits into free slots."""
        return self._slots.room().limit

    def stop(self) -> None:
        """Claim no more and let what runs finish within the grace; called again: cut it short at once."""
        if self._stopping:
            self._at_once = True
        self._stopping = True
        self._stop_asked.set()
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
        self._threads = ThreadExecutor(self._thread_stuck)
        self._claimer.board.tell = self._progress_told
        try:
            with connecting():
                await self._connect()
            await self._client.check_schema()
            await self._serve()
        finally:
            if self._connection is not None:
                await self._connection.close()
        if self._worn_out:
            raise WorkerStuck(
                f"Worker {self.id} has ended because {STUCK_MOST} of its threads would not stop: start it anew, and let the"
                " handlers call job.check(), or give their tasks executor='process'."
            )

    async def _serve(self) -> None:
        executors: dict[ExecutorName, Executor] = {
            "async": AsyncExecutor(),
            "thread": self._threads,
            "process": ProcessExecutor(),
        }
        self._runner = Runner(self._tasks, executors)
        self._keeper = self._make_keeping(self.options.lease, self._report(), self._lost_from_thread)
        if self._teller:
            self._claimer.on_settled = self._settled
        await self._register()
        self._keeper.start()
        listener = Listener(self._dsn, self._heard, self._listening)
        listening = asyncio.create_task(listener.run(), name="pgjobs listener")
        log.info(
            "worker %d (%s) works on %s, %d jobs at a time",
            self.id, self.name, ", ".join(self.options.queues), self._slots.total,
        )  # fmt: skip
        try:
            await self._work()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            for task in self._running.values():
                task.cancel()
            for executor in executors.values():
                await executor.close()
            self._keeper.stop()
            await self._leave()
            await self._teller.close()

    # The main line

    async def _work(self) -> None:
        grace_ends: float | None = None
        while True:
            await self._wait(grace_ends)
            if self._stopping and not self._running and not self._outbox:
                return
            if self._drained and not self._running and not self._outbox:
                return
            if self._stopping and grace_ends is None:
                grace_ends = time.monotonic() + self.options.grace.total_seconds()
                log.info("stopping: %d jobs may finish within %s", len(self._running), self.options.grace)
            if grace_ends is not None and (self._at_once or self._only_stuck() or time.monotonic() >= grace_ends):
                await self._cut_short()
                return
            self._keeper.check()
            self._let_go_of_held()
            try:
                try:
                    await self._step()
                except LeaseLost:
                    await self._lease_lost(self.id)
            except Exception as error:  # also of the new registration
                if not is_broken(error):
                    raise
                await self._reconnect(error, grace_ends)

    async def _step(self) -> None:
        """One round trip: settle, claim, start what was claimed."""
        if time.monotonic() >= self._reconcile_at:
            self._reconcile_at = time.monotonic() + RECONCILE_EVERY
            await self._claimer.reconcile()
        if self._running and time.monotonic() >= self._cancel_at:
            await self._cancel()
        # Half of the slots at a time: while the database works for one half, the loop runs the other.
        room = self._slots.room()
        wanted = 0 if self._stopping or self._drained else min(room.limit, (self._slots.total + 1) // 2)
        sweep = self._claimer.pace.sweep_due(time.monotonic())
        claims = wanted > 0 and time.monotonic() >= self._claimer.pace.claim_at
        jobs = await self._claimer.step(wanted, room.closed)
        self._last_step = time.monotonic()
        for job in jobs:
            self._start(job)
        if claims:
            self._ready.set()
            if self.options.drain and not (jobs or self._claimer.pace.full or self._running or self._outbox):
                # Only a look from the head proves that there is nothing left.
                self._drained = sweep
                self._claimer.pace.sweep_now(time.monotonic())
        self._keeper.report = self._report()

    async def _wait(self, grace_ends: float | None) -> None:
        """Sleep until there is something to settle or to claim."""
        while not (self._drained or self._at_once or (self._stopping and grace_ends is None)):
            now = time.monotonic()
            due = now + LOOK_AFTER_KEEPER
            if self._outbox:
                # Half of the slots are done, or all: settle at once. Else let a few more come along.
                soon = not self._running or len(self._outbox) * 2 >= self._slots.total
                due = now if soon else min(due, self._last_step + LINGER)
            if self.free > 0 and not self._stopping:
                due = min(due, self._claimer.pace.claim_at)
            if self._running:
                due = min(due, self._cancel_at)
            if self._claimer.board:
                due = min(due, self._claimer.board.due_at())
            if self._held:
                due = now if self._stopping else min(due, min(until for _, until in self._held.values()))
            if grace_ends is not None:
                if (not self._running and not self._outbox) or self._only_stuck():
                    return
                due = min(due, grace_ends)
            if due <= now:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(due - now):
                    await self._changed.wait()
            except TimeoutError:
                if due == now + LOOK_AFTER_KEEPER:
                    self._keeper.check()

    def _start(self, job: Claimed) -> None:
        lease = Lease(job.id, job.run, self.id)
        task = self._tasks.get(job.task)
        if task is not None and not self._slots.take(job.queue, task.options_.executor):
            self._held[lease] = job, time.monotonic() + HELD_FOR
            return
        if not self._running:
            self._cancel_at = time.monotonic() + ASK_WHAT_TO_CANCEL
        self._running[lease] = self._loop.create_task(self._run(job, lease, task))

    async def _run(self, job: Claimed, lease: Lease, task: Task[Any, Any] | None) -> None:
        if self._teller:
            entry = await self._run_and_tell(job, lease, task)
        else:
            outcome = await self._runner.run(job, None, partial(self._claimer.board.say, lease))
            entry = Entry(lease, job, outcome, task)
        del self._running[lease]
        if task is not None and self._slots.give_back(task.options_.executor):
            self._slot_freed()
        self._outbox.put(entry)
        self._changed.set()

    async def _run_and_tell(self, job: Claimed, lease: Lease, task: Task[Any, Any] | None) -> Entry:
        context = None
        with suppress(Exception):  # what is wrong with the job, the runner will say
            context = None if task is None else make_context(job, task)
        began = time.monotonic()
        if context is not None:
            self._teller.tell("start", context)
        outcome = await self._runner.run(job, context, partial(self._claimer.board.say, lease))
        seconds = time.monotonic() - began
        if type(outcome) is Failed:
            self._teller.tell("error", context, outcome, seconds)
        return Entry(lease, job, outcome, task, context, seconds)

    def _settled(self, entry: Entry, dead: bool) -> None:
        """What came of a run is written: now, and not before, it may be told."""
        if type(entry.outcome) is Done:
            self._teller.tell("success", entry.context, entry.outcome, entry.seconds)
        elif type(entry.outcome) is Failed:
            self._teller.tell("failure" if dead else "retry", entry.context, entry.outcome, entry.seconds)

    def _slot_freed(self) -> None:
        """An executor that was full has a slot again: start what was held for it, or claim for it."""
        if isinstance(self.options.concurrency, int) or self._stopping:
            return
        held, self._held = self._held, {}
        for lease, (job, until) in held.items():
            self._start(job)
            if lease in self._held:
                self._held[lease] = job, until
        self._claimer.pace.woken(time.monotonic(), 0)

    def _let_go_of_held(self) -> None:
        """Give back, uncounted, what found no slot in time; and at a stop all of it."""
        now = time.monotonic()
        for lease, (job, until) in list(self._held.items()):
            if self._stopping or until <= now:
                del self._held[lease]
                self._outbox.put(Entry(lease, job, Release(), self._tasks.get(job.task)))

    # What runs and is to stop

    async def _cancel(self) -> None:
        """Ask which runs are to be cancelled, and stop them."""
        self._cancel_at = time.monotonic() + ASK_WHAT_TO_CANCEL
        for id, run, why in await self._claimer.cancel_asked():
            if self._runner.cancel(id, run, why):
                log.info("job %d: run %d is to be cancelled%s", id, run, f": {why}" if why else "")

    def _thread_stuck(self) -> None:
        self.stats["stuck"] += 1
        if len(self._threads.stuck) >= STUCK_MOST and not self._stopping:
            log.error(
                "worker %d: %d threads will not stop; it lets the other jobs finish and ends, to be replaced",
                self.id, len(self._threads.stuck),
            )  # fmt: skip
            self._worn_out = True
            self.stop()
        self._changed.set()

    def _only_stuck(self) -> bool:
        return 0 < len(self._running) <= len(self._threads.stuck)

    def _progress_told(self) -> None:
        with suppress(RuntimeError):  # the loop is gone: an abandoned thread still speaks
            self._loop.call_soon_threadsafe(self._changed.set)

    # Wake-ups

    def _heard(self, message: Mapping[str, Any]) -> None:
        if message.get("cancel") == self.id:
            self._cancel_at = 0.0
            self._changed.set()
        if message.get("queue") not in self.options.queues:
            return
        now = time.monotonic()
        if "since" in message:
            since = datetime.fromisoformat(message["since"])
            if since.tzinfo is None:
                return  # anybody may NOTIFY, and this was not us
            self._claimer.pace.announced(message["queue"], since, now)
        else:
            self._claimer.pace.woken(now, float(message.get("in", 0)))
        self._changed.set()

    def _listening(self, listening: bool) -> None:
        self._claimer.listening = listening
        # What was said while nobody listened was not heard: look now.
        self._claimer.pace.woken(time.monotonic(), 0)
        self._changed.set()

    # Coming and going

    async def _connect(self) -> None:
        self._connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=10, **CONNECT, application_name="pgjobs worker"
        )
        runner = AsyncPsycopgRunner(self._connection)
        await arun(runner, calls.session())
        self._client = AsyncClient(runner)
        self._claimer.attach(self._client)

    async def _register(self) -> None:
        sent = time.monotonic()
        self.id = self._claimer.worker = await self._client.register(
            self.name, socket.gethostname(), os.getpid(), __version__, self.options.queues,
            self._slots.total, self.options.lease, on_failure(self._tasks),
        )  # fmt: skip
        self._teller.worker = self.id
        self._keeper.report = self._report()
        self._keeper.renewed(sent)

    def _report(self) -> Report:
        return Report(self.id, len(self._running), self._claimer.claims_since, self._stopping)

    async def _reconnect(self, error: Exception, grace_ends: float | None) -> None:
        """Come back after the connection broke; jobs run on meanwhile, their outcomes wait in the outbox."""
        log.warning("the connection broke (%s); reconnecting", reason(error))
        self._teller.tell("error", None, failure(error))
        pause = 0.1
        while True:
            if self._connection is not None:
                await self._connection.close()
            try:
                await self._connect()
                self._reconcile_at = 0.0  # a reply may have been lost
                return
            except psycopg.Error as again:
                log.warning("no connection yet: %s", reason(again))
            if self._stopping:
                if not self._running and not self._outbox:
                    return  # there is nothing to save
                if grace_ends is None:
                    grace_ends = time.monotonic() + self.options.grace.total_seconds()
                pause = min(pause, 0.2)
            if self._at_once or (grace_ends is not None and time.monotonic() >= grace_ends):
                raise error
            self._keeper.check()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (asyncio.sleep(pause) if self._stopping else self._stop_asked.wait())
            pause = min(pause * 2, 5.0)

    def _lost_from_thread(self, worker: int) -> None:
        self._loop.call_soon_threadsafe(self._lost_told, worker)

    def _lost_told(self, worker: int) -> None:
        # The claim finds out by itself what to do about it; only what runs must be stopped now.
        if worker == self.id and self.options.on_lease_lost == "stop":
            for task in self._running.values():
                task.cancel()
        self._claimer.pace.woken(time.monotonic(), 0)
        self._changed.set()

    async def _lease_lost(self, worker: int) -> None:
        """The database knows this worker no more: stop what it ran, and begin again as a new one."""
        log.warning(
            "worker %d: its lease has lapsed, %d running jobs are no longer its own", worker, len(self._running)
        )
        self._lost_told(worker)
        if self.options.on_lease_lost == "stop" and self._running:
            await asyncio.wait(self._running.values(), timeout=STOPPED_BY_FORCE)
        await self._register()
        self._claimer.attach(self._client)

    async def _cut_short(self) -> None:
        """The grace is over: end what runs, settle what came of it, give back the rest."""
        if self._running:
            log.warning("cutting %d running jobs short; they go back to their queues, not counted", len(self._running))
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=STOPPED_BY_FORCE)
        while self._outbox:
            before = len(self._outbox)
            await self._claimer.step(0)
            if len(self._outbox) >= before:
                break  # locked by somebody; leaving gives them back

    async def _leave(self) -> None:
        """Say goodbye, so that nobody has to wait for the lease to lapse; what is still held is given back."""
        try:
            for _ in range(10):
                if not await self._client.resign(self.id):
                    break
        except Exception as error:
            log.warning("could not sign off (%s); the lease will lapse by itself", reason(error))
        log.info("worker %d has left", self.id)


def run_until_stopped(worker: Worker) -> None:
    """Run a worker in this process until SIGTERM or SIGINT; a second signal stops it at once."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, worker.stop)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise ConfigurationError(
                "run_worker needs the main thread; elsewhere use `async with app.worker()`."
            ) from error
        await worker.run()
        # A handler may have left asyncio.to_thread() at something that never ends; asyncio.run would wait for it for ever.
        loop.set_default_executor(ThreadPoolExecutor(max_workers=1))

    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ConfigurationError("run_worker blocks, and here an event loop runs: use `async with app.worker()`.")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where it is installed (the extra `uvloop`); None: as Python makes it."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
