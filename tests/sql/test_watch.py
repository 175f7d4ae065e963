"""Who waits for a job: what the look says, who is told that it is over, and that nothing is said when nobody waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.job import Spec
from tests.conftest import Clock, Connection
from tests.sql.by_hand import LOCKS, Connect, Worker, client, enqueue, enqueue_one, ids, one
from tests.sql.one_database import one_database

database, dsn = one_database()


class Watcher:
    """A session that waits for jobs, and hears."""

    def __init__(self, connection: Connection, *ids: int) -> None:
        self.connection = connection
        self.connection.execute("listen pgjobs_finished")
        self.numbers = {0, *(1 + (id & 255) for id in ids)}
        self.over = client(connection).watch(ids, take=self.numbers)

    def heard(self) -> list[list[int]]:
        """The messages since the last time, each as the ids in it."""
        self.connection.execute("select pg_notify('pgjobs_finished', 'that is all')")
        heard: list[list[int]] = []
        for message in self.connection.notifies(timeout=10):
            if message.payload == "that is all":
                return heard
            heard.append(sorted(map(int, message.payload.split(","))))
        raise AssertionError("the connection hears nothing")


@pytest.fixture
def worker(connect: Connect) -> Worker:
    """A worker on a connection of its own."""
    return Worker(connect())


# The look


def test_a_job_that_lives_is_not_over(db: Connection, worker: Worker) -> None:
    running = enqueue_one(db)
    worker.claim_one()
    waiting, later = enqueue(db, Spec("work"), Spec("work", delay=timedelta(days=1)))
    assert client(db).watch([running, waiting, later]) == []


def test_each_ending_is_told_as_it_was(db: Connection, worker: Worker) -> None:
    completed, nothing, dead, cancelled, forgotten = enqueue(db, *[Spec("work")] * 5)
    claimed = {job.id: job for job in worker.claim()}
    worker.complete(claimed[completed], results=['{"é": [1, null]}'])
    worker.complete(claimed[nothing])
    worker.complete(claimed[forgotten], keep=[False])
    worker.settle(claimed[dead], "fail", error="ValueError", message="no such page")
    worker.settle(claimed[cancelled], "cancel", reason="ordered twice")
    told = client(db).watch([cancelled, dead, completed, nothing, forgotten, 2**62])
    assert sorted(told) == [
        (completed, "completed", {"é": [1, None]}, None, None),
        (nothing, "completed", None, None, None),
        (dead, "dead", None, "failed", "ValueError: no such page"),
        (cancelled, "cancelled", None, "ordered twice", None),
        (forgotten, None, None, None, None),
        (2**62, None, None, None, None),
    ]


def test_a_dead_letter_that_is_retried_lives(db: Connection, worker: Worker) -> None:
    id = enqueue_one(db)
    worker.settle(worker.claim_one(), "fail")
    db.execute("select pgjobs.retry_failed(id => %s)", (id,))
    assert client(db).watch([id]) == []


# Who is told


def test_who_waits_for_a_job_is_told_when_it_is_over_whatever_its_end(
    connect: Connect, db: Connection, worker: Worker
) -> None:
    enqueued = enqueue(db, *[Spec("work")] * 5)
    completed, forgotten, dead, cancelled, waiting = enqueued
    watcher = Watcher(connect(), *enqueued)
    claimed = {job.id: job for job in worker.claim(4)}
    worker.complete(claimed[completed], claimed[forgotten], keep=[True, False])
    assert watcher.heard() == [[completed, forgotten]]
    worker.settle(claimed[dead], "fail")
    assert watcher.heard() == [[dead]]
    worker.settle(claimed[cancelled], "cancel", reason="")
    assert watcher.heard() == [[cancelled]]
    client(db).cancel([waiting])
    assert watcher.heard() == [[waiting]]
    assert len(client(db).watch(enqueued)) == 5


def test_who_waits_is_told_of_a_job_whose_workers_die(
    connect: Connect, db: Connection, worker: Worker, clock: Clock
) -> None:
    id = enqueue_one(db)
    watcher = Watcher(connect(), id)
    db.execute("update pgjobs.jobs set crashes = 2")
    worker.claim_one()
    clock.advance(timedelta(minutes=2))
    assert client(db).rescue(10) == (0, 1)
    assert watcher.heard() == [[id]]


def test_a_job_that_goes_on_is_no_news(connect: Connect, db: Connection, worker: Worker) -> None:
    id = enqueue_one(db)
    watcher = Watcher(connect(), id)
    worker.release(worker.claim_one())
    worker.settle(worker.claim_one(), "snooze", delay=0)
    worker.settle(worker.claim_one(), "retry", delay=0, max_attempts=5)
    assert watcher.heard() == []
    worker.complete(worker.claim_one())
    assert watcher.heard() == [[id]]


def test_only_what_somebody_waits_for_is_told(connect: Connect, db: Connection, worker: Worker) -> None:
    enqueued = enqueue(db, *[Spec("work")] * 200)
    watcher = Watcher(connect(), enqueued[7], enqueued[9])
    worker.complete(*worker.claim(200))
    assert watcher.heard() == [[enqueued[7], enqueued[9]]]


def test_many_at_once_are_told_in_messages_that_postgresql_can_send(
    connect: Connect, db: Connection, worker: Worker
) -> None:
    db.execute("select setval('pgjobs.jobs_id_seq', 9223372036854770000)")  # ids as long as they come
    enqueued = enqueue(db, *[Spec("work")] * 700)
    watcher = Watcher(connect(), *enqueued)
    worker.complete(*worker.claim(700))
    heard = watcher.heard()
    assert [len(message) for message in heard] == [300, 300, 100]
    assert sorted(id for message in heard for id in message) == enqueued


def test_nothing_is_said_when_nobody_waits(connect: Connect, db: Connection, worker: Worker) -> None:
    ear = Watcher(connect())
    client(ear.connection).watch([], let_go=ear.numbers)
    enqueue(db, *[Spec("work")] * 3)
    first, second, third = worker.claim()
    worker.complete(first)
    worker.settle(second, "fail")
    worker.settle(third, "cancel", reason="")
    assert ear.heard() == []


def test_who_is_gone_or_waits_no_more_leaves_no_lock(connect: Connect, db: Connection) -> None:
    id = enqueue_one(db)
    watcher = Watcher(connect(), id)
    assert one(db, f"select count(*) from {LOCKS}") == 2
    client(watcher.connection).watch([], let_go=watcher.numbers)
    assert one(db, f"select count(*) from {LOCKS}") == 0


def test_two_who_wait_for_one_job_are_both_told(connect: Connect, db: Connection, worker: Worker) -> None:
    id = enqueue_one(db)
    watchers = [Watcher(connect(), id), Watcher(connect(), id)]
    worker.complete(worker.claim_one())
    assert [watcher.heard() for watcher in watchers] == [[[id]], [[id]]]


def test_nothing_is_told_of_what_is_rolled_back_and_then_all(connect: Connect, db: Connection) -> None:
    id = enqueue_one(db)
    watcher = Watcher(connect(), id)
    canceller = connect(autocommit=False)
    client(canceller).cancel([id])
    canceller.rollback()
    assert watcher.heard() == []
    client(canceller).cancel([id])
    assert watcher.heard() == []
    canceller.commit()
    assert watcher.heard() == [[id]]


def test_who_begins_to_wait_while_a_job_is_being_cancelled_is_told_at_the_commit(
    connect: Connect, db: Connection
) -> None:
    id = enqueue_one(db)
    canceller = connect(autocommit=False)
    client(canceller).cancel([id])
    watcher = Watcher(connect(), id)
    assert watcher.over == []
    canceller.commit()
    assert watcher.heard() == [[id]]


def test_a_settle_is_not_held_up_by_who_waits(connect: Connect, db: Connection, worker: Worker) -> None:
    """A shared lock on every number is no obstacle."""
    enqueued = enqueue(db, *[Spec("work")] * 256)
    Watcher(connect(), *enqueued)
    worker.connection.execute("set lock_timeout = '1ms'")
    claimed = worker.claim(256)
    assert ids(claimed) == enqueued
    assert worker.complete(*claimed).locked == []
