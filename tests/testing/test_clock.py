"""The clock of a test's database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner
from pgjobs.testing import Clock
from tests.conftest import Connection

HOUR = timedelta(hours=1)


def now(connection: Connection) -> datetime:
    return Client(PsycopgRunner(connection)).now()


def test_all_sessions_see_the_clock_move(connect: Callable[..., Connection]) -> None:
    mine, other = connect(), connect()
    clock, before = Clock(mine), now(other)
    clock.advance(HOUR)
    assert HOUR <= now(other) - before < HOUR * 1.1
    clock.advance(-HOUR)
    assert now(other) - before < HOUR / 10


def test_a_clock_made_in_a_transaction_is_that_transactions_own_and_goes_with_it(
    connect: Callable[..., Connection],
) -> None:
    mine, other = connect(autocommit=False), connect()
    before = now(other)
    clock = Clock(mine)
    clock.advance(HOUR)
    assert now(mine) - before >= HOUR
    assert now(other) - before < HOUR / 10
    mine.rollback()
    assert now(mine) - before < HOUR / 10


def test_a_second_clock_begins_anew(db: Connection) -> None:
    before = now(db)
    Clock(db).advance(HOUR)
    clock = Clock(db)
    assert clock.now() - before < HOUR / 10


def test_time_stands_still_until_it_is_moved(db: Connection) -> None:
    clock = Clock(db)
    clock.stop()
    at = clock.now()
    assert now(db) == at
    clock.advance(1.5)
    assert now(db) == at + timedelta(seconds=1.5)
