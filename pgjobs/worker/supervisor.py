"""The supervisor: a small process that starts workers, renews for them, gives back their jobs when they die, replaces them.

    supervisor --orders, news of renewals--> workers --reports--> supervisor; see link.py
    upkeep (a thread): renews for all workers in one statement, rescues, prunes, on one connection

It waits for signals, ends of children and what they say, and for nothing else; what the database does or does not do keeps it
from none of that. It imports neither psycopg nor asyncio nor the app, and so takes half the memory of a worker.

Connections: one for the supervisor, two for each worker process.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

from pgjobs.calls import Report
from pgjobs.errors import ConfigurationError, WorkerFailed
from pgjobs.orders import STOPS, Orders
from pgjobs.texts import ended, span
from pgjobs.worker.child import Child
from pgjobs.worker.upkeep import Upkeep

log = logging.getLogger("pgjobs.worker")

OVERTIME = 10.0  # seconds after the grace, or after a second signal, until what still runs is killed

KINDS = ("done", "failed", "snoozed", "cancelled", "release", "fenced", "stuck")


class Supervisor:
    """Runs worker processes until it is told to stop, or with drain until all of them have ended.

    Not for two threads, and only for the main one: it takes the process' signals.
    """

    def __init__(self, orders: Orders) -> None:
        self.stats: Counter[str] = Counter()  # as a worker's, of all of them
        self.died = 0  # workers that ended otherwise than in order
        self._orders = orders
        self._children = [Child(slot, orders) for slot in range(1, orders.processes + 1)]
        self._began = time.monotonic()
        self._stops = 0
        self._any_ready = False
        self._failure: str | None = None
        lease = timedelta(seconds=orders.lease)
        self._upkeep = Upkeep(orders.dsn, lease, self._reports, self._renewed, self._lost, self._rescued)
        self._waking = -1
        if orders.ahead is not None:
            self._children[0].adopt(*orders.ahead)

    def run(self) -> None:
        """Supervise. Raises WorkerFailed when the first worker cannot start; later ones are tried again and again."""
        with _signals() as (signals, self._waking):
            log.info("supervisor %d: %d worker processes", os.getpid(), len(self._children))
            if not self._orders.look:
                self._upkeep.start()
            try:
                while self._goes_on():
                    self._start()
                    self._wait(signals)
                    self._reap()
                    self._kill_late()
            finally:
                for child in self._children:
                    child.kill()
                self._upkeep.stop()
        if self._failure is not None:
            raise WorkerFailed(self._failure)

    def summary(self) -> str:
        """What was done, in a sentence."""
        died = f", {self.died} died and were replaced" if self.died else ""
        took = span(timedelta(seconds=time.monotonic() - self._began))
        count = len(self._children)
        who = f"{count} workers" if count > 1 else f"Worker {self._children[0].last}"
        return f"{who} ended after {took}{died}: {summary(self.stats)}."

    def _goes_on(self) -> bool:
        if any(child.runs for child in self._children):
            return True
        return not all(child.over for child in self._children)

    def _start(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.due(now):
                child.start()

    def _wait(self, signals: int) -> None:
        """Sleep until there is something to do, and take in what was said."""
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        lines = {child.line.fileno(): child for child in self._children if child.line is not None}
        for fd in lines:
            poll.register(fd, select.POLLIN)
        moments = [moment for child in self._children for moment in child.moments() if moment is not None]
        timeout = None if not moments else max(0.0, min(moments) - time.monotonic()) * 1000 + 1
        for fd, _ in poll.poll(timeout):
            if fd == signals:
                for number in os.read(signals, 4096):
                    if number in STOPS:
                        self._stop()
            else:
                self._listen(lines[fd])

    def _listen(self, child: Child) -> None:
        before = child.report
        child.listen()
        report = child.report
        if self._orders.look and child.found:
            self._found(child.found)
        if report is not None and (before is None or report.news(before)):
            self._any_ready = True
            self._upkeep.now(self._upkeep.renew)

    def _found(self, dsn: str) -> None:
        """The first worker found the app in order, and its database: now the others, and what is done for all."""
        self._orders = replace(self._orders, dsn=dsn, look=False)
        for child in self._children:
            child.take_over(self._orders)
        self._upkeep.dsn = dsn
        self._upkeep.start()

    def _stop(self) -> None:
        """Pass a signal on: the first lets workers finish what they run, a second cuts it short."""
        self._stops += 1
        grace = self._orders.grace if self._stops == 1 else 0
        log.info("stopping: %s", f"jobs may finish within {timedelta(seconds=grace)}" if grace else "at once")
        for child in self._children:
            child.stop(time.monotonic() + grace + OVERTIME)

    def _reap(self) -> None:
        for child in self._children:
            status = child.ended()
            if status is None:
                continue
            self._listen(child)  # its last words
            worker, self.stats = child.worker, self.stats + child.stats
            orderly = child.left  # a handler can end its process with any status
            if not orderly:
                how = ended(status)
                if not (worker or self._any_ready or self._stops):
                    self._give_up(child.error or f"The worker process {how} before it could begin.")
                elif worker or not self._stops:
                    log.warning("worker process %d %s%s", child.pid, how, f": {child.error}" if child.error else "")
                    self.died += 1
                if worker:
                    child.rescuing = worker
                    self._upkeep.dead(worker)
            child.again(time.monotonic(), over=bool(self._stops) or (orderly and self._orders.drain))

    def _give_up(self, error: str) -> None:
        if self._failure is None:
            self._failure = error
        self._stops += 1
        for child in self._children:
            child.stop(time.monotonic())

    def _kill_late(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.runs and child.kill_at is not None and now >= child.kill_at:
                if self._failure is None:  # else it was given no time to
                    log.warning("worker process %d does not end by itself: killing it", child.pid)
                child.kill_at = None
                child.kill()

    # Called by the upkeep, in its thread

    def _reports(self) -> list[Report]:
        return [child.report for child in self._children if child.report is not None and child.runs]

    def _renewed(self, workers: Sequence[int], sent: float) -> None:
        for child in self._children:
            if child.worker in workers:
                child.say(f'{{"renewed": {child.worker}, "sent": {sent}}}')

    def _lost(self, worker: int) -> None:
        for child in self._children:
            if child.worker == worker:
                child.say(f'{{"lost": {worker}}}')

    def _rescued(self, workers: Sequence[int]) -> None:
        for child in self._children:
            if child.rescuing in workers:
                child.rescuing = None
        with suppress(OSError):
            os.write(self._waking, b"\0")


def summary(stats: Mapping[str, int]) -> str:
    """Say how many outcomes of each kind there were."""
    words = {"release": "given back", "fenced": "lost to another worker", "stuck": "threads did not stop"}
    return ", ".join(f"{stats[kind]:,} {words.get(kind, kind)}" for kind in KINDS if stats.get(kind)) or "nothing done"


@contextmanager
def _signals() -> Iterator[tuple[int, int]]:
    """Let signals, and the ends of children, be read as bytes: yields where to read them and where to write others."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    numbers = (*STOPS, signal.SIGCHLD)
    try:
        before = {number: signal.signal(number, lambda number, frame: None) for number in numbers}
    except ValueError as error:
        os.close(reading)
        os.close(writing)
        raise ConfigurationError(
            "run_worker needs the main thread; elsewhere use `async with app.worker()`."
        ) from error
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # what came while this process was made is heard now
    try:
        yield reading, writing
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
