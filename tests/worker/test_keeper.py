"""Who keeps a lease: the keeper of one worker, its upkeep, and the loop that drives it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgjobs.calls import Report
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner
from pgjobs.testing import break_connections
from pgjobs.worker.keeper import Keeper
from pgjobs.worker.libpq import Broken
from pgjobs.worker.loop import Every, drive
from pgjobs.worker.upkeep import AGAIN, LAST_WORDS, Rescue, Upkeep
from tests.conftest import Clock, Connection
from tests.sql.by_hand import LOCKS, Worker, enqueue_one, one, until

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
    break_connections(db, "pgjobs keeper")
    until(db, "supervisor > %s from pgjobs.workers", before)
    until(db, f"objid = (select supervisor from pgjobs.workers) from {LOCKS} where mode = 'ExclusiveLock'")


def test_what_is_asked_on_a_broken_connection_fails_and_the_next_works(keeper: Keeper, db: Connection) -> None:
    renew(keeper)
    break_connections(db, "pgjobs keeper")
    with pytest.raises(Broken) as error:
        renew(keeper)
    keeper.upkeep._failed(error.value)
    renew(keeper)
    assert db.execute("select gen from pgjobs.workers").fetchone() == (2,)


@pytest.fixture
def told() -> list[int]:
    """The dead workers whose jobs are said to have been taken back."""
    return []


@pytest.fixture
def upkeep(dsn: str, told: list[int]) -> Iterator[Upkeep]:
    """A supervisor's. Not started: a test takes its steps."""
    upkeep = Upkeep(dsn, LEASE, list, lambda workers, sent: None, lambda worker: None, told.extend)
    yield upkeep
    upkeep.stop()


@pytest.fixture
def dead(db: Connection) -> Worker:
    """A worker whose lease is good, but whose process has ended."""
    return Worker(db)


@pytest.fixture
def under_way(dead: Worker, dsn: str, db: Connection) -> Iterator[Connection]:
    """A claim of the dead worker, which has not ended yet."""
    enqueue_one(db)
    with psycopg.connect(dsn) as open_:
        assert dead.on(open_).claim_one()
        yield open_


def test_the_jobs_of_a_dead_worker_are_taken_back_when_what_it_asked_for_last_is_over(
    upkeep: Upkeep, dead: Worker, told: list[int], under_way: Connection, db: Connection
) -> None:
    upkeep.dead(dead.id)
    assert upkeep.rescue.step.step() == 0
    assert told == []
    assert upkeep.rescue.due - time.monotonic() <= AGAIN
    under_way.commit()
    assert upkeep.rescue.step.step() == 1
    assert told == [dead.id]
    assert upkeep.rescue.step.step() == 0
    assert told == [dead.id]


def test_a_worker_is_replaced_though_somebody_keeps_its_predecessor_locked_and_it_is_looked_at_until_that_is_over(
    upkeep: Upkeep, dead: Worker, told: list[int], under_way: Connection
) -> None:
    upkeep.dead(dead.id)
    rescue = upkeep.rescue.step
    assert isinstance(rescue, Rescue)
    rescue.dead[dead.id] -= LAST_WORDS
    upkeep.rescue.due = time.monotonic() + 60
    assert rescue.step() == 0
    assert told == [dead.id]
    assert upkeep.rescue.due - time.monotonic() > AGAIN  # for as long as somebody likes to keep it
    under_way.commit()
    assert rescue.step() == 1


def test_an_upkeep_that_ends_waits_a_little_for_what_a_dead_worker_asked_for_last(
    upkeep: Upkeep, dead: Worker, told: list[int], under_way: Connection, db: Connection
) -> None:
    upkeep.dead(dead.id)
    upkeep.start()
    ending = threading.Thread(target=upkeep.stop)
    ending.start()
    until(
        db,
        "exists (select from pg_stat_activity where application_name = 'pgjobs keeper' and query like '%%rescue_v1%%')",
    )
    under_way.commit()
    ending.join()
    assert told == [dead.id]


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
