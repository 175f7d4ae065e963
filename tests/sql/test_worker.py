"""The life of a worker: register, renew, leases, resign."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from pgjobs.calls import Report
from pgjobs.errors import LeaseLost
from pgjobs.job import Lease, Priority, Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, Worker, client, enqueue_one, ids, job, now, one
from tests.sql.one_database import one_database

database, dsn = one_database()

# register


def test_a_registered_worker_has_a_row_with_all_that_it_said_and_a_lease_from_now(db: Connection) -> None:
    before = now(db)
    id = client(db).register("w1", "host", 42, "1.2", ["ocr", 'odd "name", \\'], 7, timedelta(seconds=30))
    after = now(db)
    row = db.execute(
        "select name, host, pid, version, queues, concurrency, lease, running, lost, stopping, gen, started_at from pgjobs.workers"
        " where id = %s",
        (id,),
    ).fetchone()
    assert row is not None
    assert row[:-1] == (
        "w1", "host", 42, "1.2", ["ocr", 'odd "name", \\'], 7, timedelta(seconds=30), 0, False, False, 0,
    )  # fmt: skip
    assert before <= row[-1] <= after
    assert one(
        db,
        "select renewed_at = started_at and claims_since = started_at and lapses_at = started_at + lease from pgjobs.workers",
    )


def test_every_registration_is_another_worker(db: Connection) -> None:
    assert Worker(db).id != Worker(db).id


def test_a_lease_of_no_length_is_refused(db: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="workers_lease_positive"):
        Worker(db, lease=timedelta(0))


# renew


def test_a_renewed_lease_runs_on_from_now(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    clock.advance(timedelta(seconds=50))
    before = now(db)
    db.execute("select pgjobs.renew_v1(%s, 3, null, true)", (worker.id,))
    after = now(db)
    row = db.execute("select renewed_at, lapses_at, running, stopping, gen from pgjobs.workers").fetchone()
    assert row is not None
    renewed_at, lapses_at, *rest = row
    assert before <= renewed_at <= after
    assert lapses_at == renewed_at + timedelta(seconds=60)
    assert rest == [3, True, 1]


def test_a_worker_that_is_late_but_was_not_missed_renews(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    clock.advance(timedelta(hours=1))
    worker.renew()
    assert ids(worker.claim()) == [id]
    assert client(db).rescue(10) == (0, 0)


def test_every_renewal_raises_the_generation_and_leaves_one_row(db: Connection) -> None:
    worker, neighbour = Worker(db), Worker(db)
    for _ in range(3):
        worker.renew()
    assert db.execute("select id, gen from pgjobs.workers order by id").fetchall() == [
        (worker.id, 3),
        (neighbour.id, 0),
    ]


def test_an_unknown_worker_cannot_renew(db: Connection) -> None:
    with pytest.raises(LeaseLost, match=r"The lease of worker 4711 has lapsed\."):
        client(db).renew(4711, 0, None, False)


def test_a_renewal_says_since_when_the_worker_holds_claims_or_leaves_it_as_it_was(db: Connection) -> None:
    worker = Worker(db)
    since = str(now(db) + timedelta(milliseconds=1))
    worker.renew(claims_since=since)
    worker.renew()
    assert one(db, "select claims_since = %s::timestamptz from pgjobs.workers", since)


def test_several_workers_are_renewed_at_once_and_those_that_are_gone_are_named(db: Connection, clock: Clock) -> None:
    first, second, gone = Worker(db), Worker(db), Worker(db)
    gone.client.resign(gone.id)
    since = str(now(db))
    clock.advance(timedelta(seconds=50))
    reports = [Report(second.id, 2, None, True), Report(gone.id, 0, None, False), Report(first.id, 1, since, False)]
    assert client(db).renew_many(None, reports) == [gone.id]
    rows = db.execute(
        "select id, running, stopping, claims_since = %s, renewed_at > started_at + interval '49 s', gen from pgjobs.workers"
        " order by id",
        (since,),
    ).fetchall()
    assert rows == [(first.id, 1, False, True, True, 1), (second.id, 2, True, False, True, 1)]
    assert client(db).renew_many(None, []) == []


# leases


def test_leases_are_what_a_worker_holds_oldest_claims_first(db: Connection) -> None:
    worker, other = Worker(db), Worker(db)
    held = []
    for _ in range(3):
        id = enqueue_one(db, priority=Priority.NORMAL)
        worker.claim_one()
        held.append(Lease(id, 1, worker.id))
    enqueue_one(db)
    other.claim_one()
    assert worker.leases() == held
    assert client(db).leases(worker.id, 2) == held[:2]


def test_what_was_settled_is_no_lease_any_more(db: Connection) -> None:
    worker = Worker(db)
    client(db).enqueue_many([Spec("work")] * 3)
    first, second, third = worker.claim()
    worker.complete(first)
    worker.release(second)
    assert worker.leases() == [Lease(third.id, 1, worker.id)]


def test_leases_are_found_from_another_connection_as_after_a_lost_reply(connect: Connect) -> None:
    worker = Worker(connect())
    id = enqueue_one(worker.connection)
    worker.claim()
    worker.connection.close()
    assert worker.on(connect()).leases() == [Lease(id, 1, worker.id)]


def test_an_unknown_worker_holds_nothing(db: Connection) -> None:
    assert client(db).leases(4711, 10) == []


# resign


def test_a_worker_that_resigns_gives_back_what_it_holds_uncounted_and_first(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db, priority=Priority.BULK)
    worker.claim()
    assert worker.client.resign(worker.id) == 0
    assert one(db, "select count(*) from pgjobs.workers") == 0
    found = job(db, id)
    assert (found.status, found.run, found.attempts, found.crashes) == (Status.READY, 1, 0, 0)
    assert one(db, "select rank from pgjobs.jobs") == -3


def test_a_worker_that_resigned_is_no_worker_any_more(db: Connection) -> None:
    worker = Worker(db)
    worker.client.resign(worker.id)
    enqueue_one(db)
    with pytest.raises(LeaseLost):
        worker.claim()
    with pytest.raises(LeaseLost):
        worker.renew()
    assert worker.client.resign(worker.id) == 0


def test_a_worker_does_not_leave_while_somebody_has_a_job_of_its_own_locked(connect: Connect) -> None:
    db, somebody = connect(), connect(autocommit=False)
    worker = Worker(db)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    worker.claim()
    somebody.execute("select from pgjobs.jobs where id = %s for update", (first,))
    assert worker.client.resign(worker.id) == 1
    assert (job(db, first).status, job(db, second).status) == (Status.RUNNING, Status.READY)
    assert one(db, "select count(*) from pgjobs.workers") == 1
    somebody.rollback()
    assert worker.client.resign(worker.id) == 0
    assert job(db, first).status is Status.READY
    assert one(db, "select count(*) from pgjobs.workers") == 0


def test_a_worker_that_leaves_takes_nothing_from_others(db: Connection) -> None:
    worker, other = Worker(db), Worker(db)
    id = enqueue_one(db)
    other.claim()
    worker.client.resign(worker.id)
    assert job(db, id).worker == other.id
    assert other.leases() == [Lease(id, 1, other.id)]
