"""release: jobs that were claimed and not started are given back, as if they had not been claimed."""

from __future__ import annotations

from pgjobs.job import Lease, Priority, Spec, Status
from tests.conftest import Connection
from tests.sql.by_hand import Worker, client, enqueue, enqueue_one, ids, job
from tests.sql.one_database import one_database

database, dsn = one_database()


def test_released_jobs_go_before_all_others_in_the_order_they_had(db: Connection) -> None:
    worker, next_worker = Worker(db), Worker(db)
    bulk, low = enqueue(db, Spec("work", priority=Priority.BULK), Spec("work", priority=Priority.LOW))
    claimed = worker.claim()
    critical = enqueue_one(db, priority=Priority.CRITICAL)
    step = worker.release(*claimed)
    assert (step.fenced, step.locked) == ([], [])
    again = next_worker.claim()
    assert ids(again) == [bulk, low, critical]
    assert [(job.rank, job.run, job.attempts, job.crashes) for job in again[:2]] == [(-3, 2, 0, 0)] * 2


def test_only_leases_that_stand_can_be_released(db: Connection) -> None:
    worker = Worker(db)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    worker.claim()
    step = client(db).release([Lease(first, 1, worker.id), Lease(second, 2, worker.id)])
    assert (step.fenced, step.locked) == ([(second, 2)], [])
    assert (job(db, first).status, job(db, second).status) == (Status.READY, Status.RUNNING)
    assert client(db).release([Lease(first, 1, worker.id)]).fenced == [(first, 1)]
    assert client(db).release([Lease(second, 1, worker.id + 1)]).fenced == [(second, 1)]


def test_a_released_job_can_be_cancelled_and_settled_like_any_other(db: Connection) -> None:
    worker = Worker(db)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    worker.release(*worker.claim())
    assert client(db).cancel([first]).cancelled == [first]
    worker.complete(worker.claim_one())
    assert [job(db, id).status for id in (first, second)] == [Status.CANCELLED, Status.COMPLETED]
