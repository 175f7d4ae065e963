"""What a backlog costs a worker beside its handlers: statements, and objects. Guards against creeping growth."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs.async_client import AsyncClient
from pgjobs.connections import AsyncPsycopgRunner
from pgjobs.job import Spec
from pgjobs.outcome import Done
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.settler import Entry, Outbox
from tests.worker.conftest import run

JOBS = 500
# Of a claimed job and its lease: the row, its texts and numbers, the lease, its place in two tables. Measured: 9.0.
BLOCKS_A_JOB = 9.0


def test_a_claimed_job_is_nine_objects(app: pgjobs.App) -> None:
    app.enqueue_many([Spec("t", f'{{"n": {n}}}') for n in range(3 * JOBS)])

    async def main() -> list[float]:
        async with await psycopg.AsyncConnection.connect(app.dsn, autocommit=True) as connection:
            client = AsyncClient(AsyncPsycopgRunner(connection))
            outbox = Outbox()
            claimer = Claimer(outbox, ("default",), timedelta(seconds=2))
            claimer.attach(client)
            claimer.worker = await client.register("w", "h", 1, "0", ["default"], JOBS, timedelta(minutes=1))
            blocks = []
            for _ in range(3):
                gc.collect()
                before = sys.getallocatedblocks()
                assert await claimer.step(JOBS) == JOBS
                jobs = claimer.take()
                gc.collect()
                blocks.append((sys.getallocatedblocks() - before) / JOBS)
                for lease, job in jobs:
                    outbox.put(Entry(lease, job, Done(), None))
                del jobs, lease, job
                await claimer.step(0)
                assert not claimer.held
            return blocks

    first, *later = run(main)
    assert min(later) < 1.15 * BLOCKS_A_JOB
    assert first > 5  # it does count them


@pytest.mark.parametrize(("concurrency", "at_most"), [(4, 1_000), (100, 100)])
def test_a_backlog_is_worked_off_in_few_statements(
    app: pgjobs.App, monkeypatch: pytest.MonkeyPatch, concurrency: int, at_most: int
) -> None:
    """Measured: 35 with 100 slots, 130 to 190 with 4, most of them while the worker finds out how much it gets through; 200
    and 5,000 by the slots alone."""
    statements: Counter[str] = Counter()
    rows = AsyncPsycopgRunner.rows

    async def counted(self: AsyncPsycopgRunner, sql: str, params: tuple[Any, ...]) -> Any:
        statements[sql.split("pgjobs.")[-1].split("(")[0]] += 1
        return await rows(self, sql, params)

    @app.task
    async def nothing() -> None:
        pass

    app.enqueue_many([nothing.spec()] * 10_000)
    monkeypatch.setattr(AsyncPsycopgRunner, "rows", counted)
    worker = app.make_worker(drain=True, concurrency=concurrency)
    asyncio.run(worker.run())
    assert worker.stats["done"] == 10_000
    assert statements.total() < at_most, statements
