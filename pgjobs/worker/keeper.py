"""The keeper: a thread that renews the worker's lease on a connection of its own, whatever the event loop is doing.

The same thread and connection do the upkeep, so that a worker costs one connection less. A worker that could not renew
for the length of a lease, counted from before the last renewal that succeeded was sent, must think its jobs lost: by
the clock of the database they may be in other hands. What it times alone it times on a monotonic clock (I5).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from pgjobs import calls
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner, is_broken, reason, run
from pgjobs.errors import LeaseLost
from pgjobs.pools import CONNECT
from pgjobs.worker.loop import Every, drive
from pgjobs.worker.upkeep import Prune, Rescue, Resume

log = logging.getLogger("pgjobs.worker")


@dataclass(slots=True)
class Report:
    """What the worker last said of itself. Replaced as a whole, so that another thread reads one consistent state."""

    worker: int
    running: int
    claims_since: str | None
    stopping: bool


class Keeper:
    """Renews the lease of one worker."""

    limit = 1 << 30  # a renewal is never "full"

    def __init__(self, dsn: str, lease: timedelta, report: Report, on_lost: Callable[[int], None]) -> None:
        self._dsn = dsn
        self._lease = lease
        self._on_lost = on_lost
        self._connection: psycopg.Connection[Any] | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost: int | None = None  # the worker whose loss was told already
        self.report = report
        self.good_until = time.monotonic() + lease.total_seconds()

    def start(self) -> None:
        """Start the thread. It is a daemon: a keeper must not keep a finished process alive."""
        steps = [
            Every(self, min(self._lease / 3, timedelta(seconds=10))),
            Every(Rescue(self.client), min(self._lease / 4, timedelta(seconds=2))),
            Every(Resume(self.client), timedelta(seconds=1)),
            Every(Prune(self.client), timedelta(minutes=10)),
        ]
        self._thread = threading.Thread(
            target=drive, args=(steps, self._stopped, self._failed), name="pgjobs keeper", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread and its connection."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._disconnect()

    def step(self) -> int:
        """Renew once. Tells `on_lost` when the lease is over, by the database's word or by our own clock."""
        report = self.report
        sent = time.monotonic()
        try:
            self.client().renew(report.worker, report.running, report.claims_since, report.stopping)
        except LeaseLost:
            self._tell_lost(report.worker)
        except psycopg.Error:
            self.check()
            raise
        else:
            self.good_until = sent + self._lease.total_seconds()
            self._lost = None
        return 1

    def check(self) -> None:
        """Tell `on_lost` if no renewal has succeeded for the length of a lease."""
        if time.monotonic() > self.good_until:
            self._tell_lost(self.report.worker)

    def renewed(self, sent: float) -> None:
        """A new registration, asked for at this monotonic time, gave a new lease."""
        self.good_until = sent + self._lease.total_seconds()

    def client(self) -> Client:
        """Return a client on the keeper's connection, which is made anew when it broke."""
        if self._connection is None or self._connection.closed:
            timeout = max(2, int(self._lease.total_seconds() / 3))
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=timeout, **CONNECT, application_name="pgjobs keeper"
            )
            run(PsycopgRunner(self._connection), calls.session())
        return Client(PsycopgRunner(self._connection))

    def _tell_lost(self, worker: int) -> None:
        if self._lost != worker:
            self._lost = worker
            self._on_lost(worker)

    def _failed(self, error: Exception) -> None:
        log.warning("keeper: %s", reason(error))
        if is_broken(error):
            self._disconnect()
            self._stopped.wait(min(1.0, self._lease.total_seconds() / 10))

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
