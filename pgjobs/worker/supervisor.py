"""The supervisor: a small process that starts workers, renews for them, gives back their jobs when they die, replaces them.

    supervisor --orders, news of renewals--> workers --reports--> supervisor; see link.py
    upkeep (a thread): renews for all workers in one statement, rescues, prunes, on one connection

It waits for signals, ends of children and what they say, and for nothing else; what the database does or does not do keeps it
from none of that. It imports neither psycopg nor asyncio nor the app, and so takes half the memory of a worker.

Connections: one for the supervisor, two for each worker process.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from pgjobs.calls import Report
from pgjobs.errors import ConfigurationError, WorkerFailed
from pgjobs.texts import ended, span
from pgjobs.worker.link import Line, Orders
from pgjobs.worker.upkeep import Upkeep

log = logging.getLogger("pgjobs.worker")

LEAVES_WITHIN = 5.0  # seconds from its last word to its end
FIRST_PAUSE = 0.1  # seconds before a worker that ended is replaced; doubles with every one that does not live
LONGEST_PAUSE = 30.0
LIVED = 10.0  # seconds after which a worker has lived
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

    def run(self) -> None:
        """Supervise. Raises WorkerFailed when the first worker cannot start; later ones are tried again and again."""
        with _signals() as (signals, self._waking):
            log.info("supervisor %d: %d worker processes", os.getpid(), len(self._children))
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
                    if number in (signal.SIGTERM, signal.SIGINT):
                        self._stop()
            else:
                self._listen(lines[fd])

    def _listen(self, child: Child) -> None:
        before = child.report
        child.listen()
        report = child.report
        if report is not None and (before is None or report.news(before)):
            self._any_ready = True
            self._upkeep.now(self._upkeep.renew)

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
                if worker or not self._stops:
                    log.warning("worker process %d %s%s", child.pid, how, f": {child.error}" if child.error else "")
                    self.died += 1
                if worker:
                    child.rescuing = worker
                    self._upkeep.dead(worker)
                elif not self._any_ready and not self._stops:
                    self._give_up(child.error or f"The worker process {how} before it could begin.")
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


class Child:
    """One worker process after the other, in one place."""

    def __init__(self, slot: int, orders: Orders) -> None:
        name = orders.options.get("name")
        if name and orders.processes > 1:
            name = f"{name}-{slot}"
        self._orders = Orders(
            orders.dsn, orders.app, 0, {**orders.options, "name": name}, orders.lease, orders.grace, orders.drain,
            orders.log, orders.path,
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at: float | None = 0.0
        self._failures = 0
        self._ready_at: float | None = None
        self.last = 0  # the worker it was last
        self.over = False  # whether there will be no other process
        self.rescuing: int | None = None  # the worker it was, while its jobs are being taken back
        self._clear()

    def _clear(self) -> None:
        self.line: Line | None = None
        self.report: Report | None = None
        self.stats: Counter[str] = Counter()
        self.error: str | None = None
        self.kill_at: float | None = None
        self.left = False  # whether it said that it had ended in an orderly way

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The process that runs, or ran last."""
        return self._pid

    @property
    def worker(self) -> int:
        """The worker that it is, as the database knows it; 0 before it has registered."""
        report = self.report
        return 0 if report is None else report.worker

    def due(self, now: float) -> bool:
        """Whether to start it now. Not before the jobs of its predecessor are taken back: a drain would miss them."""
        return self._start_at is not None and now >= self._start_at and self.rescuing is None

    def moments(self) -> tuple[float | None, float | None]:
        """When there will be something to do without anything happening: start it, kill it."""
        return (self._start_at if self.rescuing is None else None), (self.kill_at if self.runs else None)

    def start(self) -> None:
        """Start the process, and give it its orders."""
        ours, theirs = socket.socketpair()
        ours.settimeout(1)
        self._clear()
        self._start_at = self._ready_at = None
        with theirs:
            # A process group of its own: ^C in a terminal reaches the whole group, and a worker is to hear of it once.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pgjobs.supervised", str(theirs.fileno()), self._orders.app],
                pass_fds=[theirs.fileno()], process_group=0, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._pid = self._process.pid
        self.line = Line(ours)
        self.line.send(self._orders.dump())

    def listen(self) -> None:
        """Take in what the process has said."""
        line = self.line
        if line is None:
            return
        try:
            for message in line.receive():
                self.hear(message)
        except EOFError:
            self.line = None
            line.close()

    def say(self, message: str) -> None:
        """Tell the process something."""
        line = self.line
        if line is not None:
            line.send(message)

    def stop(self, kill_at: float) -> None:
        """Ask the process to stop; at this time it is killed."""
        self.kill_at = kill_at
        self._start_at = None
        self.over = True
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def leaving(self) -> None:
        """It has done all it had to do. What a handler left behind, a process to be joined, must not keep its place."""
        self.kill_at = self.kill_at or time.monotonic() + LEAVES_WITHIN

    def kill(self) -> None:
        """End the process, and with it what its handlers have left in its process group."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except OSError:
                self._process.kill()

    def ended(self) -> int | None:
        """Return the status of a process that has just ended, else None."""
        status = None if self._process is None else self._process.poll()
        if status is not None:
            self._process = None
        return status

    def again(self, now: float, over: bool) -> None:
        """Plan the next process, if it is not over: soon, and later the more often one did not live."""
        if self._ready_at is not None and now - self._ready_at >= LIVED:
            self._failures = 0
        pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 20)
        self.over = over
        self._start_at = None if over else now + pause
        self.report = None

    def hear(self, line: str) -> None:
        """Take in one message."""
        message: Mapping[str, Any] = json.loads(line)
        if "worker" in message:
            self.report = Report(**message)
            self.last = self.report.worker
            self._ready_at = self._ready_at or time.monotonic()
        elif "stats" in message:
            self.stats = Counter(message["stats"])
        elif "error" in message:
            self.error = message["error"]
            self.leaving()
        elif "left" in message:
            self.left = True
            self.leaving()


def summary(stats: Mapping[str, int]) -> str:
    """Say how many outcomes of each kind there were."""
    words = {"release": "given back", "fenced": "lost to another worker", "stuck": "threads did not stop"}
    return ", ".join(f"{stats[kind]:,} {words.get(kind, kind)}" for kind in KINDS if stats.get(kind)) or "nothing done"


@contextmanager
def _signals() -> Iterator[tuple[int, int]]:
    """Let signals, and the ends of children, be read as bytes: yields where to read them and where to write others."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    try:
        before = {number: signal.signal(number, lambda number, frame: None) for number in numbers}
    except ValueError as error:
        os.close(reading)
        os.close(writing)
        raise ConfigurationError(
            "run_worker needs the main thread; elsewhere use `async with app.worker()`."
        ) from error
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading, writing
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
