"""What is announced, when, and to whom: once per queue and transaction, at commit, and only while somebody waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgjobs.calls import Filter
from pgjobs.job import Spec, Status
from tests.conftest import Connection
from tests.sql.by_hand import (
    LEASE,
    LOCKS,
    Connect,
    Ear,
    StoppedClock,
    Worker,
    client,
    enqueue_one,
    flagged,
    ids,
    job,
    now,
    one,
    until,
)
from tests.sql.one_database import one_database

database, dsn = one_database()

LATE = timedelta(seconds=0.151)
IN_TIME = timedelta(seconds=0.15)


@pytest.fixture
def clock(db: Connection) -> StoppedClock:
    """Time stands still: a test that takes its time must not be late."""
    return StoppedClock(db)


@pytest.fixture(autouse=True)
def time_stands_still(clock: StoppedClock) -> None:
    """In the tests that do not move it, too."""


class Waiting:
    """A worker on a connection of its own that waits idle for the jobs of some queues."""

    def __init__(self, connect: Connect, *queues: str) -> None:
        self.worker = Worker(connect(), queues or ("default",))
        self.worker.wait_idle()


def wake_up(queue: str = "default", to: int = 0) -> dict[str, Any]:
    """Said to the worker at this place; the first who waits has 0."""
    return {"queue": queue, "in": 0, "to": to}


def test_nothing_is_said_when_nobody_waits(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    worker = Worker(db)
    enqueue_one(db)
    client(db).enqueue_many([Spec("work")] * 3)
    worker.release(*worker.claim())
    worker.settle(worker.claim(1)[0], "fail")
    client(db).retry_failed(Filter(), 10)
    db.execute("select pgjobs.pause('default')")
    db.execute("select pgjobs.resume('default')")
    assert ear.heard() == []


def test_one_message_per_queue_and_transaction_is_sent_at_commit(connect: Connect) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    Waiting(connect, "a", "b")
    for queue in "a", "b", "a":
        enqueue_one(db, queue=queue)
        client(db).enqueue_many([Spec("work", queue=queue)] * 3)
    assert ear.heard() == []
    db.commit()
    assert sorted(ear.heard(), key=str) == [wake_up("a"), wake_up("b")]
    enqueue_one(db, queue="a")
    db.commit()
    assert ear.heard() == [wake_up("a")]


def test_only_queues_for_which_somebody_waits_are_announced(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    Waiting(connect, "a")
    client(db).enqueue_many([Spec("work", queue=queue) for queue in "abc"])
    assert ear.heard() == [wake_up("a")]


def test_who_begins_to_wait_after_the_insert_is_told_at_the_commit(connect: Connect) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    enqueue_one(db)
    Waiting(connect)
    db.commit()
    assert ear.heard() == [wake_up()]


def test_who_waits_no_more_is_not_told(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    worker = Waiting(connect).worker
    worker.look(idle=False)
    enqueue_one(db)
    assert ear.heard() == []


def test_who_is_gone_is_not_told(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    worker = Waiting(connect).worker
    worker.connection.close()
    until(db, f"not exists (select from {LOCKS})")
    enqueue_one(db)
    assert ear.heard() == []


def test_of_several_who_wait_one_may_go_without_the_others_missing_anything(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    first, _ = Waiting(connect).worker, Waiting(connect).worker
    first.look(idle=False)
    enqueue_one(db)
    assert ear.heard() == [wake_up(to=1)]


def test_asking_leaves_no_lock_behind(connect: Connect) -> None:
    db = connect()
    enqueue_one(db)
    assert one(db, f"select count(*) from {LOCKS}") == 0
    Waiting(connect, "idle")
    enqueue_one(db, queue="idle")
    # Of who waits: that it does, and its place.
    assert one(db, f"select array_agg(mode order by mode) from {LOCKS}") == ["ExclusiveLock", "ShareLock"]


def test_a_rolled_back_transaction_says_nothing(connect: Connect) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    Waiting(connect)
    enqueue_one(db)
    db.rollback()
    assert ear.heard() == []


def test_a_job_enqueued_after_a_savepoint_was_rolled_back_is_announced(connect: Connect) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    Waiting(connect)
    db.execute("savepoint here")
    enqueue_one(db)
    db.execute("rollback to savepoint here")
    enqueue_one(db)
    db.commit()
    assert ear.heard() == [wake_up()]


# Jobs that are due later


def test_a_job_that_falls_due_within_two_seconds_is_announced_with_the_time_until_then(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    Waiting(connect)
    enqueue_one(db, delay=timedelta(seconds=1.9))
    assert ear.heard() == [{"queue": "default", "in": 1.9}]


def test_a_job_that_falls_due_later_is_not_announced(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    Waiting(connect)
    enqueue_one(db, delay=timedelta(seconds=10))
    client(db).enqueue_many([Spec("work", delay=timedelta(hours=1))] * 2)
    assert ear.heard() == []


def test_a_job_that_is_due_now_is_announced_after_one_that_is_not(connect: Connect) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    Waiting(connect)
    enqueue_one(db, delay=timedelta(hours=1))
    enqueue_one(db)
    db.commit()
    assert ear.heard() == [wake_up()]


# Commits that come late


def test_a_late_commit_says_since_when_even_if_nobody_waits(connect: Connect, clock: StoppedClock) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    first = enqueue_one(db)
    clock.advance(LATE)
    enqueue_one(db)
    enqueue_one(db, queue="other")
    db.commit()
    since = job(db, first).available_at
    assert ear.heard() == [{"queue": "default", "since": since}]


def test_a_late_commit_says_only_since_when_to_those_who_wait(connect: Connect, clock: StoppedClock) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    Waiting(connect)
    enqueue_one(db)
    clock.advance(LATE)
    db.commit()
    assert [set(message) for message in ear.heard()] == [{"queue", "since"}]


def test_a_commit_that_is_a_little_late_is_left_to_the_look_back(connect: Connect, clock: StoppedClock) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    enqueue_one(db)
    clock.advance(IN_TIME)
    db.commit()
    assert ear.heard() == []


def test_the_oldest_key_of_a_late_commit_is_announced(connect: Connect, clock: StoppedClock) -> None:
    """Going back to it finds all later ones."""
    db, ear = connect(autocommit=False), Ear(connect())
    soon = enqueue_one(db, delay=timedelta(seconds=3))
    due = enqueue_one(db)
    clock.advance(timedelta(seconds=10))
    db.commit()
    announced = {message["since"] for message in ear.heard()}
    first = job(db, due).available_at
    assert first is not None
    assert min(announced) == first
    assert first < (job(db, soon).available_at or first)


def test_a_job_whose_delay_ended_before_the_commit_is_announced_since_then(
    connect: Connect, clock: StoppedClock
) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    id = enqueue_one(db, delay=timedelta(minutes=5))
    clock.advance(timedelta(minutes=6))
    db.commit()
    since = job(db, id).available_at
    assert ear.heard() == [{"queue": "default", "since": since}]


def test_dead_letters_that_are_retried_in_a_long_transaction_are_announced_too(
    connect: Connect, clock: StoppedClock
) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    worker = Worker(connect())
    enqueue_one(worker.connection)
    worker.settle(worker.claim_one(), "fail")
    (id,) = client(db).retry_failed(Filter(), 10)
    clock.advance(LATE)
    db.commit()
    since = job(db, id).available_at
    assert ear.heard() == [{"queue": "default", "since": since}]


# What else makes jobs ready


def test_dead_letters_that_are_retried_wake_who_waits(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    worker = Worker(db, ["a", "b"])
    client(db).enqueue_many([Spec("work", queue=queue) for queue in "aab"])
    for claimed in worker.claim():
        worker.settle(claimed, "fail")
    Waiting(connect, "a", "b")
    client(db).retry_failed(Filter(), 10)
    assert sorted(ear.heard(), key=str) == [wake_up("a"), wake_up("b")]


def test_released_jobs_wake_who_waits(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    worker = Worker(db)
    client(db).enqueue_many([Spec("work")] * 2)
    claimed = worker.claim()
    Waiting(connect)
    worker.release(*claimed)
    assert ear.heard() == [wake_up()]


def test_rescued_jobs_wake_who_waits(connect: Connect, clock: StoppedClock) -> None:
    db, ear = connect(), Ear(connect())
    enqueue_one(db)
    Worker(db).claim()
    clock.advance(LEASE * 2)
    Waiting(connect)
    client(db).rescue(10)
    assert ear.heard() == [wake_up()]


def test_a_queue_that_is_resumed_wakes_who_waits(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    db.execute("select pgjobs.pause('default')")
    enqueue_one(db)
    worker = Waiting(connect).worker
    ear.heard()
    db.execute("select pgjobs.resume('default')")
    assert ear.heard() == [wake_up()]
    assert len(worker.claim()) == 1


def test_a_worker_does_not_wake_itself_with_what_it_gives_back(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    worker.wait_idle()
    worker.release(claimed)
    assert ear.heard() == []
    assert ids(worker.claim()) == [id]


# Nothing at all


def test_without_notify_nothing_is_said_however_late(connect: Connect, clock: StoppedClock) -> None:
    db, ear = connect(autocommit=False), Ear(connect())
    Waiting(connect)
    enqueue_one(db, notify=False)
    client(db).enqueue_many([Spec("work")] * 2, notify=False)
    clock.advance(timedelta(seconds=5))
    db.commit()
    assert ear.heard() == []


def test_a_transaction_that_says_nothing_can_be_prepared(connect: Connect) -> None:
    db = connect()
    if one(db, "select current_setting('max_prepared_transactions')::integer") == 0:
        pytest.skip("the server allows no prepared transactions (max_prepared_transactions = 0)")
    Waiting(connect)
    for notify in True, False:
        db.execute("begin")
        id = enqueue_one(db, notify=notify)
        if notify:
            with pytest.raises(
                psycopg.errors.FeatureNotSupported, match="cannot PREPARE a transaction that has executed"
            ):
                db.execute("prepare transaction 'both phases'")
            db.execute("rollback")
        else:
            db.execute("prepare transaction 'both phases'")
            db.execute("commit prepared 'both phases'")
    found = job(db, id)
    assert found.status is Status.READY
    assert found.enqueued_at <= now(db)


# An enqueue that is a transaction by itself is announced at its end, without the trigger


def test_an_enqueue_alone_wakes_who_waits_without_a_flag(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    Waiting(connect)
    enqueue_one(db)
    assert ear.heard() == [wake_up()]
    assert flagged(db) == []
    db.execute("begin")
    enqueue_one(db)
    assert ear.heard() == []
    db.execute("commit")
    assert ear.heard() == [wake_up()]
    assert flagged(db) == ["work"]


def test_an_enqueue_in_a_pipeline_is_not_alone(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    Waiting(connect)
    with db.pipeline():
        enqueue_one(db)
        enqueue_one(db)
    assert len(ear.heard()) >= 1
    assert flagged(db) != []


def test_an_enqueue_alone_that_takes_long_says_since_when(connect: Connect, clock: StoppedClock) -> None:
    db, ear = connect(), Ear(connect())
    db.execute(
        "create function pgjobs.takes_long() returns trigger language plpgsql as $$ begin"
        " update pgjobs.test_clock set shift = shift + interval '0.151 s'; return null; end $$;"
    )
    db.execute("create trigger takes_long after insert on pgjobs.jobs execute function pgjobs.takes_long()")
    try:
        id = enqueue_one(db)
    finally:
        db.execute("drop function pgjobs.takes_long cascade")
    assert ear.heard() == [{"queue": "default", "since": job(db, id).available_at}]


def test_an_enqueue_alone_that_must_not_be_announced_is_not(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    Waiting(connect)
    enqueue_one(db, notify=False)
    assert ear.heard() == []


# One is woken, and one commit of many speaks


def test_each_who_waits_has_a_place_and_the_first_is_woken(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    workers = [Worker(connect()) for _ in range(3)]
    assert [worker.look(idle=True).places for worker in workers] == [{"default": n} for n in range(3)]
    enqueue_one(db)
    assert ear.heard() == [wake_up(to=0)]
    workers[0].look(idle=False)
    workers[1].look(idle=False)
    enqueue_one(db)
    assert ear.heard() == [wake_up(to=2)]
    assert workers[1].look(idle=True).places == {"default": 0}


def test_when_all_places_are_taken_one_waits_without_and_is_woken_where_no_place_is_held(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    holder = connect()
    holder.execute(
        "select pg_advisory_lock('pgjobs.queues_pkey'::regclass::oid::int, hashtext('default') # k) from generate_series(0, 15) k"
    )
    worker = Worker(connect())
    assert worker.look(idle=True).places == {"default": None}
    holder.execute("select pg_advisory_unlock_all()")
    enqueue_one(db)
    assert ear.heard() == [{"queue": "default", "in": 0}]
    worker.look(idle=False)
    until(db, f"not exists (select from {LOCKS})")


def test_who_asks_at_the_same_time_is_not_taken_for_somebody_who_waits(connect: Connect) -> None:
    """It holds the lock for a moment, and may be stopped in the middle of it."""
    db, ear, asking = connect(), Ear(connect()), connect()
    asking.execute("select pg_advisory_lock('pgjobs.queues'::regclass::oid::int, hashtext('default'))")
    enqueue_one(db)
    assert ear.heard() == []
    worker = Worker(connect())
    asking.execute("select pg_advisory_unlock_all()")
    worker.look(idle=True)
    asking.execute(
        "select pg_try_advisory_lock_shared('pgjobs.queues_pkey'::regclass::oid::int, hashtext('default') # 1)"
    )
    enqueue_one(db)
    assert ear.heard() == [wake_up(to=0)]


def test_a_claim_that_fills_the_slots_waits_no_more_and_wakes_the_next(connect: Connect) -> None:
    db, ear = connect(), Ear(connect())
    first, second = Worker(connect()), Worker(connect())
    first.look(idle=True)
    second.look(idle=True)
    client(db).enqueue_many([Spec("work")] * 3)
    assert ear.heard() == [wake_up(to=0)]
    assert len(first.claim(2)) == 2
    assert ear.heard() == [wake_up(to=1)]
    enqueue_one(db)  # the first has no slot, and is not asked
    assert ear.heard() == [wake_up(to=1)]


def test_of_transactions_that_commit_at_once_one_speaks(connect: Connect) -> None:
    one_, other, ear = connect(autocommit=False), connect(autocommit=False), Ear(connect())
    worker = Waiting(connect).worker
    for connection in one_, other:
        enqueue_one(connection)
        connection.execute("set constraints all immediate")  # as if its commit had come so far
    assert worker.look().soon
    one_.commit()
    assert ear.heard() == [wake_up()]
    # The other is not visible yet: the look that follows the message says so, and looks again.
    step = worker.look()
    assert (len(step.claimed), step.soon) == (1, True)
    other.commit()
    assert ear.heard() == []
    step = worker.look()
    assert (len(step.claimed), step.soon) == (1, False)


def test_who_comes_when_the_voice_is_free_speaks_although_others_are_still_under_way(connect: Connect) -> None:
    speaker, silent, later = (connect(autocommit=False) for _ in range(3))
    ear = Ear(connect())
    Waiting(connect)
    for connection in speaker, silent:
        enqueue_one(connection)
        connection.execute("set constraints all immediate")
    speaker.commit()
    assert ear.heard() == [wake_up()]
    enqueue_one(later)
    later.commit()
    assert ear.heard() == [wake_up()]
    silent.commit()
    assert ear.heard() == []


def test_a_transaction_that_is_rolled_back_leaves_the_voice_to_others(connect: Connect) -> None:
    db, other, ear = connect(autocommit=False), connect(), Ear(connect())
    worker = Waiting(connect).worker
    enqueue_one(db)
    db.execute("set constraints all immediate")
    enqueue_one(other)
    assert ear.heard() == []  # it is silent beside the first
    assert worker.look().soon  # which is known, and looked for: here it is there already
    db.rollback()
    assert not worker.look().soon
    enqueue_one(other)
    assert ear.heard() == [wake_up()]
