"""clear_failed: dead letters are deleted for good. Which ones is told as for retry_failed, in the same words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.calls import Filter
from pgjobs.errors import JobNotFound
from pgjobs.job import Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, Worker, client, enqueue_one, job, one
from tests.sql.one_database import one_database
from tests.sql.test_retry_failed import bury

database, dsn = one_database()


def test_a_cleared_dead_letter_is_gone_with_its_attempts(db: Connection) -> None:
    first, second = bury(db, Spec("work", queue="ocr"), Spec("work", queue="ocr"))
    assert client(db).clear_failed(Filter([first]), 10) == [first]
    with pytest.raises(JobNotFound):
        job(db, first)
    assert job(db, second).status is Status.DEAD
    assert one(db, "select array_agg(job_id) from pgjobs.attempts") == [second]


def test_all_conditions_must_fit_as_when_they_are_retried(db: Connection, clock: Clock) -> None:
    bury(db, Spec("old", queue="ocr"))
    clock.advance(timedelta(hours=2))
    bury(db, Spec("other", queue="ocr"), Spec("work", queue="mail"), message="another")
    (fits,) = bury(db, Spec("work", queue="ocr"), message="Disk FULL")
    filter = Filter(None, "ocr", "work", "disk full", timedelta(hours=1))
    assert client(db).failed(filter, 10) == [fits]
    assert client(db).clear_failed(filter, 10) == [fits]
    assert len(client(db).failed(Filter(), 10)) == 3


def test_portions_go_on_after_the_last_id(db: Connection) -> None:
    made = bury(db, *[Spec("work", queue="ocr")] * 5)
    assert client(db).clear_failed(Filter(), 2) == made[:2]
    assert client(db).clear_failed(Filter(), 2, made[2]) == made[3:]
    assert db.execute("select pgjobs.clear_failed(queue => 'ocr')").fetchall() == [(made[2],)]


def test_a_named_id_that_is_not_there_deletes_nothing(db: Connection) -> None:
    (dead,) = bury(db, Spec("work", queue="ocr"))
    alive = enqueue_one(db)
    with pytest.raises(JobNotFound, match=f"no dead letter with the id {alive}; nothing was deleted"):
        client(db).clear_failed(Filter([dead, alive]), 10)
    assert job(db, dead).status is Status.DEAD


def test_a_dead_letter_that_somebody_retries_is_not_waited_for(connect: Connect) -> None:
    db, somebody = connect(), connect(autocommit=False)
    first, second = bury(db, *[Spec("work", queue="ocr")] * 2)
    client(somebody).retry_failed(Filter([first]), 1)
    assert client(db).clear_failed(Filter(), 10) == [second]
    somebody.commit()
    assert job(db, first).status is Status.READY
    assert Worker(db, ["ocr"]).claim_one().id == first
