"""cancel: jobs that wait are finished and will not run."""

from __future__ import annotations

from datetime import timedelta

from pgjobs.job import Spec, Status
from tests.conftest import Connection
from tests.sql.by_hand import Connect, Worker, client, enqueue, enqueue_one, job, now, one
from tests.sql.one_database import one_database

database, dsn = one_database()


def test_a_cancelled_job_is_in_the_history_with_the_reason_and_does_not_run(db: Connection) -> None:
    id = enqueue_one(db, payload='{"n": 1}', metadata='{"m": 2}')
    before = now(db)
    assert client(db).cancel([id], "ordered twice") == [id]
    found = job(db, id)
    assert (found.status, found.reason, found.run, found.worker) == (Status.CANCELLED, "ordered twice", 0, None)
    assert (found.payload, found.metadata, found.result) == ({"n": 1}, {"m": 2}, None)
    assert found.finished_at is not None
    assert before <= found.finished_at <= now(db)
    assert Worker(db).claim(head=True) == []


def test_a_reason_need_not_be_given(db: Connection) -> None:
    id = enqueue_one(db)
    assert db.execute("select pgjobs.cancel(array[%s])", (id,)).fetchall() == [(id,)]
    assert job(db, id).reason is None


def test_only_jobs_that_wait_are_cancelled_and_their_ids_returned_in_order(db: Connection) -> None:
    worker = Worker(db)
    running, done, dead = enqueue(db, Spec("a"), Spec("b"), Spec("c"))
    claimed = {claimed.id: claimed for claimed in worker.claim()}
    worker.complete(claimed[done])
    worker.settle(claimed[dead], "fail")
    due, scheduled, spared = enqueue(db, Spec("d"), Spec("e", delay=timedelta(hours=1)), Spec("f"))
    assert client(db).cancel([scheduled, running, done, dead, 4711, due, due]) == [due, scheduled]
    statuses = [job(db, id).status for id in (running, done, dead, spared)]
    assert statuses == [Status.RUNNING, Status.COMPLETED, Status.DEAD, Status.READY]
    assert client(db).cancel([due]) == []


def test_no_ids_cancel_nothing(db: Connection) -> None:
    enqueue_one(db)
    assert client(db).cancel([]) == []
    assert db.execute("select pgjobs.cancel(null)").fetchall() == []


def test_the_errors_of_a_cancelled_job_go_with_it_into_the_history(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", max_attempts=3, message="the scanner was off")
    assert client(db).cancel([id]) == [id]
    (error,) = one(db, "select errors from pgjobs.job_history")
    assert (error["run"], error["message"]) == (1, "the scanner was off")
    assert one(db, "select count(*) from pgjobs.attempts") == 0


def test_the_errors_from_before_a_retry_of_the_dead_letter_go_along_too(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "fail", message="the scanner was off")
    db.execute("select pgjobs.retry_failed(%s)", (id,))
    client(db).cancel([id])
    assert [error.message for error in job(db, id).errors] == ["the scanner was off"]
    assert one(db, "select count(*) from pgjobs.attempts") == 0


def test_a_job_that_somebody_has_locked_is_not_waited_for(connect: Connect) -> None:
    db, somebody = connect(), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    somebody.execute("select from pgjobs.jobs where id = %s for update", (first,))
    assert client(db).cancel([first, second]) == [second]
    assert job(db, first).status is Status.READY


def test_a_cancellation_that_is_rolled_back_never_was(connect: Connect) -> None:
    connection = connect(autocommit=False)
    id = enqueue_one(connection)
    connection.commit()
    assert client(connection).cancel([id]) == [id]
    connection.rollback()
    assert job(connection, id).status is Status.READY
