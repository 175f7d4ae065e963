"""Giving up after a time, and the job that is enqueued when one dies: in the statement that buries it, once for every death."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from pgjobs.calls import Filter, Settlement
from pgjobs.job import Priority, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import LEASE, Connect, Ear, Worker, client, enqueue_one, ids, job, one
from tests.sql.one_database import one_database

database, dsn = one_database()

TELL = json.dumps({"work": {"task": "tell", "queue": "told", "priority": -1}})
LAPSE = LEASE + timedelta(seconds=1)


def told(db: Connection) -> list[dict[str, Any]]:
    """What the jobs were told that wait in the queue for it."""
    rows = db.execute("select payload -> 'failed' from pgjobs.jobs where task = 'tell' order by id").fetchall()
    return [failed for (failed,) in rows]


# Giving up


def test_a_retry_that_would_come_after_the_time_to_give_up_is_not_scheduled(db: Connection, clock: Clock) -> None:
    worker = Worker(db, lease=timedelta(days=1))
    id = enqueue_one(db)
    for wait, status in (3000, Status.READY), (3000, Status.DEAD):
        step = worker.settle(
            worker.claim_one(), "retry", delay=wait, max_attempts=9, give_up_after=3600, error="E", message="m"
        )
        assert job(db, id).status is status
        assert step.dead == ([(id, 2)] if status is Status.DEAD else [])
        clock.advance(timedelta(seconds=wait))
    found = job(db, id)
    assert (found.reason, found.attempts) == ("gave_up: E: m", 2)


def test_the_time_is_counted_from_the_start_of_the_first_run_that_failed(db: Connection, clock: Clock) -> None:
    worker = Worker(db, lease=timedelta(days=1))
    id = enqueue_one(db)
    clock.advance(timedelta(hours=5))  # to have waited is not to have failed
    worker.settle(worker.claim_one(), "snooze", delay=0)  # nor is this
    clock.advance(timedelta(hours=5))
    claimed = worker.claim_one()
    clock.advance(timedelta(minutes=59))  # but this run took its time
    worker.settle(claimed, "retry", max_attempts=9, give_up_after=3600)
    assert job(db, id).status is Status.READY
    clock.advance(timedelta(minutes=2))
    worker.settle(worker.claim_one(), "retry", max_attempts=9, give_up_after=3600)
    assert job(db, id).status is Status.DEAD


def test_a_snooze_is_no_retry_and_may_be_longer(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", delay=0, max_attempts=9, give_up_after=60)
    worker.settle(worker.claim_one(), "snooze", delay=9000, give_up_after=60)
    assert job(db, id).status is Status.READY


def test_without_attempts_left_it_is_exhausted_and_not_given_up(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", delay=9000, max_attempts=1, give_up_after=60)
    assert (job(db, id).reason or "").startswith("exhausted: ")


def test_a_dead_letter_that_is_retried_has_all_its_time_again(db: Connection, clock: Clock) -> None:
    worker = Worker(db, lease=timedelta(days=1))
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", delay=61, max_attempts=9, give_up_after=60)
    clock.advance(timedelta(hours=1))
    assert client(db).retry_failed(Filter([id]), 1) == [id]
    worker.settle(worker.claim_one(), "retry", delay=0, max_attempts=9, give_up_after=60)
    assert job(db, id).status is Status.READY


@pytest.mark.parametrize("for_ever", [timedelta.max.total_seconds(), 1e300])
def test_a_time_without_end_is_a_century(db: Connection, for_ever: float) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "retry", delay=for_ever / 2, max_attempts=9, give_up_after=for_ever)
    assert job(db, id).status in (Status.READY, Status.DEAD)


# On failure


@pytest.mark.parametrize(
    ("outcome", "more", "reason"),
    [
        ("fail", {}, "failed"),
        ("retry", {"max_attempts": 1}, "exhausted"),
        ("retry", {"max_attempts": 9, "delay": 61, "give_up_after": 60}, "gave_up"),
    ],
)
def test_a_job_that_dies_by_its_outcome_leaves_another_that_says_so(
    db: Connection, outcome: str, more: dict[str, Any], reason: str
) -> None:
    worker = Worker(db, on_failure=TELL)
    id = enqueue_one(db, payload='{"letter_id": 7}', metadata='{"by": "me"}', priority=Priority.BULK)
    step = worker.settle(worker.claim_one(), outcome, error="ValueError", message="no", **more)
    assert step.dead == [(id, 1)]
    dead = job(db, id)
    assert dead.finished_at is not None
    [failed] = told(db)
    times = [failed.pop("enqueued_at"), failed.pop("failed_at")]
    assert failed == {
        "job_id": id, "run": 1, "task": "work", "queue": "default", "payload": {"letter_id": 7}, "metadata": {"by": "me"},
        "reason": reason, "error": "ValueError: no", "attempts": 1, "crashes": 0,
    }  # fmt: skip
    assert times == [
        one(db, "select to_jsonb(%s::timestamptz) #>> '{}'", at) for at in (dead.enqueued_at, dead.finished_at)
    ]
    [row] = db.execute("select queue, priority, rank, metadata, attempts, run from pgjobs.jobs where task = 'tell'")
    assert row == ("told", -1, -1, {"on_failure_of": id}, 0, 0)
    told_by = Worker(db, ["told"])
    assert told_by.claim_one().task == "tell"


def test_a_job_that_lives_on_or_ends_otherwise_leaves_none(db: Connection) -> None:
    worker = Worker(db, on_failure=TELL)
    for outcome in "retry", "snooze", "release", "cancel", "complete":
        enqueue_one(db)
        claimed = worker.claim_one()
        step = (
            worker.complete(claimed)
            if outcome == "complete"
            else worker.settle(claimed, outcome, max_attempts=2, delay=9, reason="r")
        )
        assert step.dead == []
        db.execute("delete from pgjobs.jobs where status = 'ready'")
        db.execute("delete from pgjobs.attempts")
    assert told(db) == []


def test_a_task_of_which_nobody_wants_to_know_leaves_none(db: Connection) -> None:
    for on_failure in None, "{}", '{"other": {"task": "tell", "queue": "told", "priority": 0}}':
        enqueue_one(db)
        worker = Worker(db, on_failure=on_failure)
        worker.settle(worker.claim_one(), "fail")
    assert told(db) == []


def test_a_poison_pill_that_somebody_else_buries_leaves_one_as_its_worker_wanted(db: Connection, clock: Clock) -> None:
    id = enqueue_one(db)
    for _ in range(3):
        worker = Worker(db, on_failure=TELL)
        worker.claim_one()
        assert told(db) == []
        clock.advance(LAPSE)
        client(db).rescue(10)
    [failed] = told(db)
    assert (failed["job_id"], failed["reason"], failed["crashes"]) == (id, "crashed", 3)


def test_no_death_sets_off_a_chain(db: Connection, clock: Clock) -> None:
    both = json.dumps({name: {"task": "tell", "queue": "default", "priority": 0} for name in ("work", "tell")})
    worker = Worker(db, on_failure=both)
    enqueue_one(db)
    worker.settle(worker.claim_one(), "fail")
    worker.settle(worker.claim_one(), "fail")  # the one that was to tell
    assert told(db) == []
    enqueue_one(db)
    worker.settle(worker.claim_one(), "fail")
    for _ in range(3):
        clock.advance(LAPSE)
        client(db).rescue(10)
        Worker(db, on_failure=both).claim()
    clock.advance(LAPSE)
    client(db).rescue(10)
    assert told(db) == []
    assert one(db, "select count(*) from pgjobs.dead_letters") == 4


def test_many_that_die_in_one_batch_leave_one_each_and_wake_an_idle_worker_once(
    db: Connection, connect: Connect
) -> None:
    worker, idle, ear = Worker(db, on_failure=TELL), Worker(connect(), ["told"]), Ear(connect())
    dying = [enqueue_one(db) for _ in range(20)]
    claimed = worker.claim()
    idle.wait_idle()
    ear.heard()
    step = client(db).settle(
        worker.id, Settlement(others=[{"id": each.id, "run": each.run, "outcome": "fail"} for each in claimed])
    )
    assert sorted(step.dead) == [(id, 1) for id in dying]
    assert sorted(failed["job_id"] for failed in told(db)) == dying
    assert [message["queue"] for message in ear.heard()] == ["told"]
    assert len(ids(idle.claim())) == 20


def test_an_outcome_that_is_void_tells_of_no_death(db: Connection) -> None:
    worker = Worker(db, on_failure=TELL)
    enqueue_one(db)
    claimed = worker.claim_one()
    worker.settle(claimed, "fail")
    step = worker.settle(claimed, "fail")
    assert (step.dead, step.fenced) == ([], [(claimed.id, claimed.run)])
    assert len(told(db)) == 1
