"""A worker driven by hand, one statement at a time, and short ways to say what tests say often.

It has the real cursors and no loop, no timing and no threads: a test decides what happens and when.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pgjobs.calls import Scan, Settlement, Step
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner
from pgjobs.job import Claimed, Job, Lease, Spec
from pgjobs.testing import Clock
from pgjobs.worker.cursors import HEAD, RANKS, Cursors
from tests.conftest import Connection

Connect = Callable[..., Connection]

LEASE = timedelta(seconds=60)
OVERLAP = timedelta(seconds=0.2)


class Worker:
    """A registered worker on a connection of the test's."""

    def __init__(
        self,
        connection: Connection,
        queues: Sequence[str] = ("default",),
        lease: timedelta = LEASE,
        on_failure: str | None = None,
    ) -> None:
        self.connection = connection
        self.client = client(connection)
        self.queues = tuple(queues)
        self.id = self.client.register("by hand", "here", 1, "0", self.queues, 10, lease, on_failure)
        self.cursors = Cursors(self.queues)

    def on(self, connection: Connection) -> Worker:
        """Return the same worker on another connection, as after a lost one: new cursors, same id."""
        other = object.__new__(Worker)
        other.connection, other.client = connection, client(connection)
        other.queues, other.id, other.cursors = self.queues, self.id, Cursors(self.queues)
        return other

    def look(
        self, limit: int = 100, *, head: bool = False, idle: bool | None = None, overlap: timedelta = OVERLAP
    ) -> Step:
        """Claim with the cursors and move them on; return all that the database said."""
        scan = self.cursors.scan(overlap, idle, head)
        step = self.client.claim(self.id, limit, scan)
        self.cursors.advance(scan, step)
        return step

    def claim(self, limit: int = 100, *, head: bool = False) -> list[Claimed]:
        """Claim with the cursors; return the jobs."""
        return self.look(limit, head=head).claimed

    def claim_one(self) -> Claimed:
        """Claim the one job that is there."""
        (job,) = self.claim()
        return job

    def wait_idle(self) -> Step:
        """Take the idle locks with a claim, as a worker does that has nothing to do."""
        step = self.look(idle=True)
        assert step.claimed == []
        return step

    def complete(
        self, *jobs: Claimed, results: Sequence[str] | None = None, keep: Sequence[bool] | None = None
    ) -> Step:
        """Settle jobs as completed."""
        return self.client.settle(
            self.id, Settlement([job.id for job in jobs], [job.run for job in jobs], results, keep)
        )

    def settle(self, job: Claimed | Lease, outcome: str, **fields: Any) -> Step:
        """Settle one job with another outcome."""
        return self.client.settle(self.id, Settlement(others=[other(job, outcome, **fields)]))

    def release(self, *jobs: Claimed) -> Step:
        """Give jobs back unstarted."""
        return self.client.release([Lease(job.id, job.run, self.id) for job in jobs])

    def renew(self, claims_since: str | None = None, stopping: bool = False) -> None:
        """Renew the lease."""
        self.client.renew(self.id, 0, claims_since, stopping)

    def leases(self) -> list[Lease]:
        """What the database says this worker holds."""
        return self.client.leases(self.id, 1000)


def client(connection: Connection) -> Client:
    """The verbs on a connection."""
    return Client(PsycopgRunner(connection))


def enqueue(connection: Connection, *specs: Spec) -> list[int]:
    """Enqueue jobs one by one and return their ids; without specs, one plain job."""
    return [int(client(connection).enqueue(spec)) for spec in specs or [Spec("work")]]


def enqueue_one(connection: Connection, **settings: Any) -> int:
    """Enqueue one job and return its id."""
    (id,) = enqueue(connection, Spec("work", **settings))
    return id


def other(job: Claimed | Lease, outcome: str, **fields: Any) -> dict[str, Any]:
    """An outcome other than completed, as the settling statement takes it."""
    return {"id": job.id, "run": job.run, "outcome": outcome, **fields}


def job(connection: Connection, id: int) -> Job:
    """A job as it is now, wherever it is."""
    return client(connection).job(id)


def ids(jobs: Iterable[Claimed]) -> list[int]:
    """The ids of claimed jobs, in order."""
    return [job.id for job in jobs]


def one(connection: Connection, sql: str, *params: Any) -> Any:
    """The one value that a query returns."""
    row = connection.execute(sql.encode(), params or None).fetchone()
    assert row is not None
    return row[0]


def now(connection: Connection) -> datetime:
    """The time by the clock of pgjobs."""
    at: datetime = one(connection, "select pgjobs.now()")
    return at


def scan_from(
    at: str = HEAD[0], id: int = HEAD[1], queues: Sequence[str] = ("default",), idle: bool | None = None
) -> Scan:
    """A scan of all ranks of some queues, each from the same cursor."""
    entries = [(queue, rank) for rank in RANKS for queue in queues]
    return Scan(
        [q for q, _ in entries], [r for _, r in entries], [at] * len(entries), [id] * len(entries), OVERLAP, idle
    )


def empty(connection: Connection) -> None:
    """Empty all tables, and let ids begin at 1 again. A delete costs less than to truncate two dozen tables."""
    for table in "jobs", "attempts", "dead_letters", "job_history", "queues", "tasks", "workers":
        connection.execute(f"delete from pgjobs.{table}".encode())
    connection.execute("select setval('pgjobs.jobs_id_seq', 1, false), setval('pgjobs.workers_id_seq', 1, false)")


def until(connection: Connection, condition: str, *params: Any, seconds: float = 10) -> None:
    """Ask until the condition holds, so long at most."""
    deadline = time.monotonic() + seconds
    while not one(connection, f"select {condition}", *params):
        assert time.monotonic() < deadline, f"in vain waited until {condition}"
        time.sleep(0.005)  # between two looks


def flagged(connection: Connection) -> list[str]:
    """The tasks of the jobs that are flagged to announce their queue."""
    return [task for (task,) in connection.execute("select task from pgjobs.jobs where wake order by id")]


LOCKS = (
    "(select * from pg_locks where locktype = 'advisory'"
    " and database = (select oid from pg_database where datname = current_database())) locks"
)


class StoppedClock(Clock):
    """The clock of pgjobs, standing still until a test moves it: for what depends on fractions of a second."""

    def __init__(self, db: Connection, at: datetime | None = None) -> None:
        super().__init__(db)
        self.stop(at)


class Ear:
    """Hears what is announced on the channel of pgjobs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.execute("listen pgjobs")

    def heard(self) -> list[dict[str, Any]]:
        """What was announced since the last time, by transactions that are committed."""
        # Messages come in the order of commits: when our own is heard, so is all before it.
        self._connection.execute("select pg_notify('pgjobs', 'that is all')")
        heard: list[dict[str, Any]] = []
        for message in self._connection.notifies(timeout=10):
            if message.payload == "that is all":
                return heard
            content = json.loads(message.payload)
            if "since" in content:
                content["since"] = datetime.fromisoformat(content["since"])
            heard.append(content)
        raise AssertionError("the connection hears nothing")
