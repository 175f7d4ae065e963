"""edit: a job that does not run is changed."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from pgjobs.calls import Edit
from pgjobs.errors import InvalidJob, JobNotFound, JobNotWaiting
from pgjobs.job import Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, Ear, Worker, client, enqueue, enqueue_one, ids, job, now, one
from tests.sql.one_database import one_database

database, dsn = one_database()

HOUR = timedelta(hours=1)


def test_what_is_not_named_stays_as_it_is(db: Connection) -> None:
    id = enqueue_one(db, payload='{"n": 1}', metadata='{"m": 2}', priority=1, max_attempts=3, timeout=HOUR)
    before = job(db, id)
    client(db).edit(id, Edit())
    assert job(db, id) == before
    db.execute("select pgjobs.edit(%s)", (id,))
    assert job(db, id) == before


def test_everything_that_an_enqueue_says_can_be_changed(db: Connection) -> None:
    id = enqueue_one(db)
    before = now(db)
    client(db).edit(id, Edit(-1, "other", HOUR, None, '{"n": 1}', '{"m": 2}', 7, HOUR, 2))
    found = job(db, id)
    assert (found.priority, found.queue, found.payload, found.metadata) == (-1, "other", {"n": 1}, {"m": 2})
    assert found.max_attempts == 7
    assert found.available_at is not None
    assert before + HOUR <= found.available_at <= now(db) + HOUR
    assert db.execute("select timeout, version from pgjobs.jobs").fetchall() == [(HOUR, 2)]


def test_a_scheduled_job_can_be_called_forward_and_is_announced(db: Connection, connect: Connect) -> None:
    worker, ear = Worker(db), Ear(connect())
    id = enqueue_one(db, delay=HOUR)
    assert worker.claim() == []
    ear.heard()
    client(db).edit(id, Edit(delay=timedelta(0)))
    (message,) = ear.heard()
    assert (message["queue"], message["since"]) == ("default", job(db, id).available_at)
    assert ids(worker.claim()) == [id]


def test_a_time_in_the_past_is_now(db: Connection) -> None:
    id = enqueue_one(db)
    before = now(db)
    client(db).edit(id, Edit(available_at=before - HOUR))
    assert one(db, "select available_at >= %s from pgjobs.jobs", before)


@pytest.mark.parametrize("change", [Edit(queue="other"), Edit(priority=-1)])
def test_a_job_that_was_due_is_due_now_under_its_new_key(db: Connection, clock: Clock, change: Edit) -> None:
    id = enqueue_one(db)
    clock.advance(HOUR)
    before = now(db)
    client(db).edit(id, change)
    assert one(db, "select available_at >= %s from pgjobs.jobs", before)


def test_another_payload_leaves_the_job_in_its_place(db: Connection) -> None:
    worker = Worker(db)
    first, second = enqueue(db, Spec("work"), Spec("work"))
    client(db).edit(first, Edit(payload='{"n": 2}'))
    assert ids(worker.claim()) == [first, second]


def test_a_job_whose_edit_was_open_while_claimers_went_by_is_announced_with_its_old_key(connect: Connect) -> None:
    db, open_, ear = connect(), connect(autocommit=False), Ear(connect())
    worker = Worker(db)
    id = enqueue_one(db)
    ear.heard()
    client(open_).edit(id, Edit(payload='{"n": 2}'))
    assert worker.claim() == []
    open_.commit()
    (message,) = ear.heard()
    worker.cursors.back_to(message["queue"], message["since"])
    assert ids(worker.claim()) == [id]


def test_a_rescued_job_keeps_its_place_at_the_head_unless_its_priority_is_changed(db: Connection) -> None:
    worker = Worker(db)
    first, second = enqueue(db, Spec("work"), Spec("work"))
    worker.release(*worker.claim())
    client(db).edit(first, Edit(queue="default"))
    client(db).edit(second, Edit(priority=0))
    assert [rank for (rank,) in db.execute("select rank from pgjobs.jobs order by id")] == [-3, 0]


def test_a_parked_job_stays_in_line_as_what_it_has_become(db: Connection) -> None:
    worker = Worker(db, ["other"])
    client(db).pause(task="work")
    id = enqueue_one(db)
    Worker(db).claim()
    client(db).edit(id, Edit(queue="other", priority=-2, payload='{"n": 2}'))
    assert job(db, id).status is Status.WAITING
    client(db).resume(task="work")
    (claimed,) = worker.claim()
    assert (claimed.id, claimed.priority, claimed.payload) == (id, -2, '{"n": 2}')


def test_a_parked_job_that_is_put_off_is_not_due_when_its_task_is_resumed(db: Connection) -> None:
    worker = Worker(db)
    client(db).pause(task="work")
    id = enqueue_one(db)
    worker.claim()
    client(db).edit(id, Edit(delay=HOUR))
    client(db).resume(task="work")
    assert worker.claim() == []
    assert job(db, id).status is Status.READY


def test_a_job_that_runs_or_is_over_is_refused_in_a_sentence(db: Connection) -> None:
    worker = Worker(db)
    running, done, dead = enqueue(db, Spec("a"), Spec("b"), Spec("c"))
    claimed = {claimed.id: claimed for claimed in worker.claim()}
    worker.complete(claimed[done])
    worker.settle(claimed[dead], "fail")
    for id, status in (running, "running"), (done, "completed"), (dead, "dead"):
        with pytest.raises(JobNotWaiting, match=f"^Job {id} is {status} and cannot be changed any more"):
            client(db).edit(id, Edit(priority=1))
    with pytest.raises(JobNotFound, match="There is no job with the id 4711"):
        client(db).edit(4711, Edit(priority=1))


@pytest.mark.parametrize(
    "change",
    [
        Edit(priority=3), Edit(queue=""), Edit(queue="a\tb"), Edit(payload="[]"), Edit(metadata="1"), Edit(max_attempts=0),
        Edit(timeout=timedelta(0)), Edit(delay=timedelta(days=99_999)),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_changes_nothing(db: Connection, change: Edit) -> None:
    id = enqueue_one(db)
    before = job(db, id)
    with pytest.raises(InvalidJob):
        client(db).edit(id, change)
    with pytest.raises(psycopg.Error):
        db.execute("select pgjobs.edit(%s, delay => '1 s', available_at => now())", (id,))
    assert job(db, id) == before
