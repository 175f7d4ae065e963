"""settle: the outcomes of runs, each written only if its lease still stands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pgjobs.calls import Filter, Settlement
from pgjobs.job import Lease, Priority, Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, Worker, client, enqueue, enqueue_one, ids, job, now, one, other
from tests.sql.one_database import one_database

database, dsn = one_database()


def errors_in_history(connection: Connection, id: int) -> Any:
    return one(connection, "select errors from pgjobs.job_history where id = %s", id)


def rows_of_attempts(connection: Connection) -> int:
    count: int = one(connection, "select count(*) from pgjobs.attempts")
    return count


# Completed


def test_a_completed_job_moves_into_the_history_with_its_result(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(
        db,
        payload='{"letter_id": 7}',
        queue="default",
        priority=Priority.HIGH,
        max_attempts=3,
        metadata='{"by": "test"}',
    )
    before = job(db, id)
    claimed = worker.claim_one()
    running = job(db, id)
    step = worker.complete(claimed, results=['{"pages": 3}'])
    assert (step.fenced, step.locked) == ([], [])
    done = job(db, id)
    assert (done.status, done.result, done.errors, done.reason) == (Status.COMPLETED, {"pages": 3}, (), None)
    for name in "queue", "task", "payload", "priority", "max_attempts", "metadata", "enqueued_at":
        assert getattr(done, name) == getattr(before, name)
    for name in "run", "worker", "claimed_at", "attempts", "crashes":
        assert getattr(done, name) == getattr(running, name)
    assert done.claimed_at is not None
    assert done.finished_at is not None
    assert done.claimed_at <= done.finished_at <= now(db)
    assert one(db, "select count(*) from pgjobs.jobs") == 0


def test_results_belong_to_the_jobs_in_the_order_given(db: Connection) -> None:
    worker = Worker(db)
    first, second, third = client(db).enqueue_many([Spec("work")] * 3)
    claimed = worker.claim()
    worker.complete(*reversed(claimed), results=['"third"', "null", '{"n": 1}'])
    assert [job(db, id).result for id in (first, second, third)] == [{"n": 1}, None, "third"]
    # JSON null is no result: it is not stored as one.
    assert one(db, "select count(*) from pgjobs.job_history where result is null") == 1


def test_jobs_complete_without_results(db: Connection) -> None:
    worker = Worker(db)
    enqueue(db, Spec("a"), Spec("b"))
    worker.complete(*worker.claim())
    assert db.execute("select task, status, result from pgjobs.job_history order by id").fetchall() == [
        ("a", "completed", None),
        ("b", "completed", None),
    ]


def test_what_is_not_to_be_kept_is_gone_when_it_completes(db: Connection) -> None:
    worker = Worker(db)
    _, kept, _ = client(db).enqueue_many([Spec("work")] * 3)
    worker.complete(*worker.claim(), keep=[False, True, False])
    assert db.execute("select id from pgjobs.all_jobs").fetchall() == [(kept,)]


# A failed attempt


def test_a_failed_attempt_is_recorded_and_the_job_comes_again_after_its_delay(db: Connection, clock: Clock) -> None:
    worker = Worker(db, lease=timedelta(days=1))
    id = enqueue_one(db, priority=Priority.HIGH)
    claimed = worker.claim_one()
    claimed_at = job(db, id).claimed_at
    before = now(db)
    step = worker.settle(
        claimed, "retry", max_attempts=3, delay=90, error="ValueError", message="no such page", traceback="Trace …"
    )
    assert (step.fenced, step.locked) == ([], [])
    found = job(db, id)
    assert (found.status, found.attempts, found.run, found.worker, found.claimed_at) == (Status.READY, 1, 1, None, None)
    assert one(db, "select rank from pgjobs.jobs") == Priority.HIGH
    assert found.available_at is not None
    assert timedelta(0) <= found.available_at - before - timedelta(seconds=90) < timedelta(seconds=5)
    (error,) = found.errors
    assert (error.run, error.attempt, error.worker, error.error, error.message, error.traceback) == (
        1, 1, worker.id, "ValueError", "no such page", "Trace …",
    )  # fmt: skip
    assert error.started_at == claimed_at
    assert error.started_at <= error.failed_at
    clock.advance(timedelta(seconds=80))
    assert worker.claim() == []
    clock.advance(timedelta(seconds=10))
    again = worker.claim_one()
    assert (again.id, again.run, again.attempts) == (id, 2, 1)


def test_a_negative_delay_is_none(db: Connection) -> None:
    worker = Worker(db)
    enqueue_one(db)
    before = now(db)
    worker.settle(worker.claim_one(), "retry", max_attempts=2, delay=-3600)
    assert one(db, "select available_at from pgjobs.jobs") >= before


def test_the_last_attempt_that_fails_makes_a_dead_letter(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db, payload='{"n": 1}', priority=Priority.LOW, timeout=timedelta(seconds=9), metadata='{"m": 2}')
    for attempt in 1, 2, 3:
        claimed = worker.claim_one()
        assert claimed.attempts == attempt - 1
        worker.settle(claimed, "retry", max_attempts=3, error="ValueError", message=f"number {attempt}")
    found = job(db, id)
    assert (found.status, found.attempts, found.run, found.worker) == (Status.DEAD, 3, 3, worker.id)
    assert found.reason == "exhausted: ValueError: number 3"
    assert [error.message for error in found.errors] == ["number 1", "number 2", "number 3"]
    assert [error.attempt for error in found.errors] == [1, 2, 3]
    assert (found.payload, found.priority, found.metadata) == ({"n": 1}, Priority.LOW, {"m": 2})
    assert one(db, "select timeout from pgjobs.dead_letters") == timedelta(seconds=9)
    assert one(db, "select count(*) from pgjobs.jobs") == 0
    assert worker.claim(head=True) == []


def test_max_attempts_of_the_job_goes_before_what_the_worker_says(db: Connection) -> None:
    worker = Worker(db)
    patient, hasty = enqueue(db, Spec("work", max_attempts=2), Spec("work", max_attempts=1))
    for claimed in worker.claim():
        worker.settle(claimed, "retry", max_attempts=1 if claimed.id == patient else 5)
    assert (job(db, patient).status, job(db, hasty).status) == (Status.READY, Status.DEAD)


def test_where_nobody_says_how_often_one_attempt_is_all(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry")
    found = job(db, id)
    assert (found.status, found.reason) == (Status.DEAD, "exhausted: Error")


def test_a_job_that_fails_for_good_is_dead_whatever_attempts_are_left(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db, max_attempts=10)
    worker.settle(worker.claim_one(), "fail", error="Fail", message="the letter is blank")
    found = job(db, id)
    assert (found.status, found.reason, found.attempts) == (Status.DEAD, "failed: Fail: the letter is blank", 1)
    assert [error.message for error in found.errors] == ["the letter is blank"]


# Errors follow a job to where it ends


def test_the_errors_of_a_job_that_completes_at_last_go_with_it_into_the_history(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    for attempt in 1, 2:
        worker.settle(worker.claim_one(), "retry", max_attempts=5, error="ValueError", message=f"number {attempt}")
    before = job(db, id).errors
    worker.complete(worker.claim_one())
    done = job(db, id)
    assert (done.status, done.attempts, done.run) == (Status.COMPLETED, 2, 3)
    assert [error["message"] for error in errors_in_history(db, id)] == ["number 1", "number 2"]
    assert done.errors == before
    assert rows_of_attempts(db) == 0


def test_the_errors_of_a_job_that_is_not_kept_are_gone_with_it(db: Connection) -> None:
    worker = Worker(db)
    enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", max_attempts=5)
    worker.complete(worker.claim_one(), keep=[False])
    assert rows_of_attempts(db) == 0


def test_the_errors_of_a_job_that_cancels_itself_go_with_it_into_the_history(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", max_attempts=5, message="not yet")
    worker.settle(worker.claim_one(), "cancel", reason="no longer wanted")
    assert [error["message"] for error in errors_in_history(db, id)] == ["not yet"]
    assert rows_of_attempts(db) == 0


def test_the_errors_of_neighbours_in_the_batch_stay_with_them(db: Connection) -> None:
    worker = Worker(db)
    first, second = enqueue(db, Spec("a"), Spec("b"))
    for claimed in worker.claim():
        worker.settle(claimed, "retry", max_attempts=5, message=f"of {claimed.task}")
    one_of_them = next(claimed for claimed in worker.claim() if claimed.id == first)
    worker.complete(one_of_them)
    assert [error["message"] for error in errors_in_history(db, first)] == ["of a"]
    assert [error.message for error in job(db, second).errors] == ["of b"]


def test_the_errors_from_before_a_retry_of_the_dead_letter_go_into_the_history_too(db: Connection) -> None:
    worker = Worker(db)
    for status in Status.COMPLETED, Status.CANCELLED:
        id = enqueue_one(db)
        worker.settle(worker.claim_one(), "fail", message="the scanner was off")
        client(db).retry_failed(Filter(ids=[id]), 1)
        again = worker.claim_one()
        worker.complete(again) if status is Status.COMPLETED else worker.settle(again, "cancel")
        done = job(db, id)
        assert (done.status, done.attempts) == (status, 0)
        assert [error.message for error in done.errors] == ["the scanner was off"]
        assert rows_of_attempts(db) == 0


# Neither completed nor failed


def test_a_snoozed_job_comes_again_after_its_delay_and_counts_no_attempt(db: Connection, clock: Clock) -> None:
    worker = Worker(db, lease=timedelta(days=1))
    id = enqueue_one(db, priority=Priority.BULK, max_attempts=1)
    worker.settle(worker.claim_one(), "snooze", delay=600)
    found = job(db, id)
    assert (found.status, found.attempts, found.errors, found.worker) == (Status.READY, 0, (), None)
    assert one(db, "select rank from pgjobs.jobs") == Priority.BULK
    clock.advance(timedelta(seconds=590))
    assert worker.claim() == []
    clock.advance(timedelta(seconds=10))
    assert ids(worker.claim()) == [id]


def test_a_cancelled_run_ends_in_the_history_with_its_reason(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "cancel", reason="the letter was withdrawn")
    found = job(db, id)
    assert (found.status, found.reason, found.result) == (Status.CANCELLED, "the letter was withdrawn", None)
    assert (found.run, found.worker, found.attempts) == (1, worker.id, 0)


def test_a_released_job_goes_first_and_counts_nothing(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db, priority=Priority.BULK)
    (claimed,) = worker.claim()
    urgent = enqueue_one(db, priority=Priority.CRITICAL)
    worker.settle(claimed, "release")
    found = job(db, id)
    assert (found.status, found.attempts, found.crashes, found.run) == (Status.READY, 0, 0, 1)
    assert one(db, "select rank from pgjobs.jobs where id = %s", id) == -3
    again = worker.claim()
    assert ids(again) == [id, urgent]
    assert (again[0].run, again[0].priority) == (2, Priority.BULK)


def test_a_released_job_that_is_put_off_later_goes_by_its_priority_again(db: Connection) -> None:
    worker = Worker(db)
    enqueue_one(db, priority=Priority.BULK)
    worker.settle(worker.claim_one(), "release")
    worker.settle(worker.claim_one(), "snooze")
    assert one(db, "select rank from pgjobs.jobs") == Priority.BULK


def test_a_job_that_is_ready_again_is_not_available_in_the_past(db: Connection, clock: Clock) -> None:
    """Else it would come into the index behind the cursors (I8)."""
    worker = Worker(db, lease=timedelta(days=1))
    for outcome in "retry", "snooze", "release":
        enqueue_one(db)
        clock.advance(timedelta(minutes=1))
        claimed = worker.claim_one()
        clock.advance(timedelta(minutes=1))
        before = now(db)
        worker.settle(claimed, outcome, max_attempts=5)
        assert one(db, "select available_at from pgjobs.jobs where status = 'ready'") >= before
        worker.complete(worker.claim_one())


# Leases that are over


def outcomes_of(worker: Worker, lease: Lease) -> dict[str, Any]:
    """Every way to settle a lease, by name."""
    ways: dict[str, Any] = {
        "complete": Settlement([lease.id], [lease.run]),
        "complete, not kept": Settlement([lease.id], [lease.run], None, [False]),
    }
    for outcome in "retry", "fail", "snooze", "release", "cancel":
        ways[outcome] = Settlement(others=[other(lease, outcome, max_attempts=1)])
    return ways


def test_a_stale_run_changes_nothing_and_is_told_that_it_is_fenced(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.release(worker.claim_one())
    worker.claim_one()
    found = job(db, id)
    for run in 0, 1, 3:
        for way, settlement in outcomes_of(worker, Lease(id, run, worker.id)).items():
            step = worker.client.settle(worker.id, settlement)
            assert (way, step.fenced, step.locked) == (way, [(id, run)], [])
            assert job(db, id) == found
    assert rows_of_attempts(db) == 0


def test_the_run_of_another_worker_is_fenced(db: Connection) -> None:
    worker, stranger = Worker(db), Worker(db)
    id = enqueue_one(db)
    worker.claim_one()
    found = job(db, id)
    for way, settlement in outcomes_of(stranger, Lease(id, 1, stranger.id)).items():
        step = stranger.client.settle(stranger.id, settlement)
        assert (way, step.fenced, step.locked) == (way, [(id, 1)], [])
        assert job(db, id) == found


def test_a_job_that_waits_is_in_nobodys_lease(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.release(worker.claim_one())
    found = job(db, id)
    for settlement in outcomes_of(worker, Lease(id, 1, worker.id)).values():
        assert worker.client.settle(worker.id, settlement).fenced == [(id, 1)]
        assert job(db, id) == found


def test_what_is_settled_already_is_fenced(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    worker.complete(claimed)
    found = job(db, id)
    for settlement in outcomes_of(worker, Lease(id, 1, worker.id)).values():
        assert worker.client.settle(worker.id, settlement).fenced == [(id, 1)]
        assert job(db, id) == found


def test_a_batch_settles_what_it_can_and_names_the_rest(db: Connection) -> None:
    worker = Worker(db)
    done, stale, failed, snoozed, gone = client(db).enqueue_many([Spec("work")] * 5)
    worker.claim()
    step = worker.client.settle(
        worker.id,
        Settlement(
            [stale, done],
            [7, 1],
            ['"lost"', '"kept"'],
            others=[
                other(Lease(failed, 1, worker.id), "fail"),
                other(Lease(gone, 2, worker.id), "retry"),
                other(Lease(snoozed, 1, worker.id), "snooze"),
            ],
        ),
    )
    assert sorted(step.fenced) == [(stale, 7), (gone, 2)]
    assert step.locked == []
    assert [job(db, id).status for id in (done, stale, failed, snoozed, gone)] == [
        Status.COMPLETED, Status.RUNNING, Status.DEAD, Status.READY, Status.RUNNING,
    ]  # fmt: skip
    assert job(db, done).result == "kept"


def test_a_lease_that_is_named_twice_is_settled_once(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    step = worker.complete(claimed, claimed)
    assert (step.fenced, step.locked) == ([], [])
    assert job(db, id).status is Status.COMPLETED


def test_an_earlier_run_is_fenced_beside_the_current_one_of_the_same_job(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.release(worker.claim_one())
    claimed = worker.claim_one()
    assert worker.complete(claimed._replace(run=1), claimed).fenced == [(id, 1)]
    assert job(db, id).run == 2


def test_rows_that_somebody_has_locked_come_back_as_locked(connect: Connect) -> None:
    db, somebody = connect(), connect(autocommit=False)
    worker = Worker(db)
    first, second, third = client(db).enqueue_many([Spec("work")] * 3)
    worker.claim()
    somebody.execute("select from pgjobs.jobs where id = any (%s) for update", ([first, third],))
    settlement = Settlement([first, second], [1, 1], others=[other(Lease(third, 1, worker.id), "fail")])
    step = worker.client.settle(worker.id, settlement)
    assert (step.fenced, sorted(step.locked)) == ([], [(first, 1), (third, 1)])
    assert [job(db, id).status for id in (first, second, third)] == [Status.RUNNING, Status.COMPLETED, Status.RUNNING]
    somebody.rollback()
    step = worker.client.settle(worker.id, settlement)
    assert (step.fenced, step.locked) == ([(second, 1)], [])
    assert [job(db, id).status for id in (first, third)] == [Status.COMPLETED, Status.DEAD]


def test_a_worker_whose_lease_has_lapsed_settles_what_nobody_took_back(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    clock.advance(timedelta(hours=1))
    assert worker.complete(claimed).fenced == []
    assert job(db, id).status is Status.COMPLETED
