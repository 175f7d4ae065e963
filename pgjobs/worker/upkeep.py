"""Upkeep: leases are renewed, lost workers' jobs taken back, the history pruned. Every supervisor does it, and no leader.

A thread with a connection of its own, so that it goes on whatever an event loop, or a process to be waited for, is doing.
While the connection is there it holds a lock, by which others see that whoever renews is there. When it breaks that is
noticed at once, not at the next use: a second later others would think the workers lost.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from pgjobs import calls
from pgjobs.calls import Call, Report
from pgjobs.settings import CONNECT
from pgjobs.worker.libpq import Broken, Connection, library
from pgjobs.worker.loop import Every, drive

log = logging.getLogger("pgjobs.worker")

T = TypeVar("T")

SUSPICION = 1.1  # seconds after which a look at the suspected is worth while; see rescue.sql
AGAIN = 0.05  # seconds after which to ask again for the jobs of a dead worker, while its last request is under way
LAST_WORDS = 2.0  # seconds after which nobody waits for that any more, if somebody keeps the worker's row locked


class Upkeep:
    """The thread that renews for workers and sweeps.

    Arguments: dsn, may be set later, before the start; lease, of the workers; reports, returns what is to be renewed;
    renewed, told with the workers and the monotonic time before the renewal was sent; lost, told the worker whose lease is
    gone; rescued, told the workers reported dead when their jobs have been taken back.
    """

    def __init__(
        self,
        dsn: str,
        lease: timedelta,
        reports: Callable[[], Sequence[Report]],
        renewed: Callable[[Sequence[int], float], None],
        lost: Callable[[int], None],
        rescued: Callable[[Sequence[int]], None] = lambda workers: None,
    ) -> None:
        library()  # what is not there is not missed in the thread
        self.dsn = dsn
        self._lease = lease
        self._connection: Connection | None = None
        self._supervisor: int | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._listening, self._waking = socket.socketpair()
        self._listening.setblocking(False)
        self._waking.setblocking(False)
        self.renew = Every(Renew(self, reports, renewed, lost), min(lease / 3, timedelta(seconds=10)))
        self.rescue = Every(Rescue(self, rescued), min(lease / 4, timedelta(seconds=2)))
        self._steps = [
            self.renew,
            self.rescue,
            Every(Resume(self), timedelta(seconds=3)),
            Every(Prune(self), timedelta(minutes=10)),
        ]

    def start(self) -> None:
        """Start the thread. It is a daemon: it must not keep a finished process alive."""
        self._thread = threading.Thread(target=self._run, name="pgjobs keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and its connection; jobs of workers reported dead are taken back first, if the server answers."""
        self._stopped = True
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout=5)
            if self._thread.is_alive():
                return  # it waits for a server that does not answer, and ends with the process
        self._disconnect()
        self._listening.close()
        self._waking.close()

    def now(self, every: Every) -> None:
        """Do a step at once. From any thread."""
        every.within(0)
        self.wake()

    def dead(self, worker: int) -> None:
        """Take back the jobs of a worker whose process has ended. From any thread."""
        rescue = self.rescue.step
        assert isinstance(rescue, Rescue)
        rescue.dead[worker] = time.monotonic()
        self.now(self.rescue)

    def wake(self) -> None:
        """Let the thread look what is due."""
        with suppress(OSError):  # full, so it wakes anyway; or closed, so there is nothing to wake
            self._waking.send(b".")

    def do(self, call: Call[T]) -> T:
        """Make a call on the connection, which is made anew when it broke."""
        connection = self._connection or self._connect()
        return call.read(connection.rows(call.sql, call.params))

    @property
    def supervisor(self) -> int | None:
        """The id under which this session renews, and holds its lock."""
        if self._connection is None:
            self._connect()
        return self._supervisor

    def _run(self) -> None:
        drive(self._steps, self._wait, self._failed)
        rescue = self.rescue.step
        assert isinstance(rescue, Rescue)
        ends = time.monotonic() + LAST_WORDS
        try:
            while rescue.dead and time.monotonic() < ends:
                if rescue.step() < rescue.limit and rescue.dead:
                    time.sleep(AGAIN)
        except Exception as error:
            self._failed(error)

    def _wait(self, seconds: float) -> bool:
        """Sleep until something is due, somebody wakes us, or the connection breaks. Returns whether to stop."""
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        if self._connection is not None:
            poll.register(self._connection.fileno(), select.POLLIN)
        ready = {fd for fd, _ in poll.poll(seconds * 1000)}
        if self._listening.fileno() in ready:
            self._listening.recv(4096)
        elif ready and self._connection is not None and self._connection.has_ended():
            self._failed(Broken("the server closed the connection"))
        return self._stopped

    def _connect(self) -> Connection:
        timeout = max(2, int(self._lease.total_seconds() / 3))
        settings = {**CONNECT, "connect_timeout": timeout, "application_name": "pgjobs keeper"}
        connection = self._connection = Connection(self.dsn, settings)
        try:
            self.do(calls.session())
            self._supervisor = self.do(calls.hold())
        except BaseException:
            self._disconnect()
            raise
        self.renew.within(0)  # under the new lock
        return connection

    def _failed(self, error: Exception) -> None:
        log.warning("keeper: %s", error)
        if isinstance(error, Broken):
            # At once the first time; while the server is away, now and then.
            pause = min(1.0, self._lease.total_seconds() / 10) if self._connection is None else 0
            self._disconnect()
            for every in self._steps:
                every.due = max(every.due, time.monotonic() + pause)
            self.renew.within(pause)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Renew:
    """Renews the leases of all workers there are, in one statement."""

    limit = 1 << 30  # a renewal is never "full"

    def __init__(
        self,
        upkeep: Upkeep,
        reports: Callable[[], Sequence[Report]],
        renewed: Callable[[Sequence[int], float], None],
        lost: Callable[[int], None],
    ) -> None:
        self._upkeep, self._reports, self._renewed, self._lost = upkeep, reports, renewed, lost

    def step(self) -> int:
        """Renew once and return for how many."""
        supervisor = self._upkeep.supervisor
        self._upkeep.renew.later()  # if that has just connected, this is the renewal under the new lock
        reports = self._reports()
        if not reports:
            return 0
        sent = time.monotonic()
        gone = self._upkeep.do(calls.renew_many(supervisor, reports))
        self._renewed([report.worker for report in reports if report.worker not in gone], sent)
        for worker in gone:
            self._lost(worker)
        return len(reports)


class Rescue:
    """Takes back the jobs of lost workers, also of those that were reported dead."""

    limit = 500

    def __init__(self, upkeep: Upkeep, rescued: Callable[[Sequence[int]], None]) -> None:
        self._upkeep = upkeep
        self._rescued = rescued
        self.dead: dict[int, float] = {}  # with when that was reported, by the monotonic clock

    def step(self) -> int:
        """Rescue up to `limit` jobs and return how many."""
        now, reported = time.monotonic(), dict(self.dead)
        count = self._upkeep.do(calls.rescue(self.limit, list(reported)))
        rescued, dead = count
        if rescued or dead:
            log.warning("rescued %d jobs of lost workers; %d more crashed too often and are dead", rescued, dead)
        if rescued + dead < self.limit:
            # What a dead worker asked for last may still be under way: it is taken back when that is over.
            done = [worker for worker in reported if worker not in count.suspected]
            for worker in done:
                del self.dead[worker]
            if told := [worker for worker, since in reported.items() if worker in done or now - since > LAST_WORDS]:
                self._rescued(told)
        if count.suspected:
            patient = any(now - since <= LAST_WORDS for since in self.dead.values())
            self._upkeep.rescue.within(AGAIN if patient else SUSPICION)
        return rescued + dead


class Resume:
    """Takes the jobs of resumed tasks out of their lines again."""

    limit = 1000

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep

    def step(self) -> int:
        """Take back up to `limit` jobs and return how many."""
        return self._upkeep.do(calls.resume_tasks(self.limit))


class Prune:
    """Empties the next slot of the history ring before its turn comes."""

    limit = 2  # one slot is all there is to do

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep

    def step(self) -> int:
        """Empty the slot and return whether there was something in it."""
        return int(self._upkeep.do(calls.prune()))
