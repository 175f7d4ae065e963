"""pause, resume: nothing of a paused queue is claimed."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from pgjobs.job import Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Worker, client, enqueue_one, ids, job, one
from tests.sql.one_database import one_database

database, dsn = one_database()


def test_what_runs_in_a_paused_queue_runs_on_and_can_be_settled(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    db.execute("select pgjobs.pause('default')")
    assert worker.complete(claimed).fenced == []
    assert job(db, id).status is Status.COMPLETED


def test_jobs_enter_a_paused_queue_and_are_claimed_when_it_is_resumed(db: Connection) -> None:
    worker = Worker(db)
    db.execute("select pgjobs.pause('default')")
    id = enqueue_one(db)
    assert worker.claim(head=True) == []
    db.execute("select pgjobs.resume('default')")
    assert ids(worker.claim()) == [id]


def test_a_queue_is_paused_since_the_first_time_it_was_said(db: Connection, clock: Clock) -> None:
    db.execute("select pgjobs.pause('default')")
    since = one(db, "select paused_at from pgjobs.queues")
    clock.advance(timedelta(hours=1))
    db.execute("select pgjobs.pause('default')")
    assert one(db, "select paused_at from pgjobs.queues") == since
    db.execute("select pgjobs.resume('default')")
    assert one(db, "select paused_at from pgjobs.queues") is None
    db.execute("select pgjobs.pause('default')")
    assert one(db, "select paused_at from pgjobs.queues") >= since + timedelta(hours=1)


def test_a_queue_that_nobody_paused_can_be_resumed(db: Connection) -> None:
    db.execute("select pgjobs.resume('default')")
    assert client(db).queue_overview() == []


def test_a_queue_must_have_a_name(db: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="queues_named"):
        db.execute("select pgjobs.pause('')")
