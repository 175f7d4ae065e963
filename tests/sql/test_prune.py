"""prune: the ring of the history is emptied slot by slot, before the turn of each comes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from pgjobs.calls import Pruned
from pgjobs.errors import JobNotFound
from pgjobs.job import Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, Worker, client, enqueue_one, job, now, one
from tests.sql.one_database import one_database

database, dsn = one_database()

PERIOD = timedelta(hours=12)
SLOTS = 16


def finish_one(connection: Connection) -> int:
    """Enqueue a job and complete it; return its id."""
    worker = Worker(connection)
    id = enqueue_one(connection)
    worker.complete(worker.claim_one())
    worker.client.resign(worker.id)
    return id


def set_to(connection: Connection, clock: Clock, at: datetime) -> None:
    """Move the clock to a moment, or a little past it."""
    clock.advance(at - now(connection))


def start_of_period(at: datetime) -> datetime:
    """When the period began that a moment belongs to."""
    seconds = at.timestamp()
    return datetime.fromtimestamp(seconds - seconds % PERIOD.total_seconds(), at.tzinfo)


def in_history(connection: Connection) -> list[int]:
    return [id for (id,) in connection.execute("select id from pgjobs.job_history order by id")]


def test_the_ring_keeps_fifteen_periods_and_empties_one_at_a_time_for_ever(db: Connection, clock: Clock) -> None:
    set_to(db, clock, start_of_period(now(db)) + PERIOD / 2)
    finished: list[int] = []
    for period in range(2 * SLOTS + 4):
        finished.append(finish_one(db))
        # Only from the sixteenth period on is there something in the slot whose turn is next.
        assert client(db).prune() is (period >= SLOTS - 1)
        assert client(db).prune() is False
        assert in_history(db) == finished[-(SLOTS - 1) :]
        clock.advance(PERIOD)


def test_a_finished_job_is_kept_for_seven_days_at_least(db: Connection, clock: Clock) -> None:
    end = start_of_period(now(db)) + PERIOD
    set_to(db, clock, end - timedelta(seconds=30))
    id = finish_one(db)
    set_to(db, clock, end + 14 * PERIOD - timedelta(seconds=30))
    assert client(db).prune() is False
    assert job(db, id).status is Status.COMPLETED
    set_to(db, clock, end + 14 * PERIOD)
    assert client(db).prune() is True
    with pytest.raises(JobNotFound):
        job(db, id)


def test_what_finishes_goes_into_the_slot_of_its_period(db: Connection, clock: Clock) -> None:
    for _ in range(SLOTS + 1):
        id = finish_one(db)
        slot, expected = db.execute(
            "select slot, (floor(extract(epoch from finished_at) / 43200)::bigint %% 16)::smallint"
            " from pgjobs.job_history where id = %s",
            (id,),
        ).fetchone() or (None, None)
        assert slot == expected
        clock.advance(PERIOD)
        client(db).prune()


def test_a_cancelled_job_is_pruned_like_a_completed_one(db: Connection, clock: Clock) -> None:
    client(db).cancel([enqueue_one(db)])
    clock.advance(15 * PERIOD)
    assert client(db).prune() is True
    assert in_history(db) == []


def test_live_and_dead_jobs_are_not_pruned(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    dead = enqueue_one(db)
    worker.settle(worker.claim_one(), "fail")
    alive = enqueue_one(db)
    for _ in range(SLOTS + 1):
        clock.advance(PERIOD)
        assert client(db).prune() is False
    assert (job(db, dead).status, job(db, alive).status) == (Status.DEAD, Status.READY)


def test_a_slot_that_somebody_reads_is_left_for_later_without_waiting(connect: Connect) -> None:
    db, reader = connect(), connect(autocommit=False)
    clock = Clock(db)
    id = finish_one(db)
    clock.advance(15 * PERIOD)
    assert one(reader, "select count(*) from pgjobs.job_history") == 1  # its transaction keeps the lock
    db.execute("set statement_timeout = '10 s'")
    assert client(db).prune() is False
    assert in_history(db) == [id]
    reader.rollback()
    assert client(db).prune() is True
    assert in_history(db) == []


# What people ask for: prune(older_than).


def prune_all(connection: Connection, older_than: timedelta, limit: int = 100) -> dict[int, Pruned]:
    """Prune every slot with one call; return what was done where."""
    did = {slot: client(connection).prune_history(older_than, slot, limit) for slot in range(SLOTS)}
    return {slot: pruned for slot, pruned in did.items() if pruned.jobs}


def test_what_finished_longer_ago_goes_and_the_rest_stays(db: Connection, clock: Clock) -> None:
    set_to(db, clock, start_of_period(now(db)) + timedelta(hours=1))
    ids = []
    for _ in range(6):
        ids.append(finish_one(db))
        clock.advance(PERIOD / 4)
    # In three periods, of four, two and no jobs; the limit lies in the first.
    (pruned,) = prune_all(db, PERIOD * 1.2).values()
    assert (pruned.jobs, pruned.emptied, pruned.last) == (2, False, ids[1])
    assert in_history(db) == ids[2:]
    assert [pruned.jobs for pruned in prune_all(db, timedelta(0)).values()] == [2, 2]
    assert in_history(db) == []


def test_a_slot_whose_period_is_over_for_so_long_goes_as_a_whole(db: Connection, clock: Clock) -> None:
    for _ in range(3):
        finish_one(db)
    set_to(db, clock, start_of_period(now(db)) + 3 * PERIOD)
    kept = finish_one(db)
    (pruned,) = prune_all(db, 2 * PERIOD, limit=1).values()
    assert (pruned.jobs, pruned.emptied) == (3, True)
    assert in_history(db) == [kept]


def test_a_slot_that_somebody_reads_is_pruned_row_by_row_without_waiting(connect: Connect) -> None:
    db, reader = connect(), connect(autocommit=False)
    clock = Clock(db)
    _, second, third = (finish_one(db) for _ in range(3))
    clock.advance(3 * PERIOD)
    assert one(reader, "select count(*) from pgjobs.job_history") == 3
    db.execute("set statement_timeout = '10 s'")
    ((slot, pruned),) = prune_all(db, PERIOD, limit=2).items()
    assert (pruned.jobs, pruned.emptied, pruned.last) == (2, False, second)
    assert client(db).prune_history(PERIOD, slot, 2, second).last == third
    assert client(db).prune_history(PERIOD, slot, 2, third) == Pruned(0, False, None)
    reader.rollback()


def test_people_prune_with_one_call_and_hear_how_many_went(db: Connection, clock: Clock) -> None:
    dead = Worker(db)
    enqueue_one(db)
    dead.settle(dead.claim_one(), "fail")
    for _ in range(3):
        finish_one(db)
    clock.advance(timedelta(days=1))
    kept = finish_one(db)
    assert one(db, "select pgjobs.prune()") == 0
    assert one(db, "select pgjobs.prune('1 hour')") == 3
    assert in_history(db) == [kept]
    assert one(db, "select count(*) from pgjobs.dead_letters") == 1
