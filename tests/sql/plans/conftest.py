"""Benches: see verbs.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pgjobs import calls
from tests.conftest import Clock, Connection
from tests.sql.plans.verbs import Bench


@pytest.fixture
def bench_on(db: Connection, clock: Clock) -> Iterator[Callable[[Connection], Bench]]:
    """Make a bench on a session: bench_on(connect()). Autovacuum and autoanalyze keep away."""
    tables = ["jobs", "attempts", "dead_letters", "workers", *(f"job_history_{slot:02}" for slot in range(16))]
    for table in tables:
        db.execute(f"alter table pgjobs.{table} set (autovacuum_enabled = off)")
    benches: list[Bench] = []

    def bench_on(connection: Connection) -> Bench:
        benches.append(Bench(connection, clock))
        return benches[-1]

    yield bench_on
    for bench in benches:
        bench.run(calls.resign(bench.worker))


@pytest.fixture
def bench(db: Connection, bench_on: Callable[[Connection], Bench]) -> Bench:
    """A bench on the test's first session."""
    return bench_on(db)
