"""A place for worker processes, one after the other: started, listened to, told to stop, and replaced ever more slowly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pgjobs import ahead
from pgjobs.calls import Report
from pgjobs.orders import Orders
from pgjobs.worker.link import Line

LEAVES_WITHIN = 5.0  # seconds from its last word to its end
FIRST_PAUSE = 0.1  # seconds before a worker that ended is replaced; doubles with every one that does not live
LONGEST_PAUSE = 30.0
LIVED = 10.0  # seconds after which a worker has lived


class Child:
    """One worker process after the other, in one place."""

    def __init__(self, slot: int, orders: Orders) -> None:
        self._slot = slot
        self._orders = orders.of_worker(slot)
        self._held = orders.look and slot > 1  # what is wrong with an app is said once, by the first
        self.found = ""  # the database, once it has looked
        self._process: subprocess.Popen[bytes] | Adopted | None = None
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
        self._stops = 0  # how often it was asked to
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
        return self._may_start and self._start_at is not None and now >= self._start_at

    def moments(self) -> tuple[float | None, float | None]:
        """When there will be something to do without anything happening: start it, kill it."""
        return (self._start_at if self._may_start else None), (self.kill_at if self.runs else None)

    @property
    def _may_start(self) -> bool:
        return self.rescuing is None and not self._held

    def take_over(self, orders: Orders) -> None:
        """Start, or start again, by these orders."""
        self._orders = orders.of_worker(self._slot)
        self._held = False

    def start(self) -> None:
        """Start the process, and give it its orders."""
        ours, theirs = socket.socketpair()
        ours.settimeout(1)
        self._clear()
        self._start_at = self._ready_at = None
        with theirs:
            # A process group of its own: ^C in a terminal reaches the whole group, and a worker is to hear of it once.
            self._process = subprocess.Popen(
                ahead.command(theirs.fileno(), self._orders.app),
                pass_fds=[theirs.fileno()], process_group=0, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._pid = self._process.pid
        self.line = Line(ours)
        self.line.send(self._orders.dump())

    def adopt(self, pid: int, line: int) -> None:
        """Take over a process that was begun ahead, and has its orders already."""
        ours = socket.socket(fileno=line)
        ours.set_inheritable(False)
        ours.settimeout(1)
        self._start_at = None
        self._process = Adopted(pid)
        self._pid = pid
        self.line = Line(ours)

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
            # By turns: of two like signals that come before the first is taken in, one is lost.
            self._process.send_signal(signal.SIGINT if self._stops % 2 else signal.SIGTERM)
            self._stops += 1

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
        elif "dsn" in message:
            self.found = message["dsn"]
        elif "stats" in message:
            self.stats = Counter(message["stats"])
        elif "error" in message:
            self.error = message["error"]
            self.leaving()
        elif "left" in message:
            self.left = True
            self.leaving()


class Adopted:
    """A child of this process that it started before it became a supervisor; with as much of Popen as is needed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return its status if it has ended, as Popen does."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has taken its status, which nobody knows
                pid, status = self.pid, 0
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)
