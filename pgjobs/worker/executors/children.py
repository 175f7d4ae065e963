"""One child process seen from its worker: the orders it has, what it answers, what it prints, and how it ends.

Orders lie in a socket of which the worker keeps the child's end too: what the child has not begun, the worker can take back
from it, and the child never sees it. So a child may have several in hand, and nothing waits behind a run that turns out to
be long, or dies with it.

What is printed belongs to the run it was printed in. A child that ends a run while something lies in its pipes waits until
the worker has read it; and before the worker reads at another time it takes back what the child has not begun. So
whatever it then finds is of the one run that the child is at.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from typing import Protocol

from pgjobs.errors import MemoryExceeded
from pgjobs.job import Claimed
from pgjobs.outcome import Failed, Outcome
from pgjobs.worker.executors.child import serve
from pgjobs.worker.executors.in_loop import timed_out
from pgjobs.worker.executors.output import Output
from pgjobs.worker.executors.wire import ADDRESS, CHUNK, READY, SAID, Answer, Answers, Order, order_text
from pgjobs.worker.run import Run

log = logging.getLogger("pgjobs.worker")

SHORT = 0.005  # seconds; a run that takes no longer may have others waiting behind it
MOST_IN_HAND = 32  # orders a child may have at a time, while they are short
WEIGH_EVERY = 0.2  # seconds between looks at the memory of a child whose task has a ceiling
ENDS_WITHIN = 5.0  # seconds a child may take to end

# Whole messages, so that what was not received can be taken back. Elsewhere a child has one order at a time.
_WHOLE = sys.platform == "linux"

_spawn = multiprocessing.get_context("spawn")


class Owner(Protocol):
    """Who is told of a child."""

    def answered(self, child: Child, run: Run, outcome: Outcome) -> None:
        """A run has ended, and the child is at the next, if it has one."""

    def lost(self, child: Child) -> None:
        """The child has ended by itself, or says what makes no sense."""

    def stopped(self, child: Child, failed: Failed) -> None:
        """The child must be killed: what it runs takes too long, or too much memory."""

    def given_back(self, child: Child, runs: list[Run]) -> None:
        """Runs that the child has not begun were taken back."""


class Child:
    """A child process. `in_hand` are its runs, in order; it is at the first."""

    def __init__(self, owner: Owner) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self.in_hand: deque[Run] = deque()
        self.most = 1  # it may have in hand
        self.jobs = 0
        self.ready = False  # it has told that it lives
        self.began = 0.0  # when it began what it is at, by the monotonic clock
        self._last: Claimed | None = None
        self._long = False  # the order sent last is more than one message
        self._lingered = False
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = b""
        self._read = Answers()
        kind = socket.SOCK_SEQPACKET if _WHOLE else socket.SOCK_STREAM
        self._orders, self._theirs = socket.socketpair(socket.AF_UNIX, kind)
        self._answers, answers = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._orders.setblocking(False)
        self._answers.setblocking(False)
        self._output = Output(_spawn, self._printing)
        self.process: SpawnProcess = _spawn.Process(
            target=serve, args=(self._theirs, answers, *self._output.theirs), name="pgjobs child", daemon=False
        )
        self.process.start()
        assert self.process.pid is not None
        # Not the sentinel of multiprocessing, a pipe, where there is something better: the child can close a pipe.
        self._pidfd = os.pidfd_open(self.process.pid) if sys.platform == "linux" else None
        answers.close()  # or the end of the child would never be seen
        for end in self._output.theirs:
            end.close()
        if not _WHOLE:
            self._theirs.close()
        self._loop.add_reader(self._answers.fileno(), self._readable)
        # A grandchild may hold the other end of the sockets open; the process itself cannot hide its end.
        self._loop.add_reader(self._sentinel, self._ended)

    @property
    def room(self) -> int:
        """How many orders it may have more."""
        busy = self._unsent or (self._long and self.in_hand)
        return 0 if busy else self.most - len(self.in_hand)

    def send(self, run: Run) -> None:
        """Have a run done, after those in hand."""
        task, job = run.task, run.job
        assert task is not None
        options = task.options_
        timeout = run.timeout
        text = order_text(Order(
            task.__module__, task.__qualname__, task.name, job.payload, job.version, job.id, job.run, job.queue,
            job.attempts + 1, options.max_attempts if job.max_attempts is None else job.max_attempts,
            job.enqueued_at, None if timeout is None else timeout.total_seconds(), job.metadata,
        ))  # fmt: skip
        run.work = self
        self.jobs += 1
        self.in_hand.append(run)
        if len(self.in_hand) == 1:
            self._begin()
        self._long = len(text) > CHUNK
        self._send(text)

    def take_back(self) -> list[Run]:
        """Take back the orders that the child has not begun, and never will."""
        back: list[Run] = []
        if _WHOLE and not self._long:  # one that is long may be half read
            with suppress(BlockingIOError):
                # The child may take one while we do: each says whose it is.
                while text := self._theirs.recv(ADDRESS.size, socket.MSG_DONTWAIT):
                    _, id, number = ADDRESS.unpack(text)
                    back += [run for run in self.in_hand if (run.lease.id, run.lease.run) == (id, number)]
        if back:
            at = self.in_hand[0]
            self.in_hand = deque(run for run in self.in_hand if run not in back)
            self.jobs -= len(back)
            if at in back:
                self._stop_timer()
                if self.in_hand:
                    self._begin()
        return back

    def read_answers(self) -> None:
        """Read what the child has answered up to now."""
        while True:
            try:
                data = self._answers.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            for answer in self._read.read(data):
                self._take(answer)
            if not data or self._read.broken:
                self._owner.lost(self)
                return
            if len(data) < CHUNK:
                return

    def rss(self) -> int | None:
        """Return how much memory the child holds, in bytes; None where the system does not tell (it has no /proc)."""
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        return None

    def kill(self) -> None:
        """End the child at once, and with it what its handler has started and left in its process group."""
        try:
            assert self.process.pid is not None
            os.killpg(self.process.pid, signal.SIGKILL)
        except OSError:  # it has not come so far as to make a group, or all of it has ended
            self.process.kill()

    def let_go(self) -> None:
        """Tell the child that there is no more to do: it ends by itself."""
        self._orders.close()

    def leave(self) -> None:
        """Hear no more of it."""
        self._stop_timer()
        self._loop.remove_reader(self._answers.fileno())
        self._loop.remove_reader(self._sentinel)
        if self._unsent:
            self._unsent = b""
            self._loop.remove_writer(self._orders.fileno())

    async def end(self) -> None:
        """Wait for the end of a child that was left, kill it if it does not come, and log what it said last."""
        ended = asyncio.Event()
        self._loop.add_reader(self._sentinel, ended.set)
        try:
            async with asyncio.timeout(ENDS_WITHIN):
                await ended.wait()
        except TimeoutError:
            log.warning("the child process %s does not end by itself: killing it", self.process.pid)
            self._lingered = True
            self.kill()
        finally:
            self._loop.remove_reader(self._sentinel)
            self.process.join(timeout=ENDS_WITHIN)
            self._output.close()
            for ours in (self._orders, self._theirs, self._answers):
                ours.close()
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None

    def death(self) -> str:
        """Say how the child ended."""
        code = self.process.exitcode
        if self._lingered:
            return "closed its connection to the worker"
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit status {code}"

    @property
    def _sentinel(self) -> int:
        return self.process.sentinel if self._pidfd is None else self._pidfd

    def _send(self, text: bytes) -> None:
        while text:
            try:
                sent = self._orders.send(text[:CHUNK])
            except BlockingIOError:
                break
            except OSError:  # its end is on its way to us
                text = b""
                break
            text = text[sent:]
        if text and not self._unsent:
            self._loop.add_writer(self._orders.fileno(), self._send_more)
        elif self._unsent and not text:
            self._loop.remove_writer(self._orders.fileno())
        self._unsent = text

    def _send_more(self) -> None:
        self._send(self._unsent)

    def _begin(self) -> None:
        """The child is at the first in hand, as far as we know: its time runs from now on."""
        run = self.in_hand[0]
        self.began = time.monotonic()
        timeout = run.timeout
        if timeout is not None:
            self._timer = self._loop.call_later(timeout.total_seconds(), self._too_late, run)
        if run.task is not None and run.task.options_.max_rss is not None:
            self._loop.call_later(WEIGH_EVERY, self._weigh, run, run.task.options_.max_rss)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self, run: Run) -> None:
        self.read_answers()
        if self.in_hand and self.in_hand[0] is run:
            self._owner.stopped(self, timed_out(run.timeout))

    def _weigh(self, run: Run, most: int) -> None:
        if not self.in_hand or self.in_hand[0] is not run or self._pidfd is None:
            return
        rss = self.rss()
        if rss is not None and rss > most:
            self._owner.stopped(self, Failed(
                MemoryExceeded.__name__,
                f"its process took {rss / 2**20:,.0f} MB of memory, and its task may take {most / 2**20:,.0f} MB",
            ))  # fmt: skip
        else:
            self._loop.call_later(WEIGH_EVERY, self._weigh, run, most)

    def _readable(self) -> None:
        self.read_answers()

    def _ended(self) -> None:
        self.read_answers()  # what it said before comes first
        self._owner.lost(self)

    def _take(self, answer: Answer) -> None:
        if answer.kind == READY:
            self.ready = True
            return
        run = self.in_hand[0] if self.in_hand else None
        try:
            if run is None or (answer.id, answer.run) != (run.lease.id, run.lease.run):
                raise ValueError("the outcome of another run")
            if answer.kind == SAID:
                if run.context is not None and run.context._report is not None:
                    run.context._report(answer.progress())
                return
            outcome = answer.outcome()
        except (ValueError, TypeError):  # no message of ours: a handler can write anywhere
            self._read.broken = True
            return
        if answer.waits:
            self.most = 1
            self._output.rest(run.job)
        self._output.finish_lines()
        self.in_hand.popleft()
        self._last = run.job
        self._stop_timer()
        took = time.monotonic() - self.began
        if answer.waits:
            with suppress(OSError):
                self._answers.send(b"\n")
        elif took > SHORT:
            self.most = 1
        elif _WHOLE:
            self.most = min(self.most * 2, MOST_IN_HAND)
        if self.in_hand:
            self._begin()
        self._owner.answered(self, run, outcome)

    def _printing(self) -> Claimed | None:
        """Something is printed: see to it that it can only be of one run, and return its job."""
        self._owner.given_back(self, self.take_back())
        self.read_answers()
        self.most = 1
        return self.in_hand[0].job if self.in_hand else self._last
