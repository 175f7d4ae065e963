"""Who keeps a lease: the keeper of one worker, its upkeep, and the loop that drives it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from pgjobs.calls import Report
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner
from pgjobs.worker.keeper import Keeper
from pgjobs.worker.libpq import Broken
from pgjobs.worker.loop import Every, drive
from tests.conftest import Clock, Connection
from tests.sql.by_hand import LOCKS, one, until

LEASE = timedelta(seconds=30)


@pytest.fixture
def worker(db: Connection) -> int:
    return Client(PsycopgRunner(db)).register("w", "h", 1, "0", ["q"], 1, LEASE)


@pytest.fixture
def lost() -> list[int]:
    return []


@pytest.fixture
def keeper(dsn: str, worker: int, lost: list[int]) -> Iterator[Keeper]:
    """Not started: a test takes its steps."""
    keeper = Keeper(dsn, LEASE, Report(worker, 0, None, False), lost.append)
    yield keeper
    keeper.stop()


def renew(keeper: Keeper) -> None:
    keeper.upkeep.renew.step.step()


def lapses_at(db: Connection) -> datetime:
    [(at,)] = db.execute("select lapses_at from pgjobs.workers").fetchall()
    assert isinstance(at, datetime)
    return at


def end_session(db: Connection) -> None:
    db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'pgjobs keeper' and datname = current_database()"
    )


def test_a_renewal_prolongs_the_lease_and_says_how_the_worker_is(
    keeper: Keeper, worker: int, db: Connection, clock: Clock
) -> None:
    before = lapses_at(db)
    clock.advance(timedelta(seconds=20))
    keeper.report = Report(worker, 3, None, True)
    renew(keeper)
    assert lapses_at(db) - before >= timedelta(seconds=20)
    assert db.execute("select running, stopping, gen from pgjobs.workers").fetchone() == (3, True, 1)


def test_a_worker_that_was_rescued_is_told_once(
    keeper: Keeper, worker: int, db: Connection, clock: Clock, lost: list[int]
) -> None:
    clock.advance(LEASE)
    db.execute("select pgjobs.rescue_v1(10)")
    renew(keeper)
    renew(keeper)
    assert lost == [worker]


def test_a_worker_that_cannot_renew_for_a_lease_gives_up_by_its_own_clock(
    keeper: Keeper, worker: int, lost: list[int]
) -> None:
    keeper.check()
    assert lost == []
    keeper.good_until = time.monotonic() - 0.001  # the length of a lease since the last renewal that succeeded was sent
    keeper.check()
    keeper.check()
    assert lost == [worker]
    renew(keeper)
    keeper.check()
    keeper.good_until = time.monotonic() - 0.001
    keeper.check()
    assert lost == [worker, worker]


def test_the_lease_counts_from_before_a_renewal_was_sent(keeper: Keeper) -> None:
    before = time.monotonic()
    renew(keeper)
    assert before + 30 <= keeper.good_until <= time.monotonic() + 30
    assert keeper.good_until - before - 30 < 5


def test_a_worker_that_stops_or_begins_anew_is_renewed_at_once(keeper: Keeper, worker: int, db: Connection) -> None:
    keeper.start()
    keeper.report = Report(worker, 0, None, True)
    until(db, "stopping from pgjobs.workers")


def test_a_keeper_holds_a_lock_while_it_is_there_and_its_worker_names_it(
    keeper: Keeper, worker: int, db: Connection
) -> None:
    renew(keeper)
    held = f"select objid = (select supervisor from pgjobs.workers) from {LOCKS} where mode = 'ExclusiveLock'"
    assert one(db, held)
    assert one(db, "select server_started_at = pg_postmaster_start_time() from pgjobs.workers")
    keeper.stop()
    until(db, f"count(*) = 0 from {LOCKS}")


def test_a_connection_that_breaks_is_made_anew_at_once_with_another_lock(
    keeper: Keeper, worker: int, db: Connection
) -> None:
    keeper.start()
    keeper.news()
    until(db, "supervisor is not null from pgjobs.workers")
    before = one(db, "select supervisor from pgjobs.workers")
    end_session(db)
    until(db, "supervisor > %s from pgjobs.workers", before)
    until(db, f"objid = (select supervisor from pgjobs.workers) from {LOCKS} where mode = 'ExclusiveLock'")


def test_what_is_asked_on_a_broken_connection_fails_and_the_next_works(keeper: Keeper, db: Connection) -> None:
    renew(keeper)
    end_session(db)
    with pytest.raises(Broken) as error:
        renew(keeper)
    keeper.upkeep._failed(error.value)
    renew(keeper)
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
    drive([Every(portions, timedelta(milliseconds=1))], stopped.wait, lambda error: None)
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
    drive(steps, stopped.wait, told)
    assert [str(error) for error in errors] == ["bad"] * 3
