"""Puts an app on something else than its database, for the time of a block: in memory, or inline."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

from pgjobs.app import App
from pgjobs.async_client import AsyncClient
from pgjobs.client import Client
from pgjobs.errors import ConfigurationError
from pgjobs.job import Claimed, JobId, Spec
from pgjobs.outcome import Outcome
from pgjobs.testing.failures import raise_failures
from pgjobs.testing.memory import InMemory
from pgjobs.testing.running import Blocking, InLoop
from pgjobs.transactions import Transactions
from pgjobs.worker.settler import Entry


@contextmanager
def in_memory(app: App) -> Iterator[InMemory]:
    """Keep the jobs of an app in memory while the block runs, without a server; `drain(app)` runs them.

    Returns what they are kept in; its `clock` moves their time. Handlers run one at a time, in this process.
    """
    memory = InMemory(app.tasks)
    with swapped(app, StandIn(memory)):
        yield memory


@contextmanager
def inline(app: App, *, raise_on_failure: bool = False) -> Iterator[Inline]:
    """Run each job of an app where it is enqueued, at once, while the block runs; no server is needed.

    Enqueue returns an id as ever, and `app.job(id)` shows the result or the errors. A job with a delay, and one that is
    to be retried or was snoozed, waits: move the `clock` of what is returned, and `drain(app)`.
    Transactions count for nothing: a job runs before its transaction commits.

    Arguments: raise_on_failure, whether failed attempts are raised at the end of the block. Raises JobsFailed.
    """
    jobs = Inline(app.tasks)
    with swapped(app, StandIn(jobs)):
        yield jobs
    if raise_on_failure:
        raise_failures(jobs.ran)


class Inline(InMemory):
    """Jobs in memory, run when they are enqueued. `ran` has their outcomes."""

    def __init__(self, tasks: Any) -> None:
        super().__init__(tasks)
        self.ran: list[Entry] = []

    def client(self, tx: Any) -> Client:
        """Return this as a client, whatever the transaction."""
        return super().client(None)

    def enqueue(self, spec: Spec) -> JobId:
        """Put one job into its queue and return its id."""
        id = super().enqueue(spec)
        self._run([id])
        return id

    def enqueue_many(self, specs: Iterable[Spec], notify: bool = True) -> list[JobId]:
        """Put many jobs into their queues, all or none, and return their ids in the order given."""
        ids = super().enqueue_many(specs, notify)
        self._run(ids)
        return ids

    async def aenqueue(self, spec: Spec) -> JobId:
        """The same as `enqueue`, for callers in an event loop."""
        id = super().enqueue(spec)
        await self._arun([id])
        return id

    async def aenqueue_many(self, specs: Iterable[Spec], notify: bool = True) -> list[JobId]:
        """The same as `enqueue_many`, for callers in an event loop."""
        ids = super().enqueue_many(specs, notify)
        await self._arun(ids)
        return ids

    def _run(self, ids: Iterable[int]) -> None:
        blocking, ids = Blocking(self.tasks), list(ids)
        for id in ids:
            if job := self.take_due(id=id):
                ids += self._put(job, blocking.run(job, _EVER))

    async def _arun(self, ids: Iterable[int]) -> None:
        ids = list(ids)
        async with InLoop(self.tasks) as loop:
            for id in ids:
                if job := self.take_due(id=id):
                    ids += self._put(job, await loop.run(job, _EVER))

    def _put(self, job: Claimed, outcome: Outcome) -> list[JobId]:
        entry, told = self.put_outcome(job, outcome)
        self.ran.append(entry)
        return told


_EVER = time.monotonic() + 365 * 86_400


class StandIn(Transactions):
    """Lends clients of memory instead of a database's."""

    def __init__(self, memory: InMemory) -> None:
        super().__init__(None, required=False)
        self._using: ContextVar[Any] = ContextVar("pgjobs_using", default=None)
        self.memory = memory

    @property
    def dsn(self) -> str:
        """There is none. Raises ConfigurationError."""
        raise ConfigurationError(
            "pgjobs.testing stands in for the database of this app: run jobs by its drain(app), or do this on a real one."
        )

    @contextmanager
    def client(self, tx: Any, *, enqueues: bool = False) -> Iterator[Client]:
        """Lend a client. Raises NotSupported for a transaction in memory."""
        yield self.memory.client(tx if tx is not None else self._using.get())

    @asynccontextmanager
    async def async_client(self, tx: Any, *, enqueues: bool = False) -> AsyncIterator[AsyncClient]:
        """The same as `client`, in an event loop."""
        yield self.memory.aclient(tx if tx is not None else self._using.get())


@contextmanager
def swapped(app: App, transactions: Transactions) -> Iterator[None]:
    """Give an app other connections than its own, and its own again after the block."""
    before, app._transactions = app._transactions, transactions
    try:
        yield
    finally:
        transactions.close()
        app._transactions = before


def in_place_of(app: App) -> InMemory | None:
    """Return what an app's jobs are kept in, if not in a database."""
    return app._transactions.memory if isinstance(app._transactions, StandIn) else None
