"""retry_failed: dead letters become jobs again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.calls import Filter
from pgjobs.errors import JobNotFound
from pgjobs.job import Priority, Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import LEASE, Worker, client, enqueue, enqueue_one, job, now
from tests.sql.one_database import one_database

database, dsn = one_database()

QUEUES = ("ocr", "mail")


def bury(connection: Connection, *specs: Spec, message: str = "broken") -> list[int]:
    """Enqueue jobs, claim them and fail them for good; return their ids."""
    worker = Worker(connection, QUEUES)
    buried = enqueue(connection, *specs)
    for claimed in worker.claim():
        worker.settle(claimed, "fail", error="ValueError", message=message)
    worker.client.resign(worker.id)
    return buried


def retry(connection: Connection, limit: int = 100, after: int = 0, **filter: object) -> list[int]:
    """Retry what fits, after asking which that would be: both must agree."""
    would = [id for id in client(connection).failed(Filter(**filter), limit=100) if id > after][:limit]  # type: ignore[arg-type]
    did = client(connection).retry_failed(Filter(**filter), limit, after)  # type: ignore[arg-type]
    assert did == would
    return did


def test_a_retried_job_is_ready_now_with_its_counts_anew_and_its_run_going_on(db: Connection, clock: Clock) -> None:
    id = enqueue_one(
        db, queue="ocr", payload='{"n": 1}', priority=Priority.LOW, max_attempts=1, timeout=timedelta(seconds=9),
        metadata='{"m": 2}',
    )  # fmt: skip
    before = job(db, id)
    for _ in range(2):
        Worker(db, QUEUES).claim()
        clock.advance(LEASE + timedelta(seconds=1))
        client(db).rescue(10)
    worker = Worker(db, QUEUES)
    worker.settle(worker.claim_one(), "retry")
    assert job(db, id).status is Status.DEAD
    clock.advance(timedelta(days=1))
    moment = now(db)
    assert retry(db) == [id]
    again = job(db, id)
    assert (again.status, again.attempts, again.crashes, again.run) == (Status.READY, 0, 0, 3)
    for name in "queue", "task", "payload", "priority", "max_attempts", "metadata", "enqueued_at":
        assert getattr(again, name) == getattr(before, name)
    assert again.available_at is not None
    assert moment <= again.available_at <= now(db)
    assert db.execute("select rank, timeout, worker, claimed_at from pgjobs.jobs").fetchall() == [
        (Priority.LOW, timedelta(seconds=9), None, None)
    ]
    claimed = Worker(db, QUEUES).claim_one()
    assert (claimed.id, claimed.run) == (id, 4)


def test_a_retried_job_that_fails_again_is_dead_again_with_all_its_errors(db: Connection) -> None:
    (id,) = bury(db, Spec("work", queue="ocr"))
    retry(db)
    worker = Worker(db, QUEUES)
    worker.settle(worker.claim_one(), "fail", error="ValueError", message="still broken")
    found = job(db, id)
    assert (found.status, found.attempts, found.run) == (Status.DEAD, 1, 2)
    assert [(error.run, error.message) for error in found.errors] == [(1, "broken"), (2, "still broken")]


def test_the_run_before_the_retry_can_settle_nothing(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    old = worker.claim_one()
    worker.settle(old, "fail")
    retry(db)
    assert worker.complete(old).fenced == [(id, 1)]
    worker.claim_one()
    assert worker.complete(old).fenced == [(id, 1)]


def test_without_a_filter_all_are_retried_smallest_ids_first(db: Connection) -> None:
    buried = bury(db, *[Spec("work", queue=queue) for queue in ("ocr", "mail", "ocr")])
    assert retry(db) == buried


def test_by_queue(db: Connection) -> None:
    ocr, mail = bury(db, Spec("work", queue="ocr"), Spec("work", queue="mail"))
    assert retry(db, queue="mail") == [mail]
    assert (job(db, ocr).status, job(db, mail).status) == (Status.DEAD, Status.READY)


def test_by_task(db: Connection) -> None:
    _, b = bury(db, Spec("a", queue="ocr"), Spec("b", queue="ocr"))
    assert retry(db, task="b") == [b]


def test_by_a_part_of_the_last_error_in_any_case_of_letters(db: Connection) -> None:
    bury(db, Spec("work", queue="ocr"), message="no paper")
    (matching,) = bury(db, Spec("work", queue="ocr"), message="The Scanner is off")
    assert retry(db, error="scanner IS") == [matching]
    assert retry(db, error="100%") == []
    assert len(retry(db, error="valueerror: no")) == 1


def test_by_the_time_since_which_they_died(db: Connection, clock: Clock) -> None:
    bury(db, Spec("work", queue="ocr"))
    clock.advance(timedelta(hours=2))
    (young,) = bury(db, Spec("work", queue="ocr"))
    clock.advance(timedelta(minutes=30))
    assert retry(db, since=timedelta(minutes=20)) == []
    assert retry(db, since=timedelta(hours=1)) == [young]


def test_by_ids(db: Connection) -> None:
    first, second, third = bury(db, *[Spec("work", queue="ocr")] * 3)
    assert retry(db, ids=[third, first]) == [first, third]
    assert job(db, second).status is Status.DEAD


def test_all_filters_must_fit(db: Connection) -> None:
    one_that_fits, *_ = bury(db, Spec("a", queue="ocr"), Spec("a", queue="mail"), Spec("b", queue="ocr"), message="off")
    assert retry(db, queue="ocr", task="a", error="nothing") == []
    assert retry(db, ids=[one_that_fits], queue="mail") == []
    assert retry(db, queue="ocr", task="a", error="off", since=timedelta(hours=1), ids=[one_that_fits]) == [
        one_that_fits
    ]


def test_an_id_that_is_no_dead_letter_is_named_and_nothing_is_retried(db: Connection) -> None:
    (dead,) = bury(db, Spec("work", queue="ocr"))
    alive = enqueue_one(db)
    for missing in alive, 4711:
        with pytest.raises(JobNotFound, match=f"There is no dead letter with the id {missing}; nothing was retried"):
            client(db).retry_failed(Filter(ids=[dead, missing]), 10)
        assert job(db, dead).status is Status.DEAD


def test_a_loop_goes_through_all_a_limit_at_a_time(db: Connection) -> None:
    buried = bury(db, *[Spec("work", queue="ocr")] * 5)
    after, chunks = 0, []
    while chunk := retry(db, limit=2, after=after):
        chunks.append(chunk)
        after = chunk[-1]
    assert chunks == [buried[:2], buried[2:4], buried[4:]]


def test_only_those_after_the_given_id_are_met(db: Connection) -> None:
    buried = bury(db, *[Spec("work", queue="ocr")] * 3)
    assert retry(db, after=buried[0]) == buried[1:]
    assert job(db, buried[0]).status is Status.DEAD
    assert retry(db, after=buried[0], ids=[buried[0]]) == []


def test_an_id_that_is_named_twice_counts_once(db: Connection) -> None:
    first, second, third = bury(db, *[Spec("work", queue="ocr")] * 3)
    assert retry(db, ids=[second, first, first, second], limit=2) == [first, second]
    assert job(db, third).status is Status.DEAD


def test_people_say_it_in_sql(db: Connection) -> None:
    first, second, third = bury(db, Spec("a", queue="ocr"), Spec("b", queue="ocr"), Spec("b", queue="mail"))
    assert db.execute("select pgjobs.retry_failed(%s)", (second,)).fetchall() == [(second,)]
    assert db.execute("select pgjobs.retry_failed(queue => 'ocr', since => '2001-01-01')").fetchall() == [(first,)]
    assert db.execute('select pgjobs.retry_failed("limit" => 0)').fetchall() == []
    assert db.execute("select pgjobs.retry_failed()").fetchall() == [(third,)]


def test_the_first_of_each_queue_is_flagged_to_announce_it(db: Connection) -> None:
    first, _, mail = bury(db, Spec("a", queue="ocr"), Spec("b", queue="ocr"), Spec("c", queue="mail"))
    retry(db)
    assert [id for (id,) in db.execute("select id from pgjobs.jobs where wake order by id")] == [first, mail]
