from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner
from pgjobs.testing import break_connections
from pgjobs.worker.keeper import Keeper, Report
from pgjobs.worker.loop import Every, drive
from tests.conftest import Clock, Connection

LEASE = timedelta(seconds=30)


@pytest.fixture
def worker(db: Connection) -> int:
    return Client(PsycopgRunner(db)).register("w", "h", 1, "0", ["q"], 1, LEASE)


@pytest.fixture
def lost() -> list[int]:
    return []


@pytest.fixture
def keeper(dsn: str, worker: int, lost: list[int]) -> Iterator[Keeper]:
    keeper = Keeper(dsn, LEASE, Report(worker, 0, None, False), lost.append)
    yield keeper
    keeper.stop()


def lapses_at(db: Connection) -> datetime:
    [(at,)] = db.execute("select lapses_at from pgjobs.workers").fetchall()
    assert isinstance(at, datetime)
    return at


def test_a_renewal_prolongs_the_lease_and_says_how_the_worker_is(
    keeper: Keeper, worker: int, db: Connection, clock: Clock
) -> None:
    before = lapses_at(db)
    clock.advance(timedelta(seconds=20))
    keeper.report = Report(worker, 3, None, True)
    keeper.step()
    assert lapses_at(db) - before >= timedelta(seconds=20)
    assert db.execute("select running, stopping, gen from pgjobs.workers").fetchone() == (3, True, 1)


def test_a_worker_that_was_rescued_is_told_once(
    keeper: Keeper, worker: int, db: Connection, clock: Clock, lost: list[int]
) -> None:
    clock.advance(LEASE)
    db.execute("select pgjobs.rescue_v1(10)")
    keeper.step()
    keeper.step()
    assert lost == [worker]


def test_a_worker_that_cannot_reach_the_database_for_a_lease_gives_up_by_its_own_clock(
    keeper: Keeper, worker: int, lost: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> Client:
        raise psycopg.OperationalError("no route to host")

    monkeypatch.setattr(keeper, "client", unreachable)
    with pytest.raises(psycopg.OperationalError):
        keeper.step()
    assert lost == []
    keeper.good_until = time.monotonic() - 0.001  # the length of a lease since the last renewal that succeeded was sent
    with pytest.raises(psycopg.OperationalError):
        keeper.step()
    assert lost == [worker]


def test_the_lease_counts_from_before_a_renewal_was_sent(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.monotonic()
    keeper.step()
    assert before + 30 <= keeper.good_until <= time.monotonic() + 30
    assert keeper.good_until - before - 30 < 5


def test_a_broken_connection_is_made_anew(keeper: Keeper, db: Connection) -> None:
    keeper.step()
    break_connections(db, "pgjobs keeper")
    with pytest.raises(psycopg.OperationalError) as error:
        keeper.step()
    keeper._failed(error.value)
    keeper.step()
    assert db.execute("select gen from pgjobs.workers").fetchone() == (2,)


class Portions:
    """Has `left` things to do, two at a time."""

    limit = 2

    def __init__(self, left: int, stopped: threading.Event) -> None:
        self.left = left
        self.calls: list[int] = []
        self._stopped = stopped

    def step(self) -> int:
        done = min(self.left, self.limit)
        self.left -= done
        self.calls.append(done)
        if done < self.limit:
            self._stopped.set()
        return done


def test_a_step_that_was_full_is_called_again_at_once() -> None:
    stopped = threading.Event()
    portions = Portions(5, stopped)
    drive([Every(portions, timedelta(milliseconds=1))], stopped, lambda error: None)
    assert portions.calls == [2, 2, 1]


def test_an_error_of_one_step_is_told_and_does_not_end_the_loop() -> None:
    stopped = threading.Event()
    errors: list[Exception] = []

    class Bad:
        limit = 1

        def step(self) -> int:
            raise ValueError("bad")

    def told(error: Exception) -> None:
        errors.append(error)
        if len(errors) == 3:
            stopped.set()

    steps: list[Any] = [Every(Bad(), timedelta(milliseconds=1))]
    drive(steps, stopped, told)
    assert [str(error) for error in errors] == ["bad"] * 3
