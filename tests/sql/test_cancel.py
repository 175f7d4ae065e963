"""cancel: jobs that wait are finished and will not run; runs are asked to stop, and end as cancelled unless they complete."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.calls import Cancellation
from pgjobs.job import Lease, Progress, Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, Ear, Worker, client, enqueue, enqueue_one, job, now, one
from tests.sql.one_database import one_database

database, dsn = one_database()


def test_a_cancelled_job_is_in_the_history_with_the_reason_and_does_not_run(db: Connection) -> None:
    id = enqueue_one(db, payload='{"n": 1}', metadata='{"m": 2}')
    before = now(db)
    assert client(db).cancel([id], "ordered twice") == Cancellation([id], [], [])
    found = job(db, id)
    assert (found.status, found.reason, found.run, found.worker) == (Status.CANCELLED, "ordered twice", 0, None)
    assert (found.payload, found.metadata, found.result) == ({"n": 1}, {"m": 2}, None)
    assert found.finished_at is not None
    assert before <= found.finished_at <= now(db)
    assert Worker(db).claim(head=True) == []


def test_a_reason_need_not_be_given(db: Connection) -> None:
    id = enqueue_one(db)
    assert db.execute("select pgjobs.cancel(array[%s])::text", (id,)).fetchall() == [(f"({id},cancelled)",)]
    assert job(db, id).reason is None


def test_what_waits_is_cancelled_what_runs_is_asked_and_the_rest_left_out(db: Connection) -> None:
    worker = Worker(db)
    running, done, dead = enqueue(db, Spec("a"), Spec("b"), Spec("c"))
    claimed = {claimed.id: claimed for claimed in worker.claim()}
    worker.complete(claimed[done])
    worker.settle(claimed[dead], "fail")
    due, scheduled, spared = enqueue(db, Spec("d"), Spec("e", delay=timedelta(hours=1)), Spec("f"))
    assert client(db).cancel([scheduled, running, done, dead, 4711, due, due]) == Cancellation(
        [due, scheduled], [running], []
    )
    statuses = [job(db, id).status for id in (running, done, dead, spared)]
    assert statuses == [Status.RUNNING, Status.COMPLETED, Status.DEAD, Status.READY]
    assert client(db).cancel([due]) == Cancellation([], [], [])


def test_no_ids_cancel_nothing(db: Connection) -> None:
    enqueue_one(db)
    assert client(db).cancel([]) == Cancellation([], [], [])
    assert db.execute("select * from pgjobs.cancel(null)").fetchall() == []


def test_the_errors_of_a_cancelled_job_go_with_it_into_the_history(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", max_attempts=3, message="the scanner was off")
    assert client(db).cancel([id]).cancelled == [id]
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
    assert client(db).cancel([first, second]) == Cancellation([second], [], [first])
    assert job(db, first).status is Status.READY


def test_a_cancellation_that_is_rolled_back_never_was(connect: Connect) -> None:
    connection = connect(autocommit=False)
    id = enqueue_one(connection)
    connection.commit()
    assert client(connection).cancel([id]).cancelled == [id]
    connection.rollback()
    assert job(connection, id).status is Status.READY


# What runs


def test_a_run_that_is_asked_to_stop_is_named_to_its_worker_with_the_reason(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    worker, other = Worker(db), Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    assert client(db).cancel([id], "ordered twice") == Cancellation([], [id], [])
    assert ear.heard() == [{"cancel": worker.id}]
    assert client(db).cancel_asked(worker.id, 10) == [(id, claimed.run, "ordered twice")]
    assert client(db).cancel_asked(other.id, 10) == []
    assert job(db, id).status is Status.RUNNING


def test_the_first_request_stands(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.claim()
    client(db).cancel([id])
    assert client(db).cancel([id], "too late") == Cancellation([], [id], [])
    assert client(db).cancel_asked(worker.id, 10) == [(id, 1, None)]


@pytest.mark.parametrize("outcome", ["release", "snooze", "cancel"])
def test_a_run_that_was_asked_to_stop_ends_as_cancelled_and_does_not_come_back(db: Connection, outcome: str) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    client(db).cancel([id], "ordered twice")
    step = worker.settle(claimed, outcome, delay=5)
    assert (step.fenced, step.locked) == ([], [])
    found = job(db, id)
    assert (found.status, found.reason, found.run, found.worker) == (Status.CANCELLED, "ordered twice", 1, worker.id)
    assert (found.attempts, found.errors) == (0, ())


@pytest.mark.parametrize("outcome", ["retry", "fail"])
def test_a_run_that_fails_after_it_was_asked_is_cancelled_and_its_errors_are_kept(db: Connection, outcome: str) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", max_attempts=3, message="the scanner was off")
    claimed = worker.claim_one()
    client(db).cancel([id], "ordered twice")
    worker.settle(claimed, outcome, max_attempts=3, error="OSError", message="interrupted")
    found = job(db, id)
    assert (found.status, found.reason, found.attempts) == (Status.CANCELLED, "ordered twice", 2)
    assert [(e.run, e.attempt, e.message) for e in found.errors] == [
        (1, 1, "the scanner was off"),
        (2, 2, "interrupted"),
    ]
    assert one(db, "select count(*) from pgjobs.attempts") == 0


def test_a_run_that_completes_all_the_same_is_completed(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    client(db).cancel([id], "ordered twice")
    worker.complete(claimed, results=["42"])
    found = job(db, id)
    assert (found.status, found.result, found.reason) == (Status.COMPLETED, 42, None)


def test_the_reason_of_the_handler_goes_before_that_of_the_request(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    client(db).cancel([id], "ordered twice")
    worker.settle(claimed, "cancel", reason="the letter was withdrawn")
    assert job(db, id).reason == "the letter was withdrawn"


def test_a_run_of_a_lost_worker_that_was_asked_to_stop_is_cancelled_by_the_rescue(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    asked, spared = enqueue(db, Spec("work"), Spec("work"))
    db.execute("update pgjobs.jobs set crashes = 2 where id = %s", (asked,))
    worker.claim()
    client(db).cancel([asked], "ordered twice")
    clock.advance(timedelta(minutes=2))
    assert client(db).rescue(10) == (1, 0)
    assert (job(db, asked).status, job(db, asked).reason) == (Status.CANCELLED, "ordered twice")
    assert job(db, spared).status is Status.READY
    assert one(db, "select count(*) from pgjobs.workers") == 0


def test_a_worker_that_leaves_takes_what_was_asked_to_stop_along(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.claim()
    client(db).cancel([id])
    assert client(db).resign(worker.id) == 0
    assert job(db, id).status is Status.CANCELLED


def test_a_request_names_a_run_and_is_not_for_its_successor(db: Connection) -> None:
    """I3: the request lies in the row of the run; a job that came back before it begins without one."""
    worker = Worker(db)
    id = enqueue_one(db)
    worker.release(worker.claim_one())
    again = worker.claim_one()
    assert client(db).cancel_asked(worker.id, 10) == []
    client(db).cancel([id])
    assert client(db).cancel_asked(worker.id, 10) == [(id, again.run, None)]


# Progress


def test_what_a_run_says_of_its_progress_is_seen_and_goes_into_the_history(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    step = client(db).progress([Lease(id, claimed.run, worker.id)], [Progress(3, 4, "page 3")])
    assert step.locked == []
    assert job(db, id).progress == Progress(3, 4, "page 3")
    assert one(db, "select progress ->> 'message' from pgjobs.running_jobs") == "page 3"
    worker.complete(claimed)
    assert job(db, id).progress == Progress(3, 4, "page 3")


def test_progress_of_a_run_that_failed_goes_into_the_dead_letters_and_is_forgotten_when_it_comes_back(
    db: Connection,
) -> None:
    worker = Worker(db)
    dead, again = enqueue(db, Spec("work"), Spec("work"))
    claimed = {claimed.id: claimed for claimed in worker.claim()}
    leases = [Lease(id, claimed[id].run, worker.id) for id in (dead, again)]
    client(db).progress(leases, [Progress(1), Progress(2)])
    worker.settle(claimed[dead], "fail")
    worker.settle(claimed[again], "retry", max_attempts=3)
    assert job(db, dead).progress == Progress(1)
    assert job(db, again).progress is None


def test_only_the_current_run_says_its_progress(db: Connection) -> None:
    worker, other = Worker(db), Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    for lease in Lease(id, claimed.run + 1, worker.id), Lease(id, claimed.run, other.id):
        assert client(db).progress([lease], [Progress(1)]).locked == []
    assert job(db, id).progress is None


def test_progress_whose_row_is_locked_is_told_to_be_sent_again(connect: Connect) -> None:
    db, somebody = connect(), connect(autocommit=False)
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    somebody.execute("select from pgjobs.jobs where id = %s for update", (id,))
    lease = Lease(id, claimed.run, worker.id)
    assert client(db).progress([lease], [Progress(1)]).locked == [(id, claimed.run)]
    somebody.rollback()
    assert client(db).progress([lease], [Progress(1)]).locked == []
