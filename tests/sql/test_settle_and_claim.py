"""settle_and_claim: outcomes and the next claim in one round trip."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.calls import Settlement
from pgjobs.errors import LeaseLost
from pgjobs.job import Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Worker, enqueue, enqueue_one, ids, job, other, scan_from
from tests.sql.one_database import one_database

database, dsn = one_database()


def test_outcomes_are_written_and_jobs_are_claimed(db: Connection) -> None:
    worker = Worker(db)
    first, second, third = enqueue(db, *[Spec("work")] * 3)
    done = worker.claim(1)[0]
    step = worker.client.settle_and_claim(worker.id, Settlement([done.id], [done.run], ['"yes"']), 1, scan_from())
    assert ids(step.claimed) == [second]
    assert (step.fenced, step.locked) == ([], [])
    assert step.cursor is not None
    assert (job(db, first).status, job(db, first).result) == (Status.COMPLETED, "yes")
    assert (job(db, second).status, job(db, third).status) == (Status.RUNNING, Status.READY)


def test_outcomes_are_written_first_so_that_a_job_can_be_claimed_again_at_once(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    step = worker.client.settle_and_claim(worker.id, Settlement(others=[other(claimed, "snooze")]), 5, scan_from())
    assert [(job.id, job.run) for job in step.claimed] == [(id, 2)]


def test_what_was_not_settled_is_named_beside_what_was_claimed(db: Connection) -> None:
    worker = Worker(db)
    first, second = enqueue(db, Spec("a"), Spec("b"))
    settlement = Settlement([first], [3], others=[{"id": second, "run": 4, "outcome": "fail"}])
    step = worker.client.settle_and_claim(worker.id, settlement, 5, scan_from())
    assert sorted(step.fenced) == [(first, 3), (second, 4)]
    assert ids(step.claimed) == [first, second]
    assert step.scanned == 6


def test_without_outcomes_it_is_a_claim(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    assert ids(worker.client.settle_and_claim(worker.id, Settlement(), 5, scan_from()).claimed) == [id]


def test_a_worker_that_may_not_claim_settles_nothing_by_it_and_can_still_settle(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    clock.advance(timedelta(seconds=61))
    with pytest.raises(LeaseLost):
        worker.client.settle_and_claim(worker.id, Settlement([id], [1]), 5, scan_from())
    assert job(db, id).status is Status.RUNNING
    assert worker.complete(claimed).fenced == []
    assert job(db, id).status is Status.COMPLETED
