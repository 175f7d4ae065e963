"""What happens when two do something at once: every interleaving is forced, one statement after the other.

`db` commits at once. A connection called `open_` has a transaction that stays open until the test ends it. Only where a
call has to wait for another does it run aside, in a thread; nothing sleeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from pgjobs.calls import Cancellation, Filter, Report, Step
from pgjobs.errors import JobNotFound, LeaseLost
from pgjobs.job import Spec, Status
from tests.conftest import Connection
from tests.race.conftest import CallAside
from tests.sql.by_hand import LEASE, Connect, Ear, StoppedClock, Worker, client, enqueue_one, ids, job, one, until
from tests.sql.one_database import one_database

database, dsn = one_database()

LAPSE = LEASE + timedelta(seconds=1)
PERIOD = timedelta(hours=12)
FUNCTIONS = Path(__file__).parents[2] / "sql" / "functions"


# settle and rescue


def test_of_settle_and_rescue_the_first_wins_when_it_is_the_settle(db: Connection, clock: StoppedClock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    clock.advance(LAPSE)
    assert worker.complete(claimed).fenced == []
    assert client(db).rescue(10) == (0, 0)
    assert job(db, id).status is Status.COMPLETED


def test_of_settle_and_rescue_the_first_wins_when_it_is_the_rescue(db: Connection, clock: StoppedClock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    clock.advance(LAPSE)
    assert client(db).rescue(10) == (1, 0)
    assert worker.complete(claimed).fenced == [(id, 1)]
    assert job(db, id).status is Status.READY


@pytest.mark.parametrize("outcome", ["complete", "fail", "snooze", "release", "cancel"])
def test_a_settle_during_a_rescue_is_told_to_come_again_and_then_that_it_is_fenced(
    connect: Connect, db: Connection, clock: StoppedClock, outcome: str
) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    clock.advance(LAPSE)
    assert client(open_).rescue(10) == (1, 0)
    for committed, fenced, locked in (False, [], [(id, 1)]), (True, [(id, 1)], []):
        if committed:
            open_.commit()
        step = worker.complete(claimed) if outcome == "complete" else worker.settle(claimed, outcome)
        assert (step.fenced, step.locked) == (fenced, locked)
    found = job(db, id)
    assert (found.status, found.crashes, found.attempts) == (Status.READY, 1, 0)


def test_a_rescue_that_was_rolled_back_leaves_the_lease_as_it_was(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    clock.advance(LAPSE)
    client(open_).rescue(10)
    open_.rollback()
    assert worker.complete(claimed).fenced == []
    assert job(db, id).status is Status.COMPLETED


def test_a_rescue_passes_by_a_job_that_is_being_settled(connect: Connect, db: Connection, clock: StoppedClock) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    claimed = {claimed.id: claimed for claimed in worker.claim()}
    clock.advance(LAPSE)
    assert worker.on(open_).complete(claimed[first]).fenced == []
    assert client(db).rescue(10) == (1, 0)
    # The worker is not forgotten while a job of its own is in somebody's hands.
    assert one(db, "select lost from pgjobs.workers where id = %s", worker.id)
    open_.commit()
    assert client(db).rescue(10) == (0, 0)
    assert one(db, "select count(*) from pgjobs.workers") == 0
    assert (job(db, first).status, job(db, second).status) == (Status.COMPLETED, Status.READY)


def test_a_job_whose_settle_was_rolled_back_is_rescued_with_the_next_rescue(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    clock.advance(LAPSE)
    worker.on(open_).complete(claimed)
    assert client(db).rescue(10) == (0, 0)
    open_.rollback()
    assert client(db).rescue(10) == (1, 0)
    assert job(db, id).crashes == 1


def test_two_rescues_at_once_do_not_wait_for_each_other_and_take_nothing_back_twice(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    open_ = connect(autocommit=False)
    workers = [Worker(db) for _ in range(2)]
    held = [enqueue_one(db) for worker in workers]
    for worker in workers:
        worker.claim(1)
    clock.advance(LAPSE)
    assert client(open_).rescue(1) == (1, 0)
    assert client(db).rescue(10) == (1, 0)
    open_.commit()
    assert client(db).rescue(10) == (0, 0)
    assert [job(db, id).crashes for id in held] == [1, 1]
    assert one(db, "select count(*) from pgjobs.workers") == 0


# suspicion and renewal


def suspect(connect: Connect, db: Connection, clock: StoppedClock) -> Worker:
    """A worker with a job, under suspicion for two seconds: the session of its supervisor is over."""
    supervisor = connect()
    worker = Worker(db)
    id = client(supervisor).hold()
    assert client(supervisor).renew_many(id, [Report(worker.id, 0, None, False)]) == []
    enqueue_one(db)
    worker.claim_one()
    pid = supervisor.info.backend_pid
    supervisor.close()
    until(db, "not exists (select from pg_stat_activity where pid = %s)", pid)
    assert client(db).rescue(10).suspected == [worker.id]
    clock.advance(timedelta(seconds=2))
    return worker


def test_a_renewal_under_way_keeps_a_suspected_worker_from_being_rescued(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = suspect(connect, db, clock), connect(autocommit=False)
    id = client(open_).hold()
    assert client(open_).renew_many(id, [Report(worker.id, 0, None, False)]) == []
    assert client(db).rescue(10) == (0, 0)
    open_.commit()
    found = client(db).rescue(10)
    assert (found, found.suspected) == ((0, 0), [])
    assert worker.leases() != []


def test_a_renewal_that_was_rolled_back_does_not(connect: Connect, db: Connection, clock: StoppedClock) -> None:
    worker, open_ = suspect(connect, db, clock), connect(autocommit=False)
    client(open_).renew_many(None, [Report(worker.id, 0, None, False)])
    open_.rollback()
    assert client(db).rescue(10) == (1, 0)


def test_a_renewal_that_comes_after_the_rescue_of_a_suspected_worker_is_refused(
    connect: Connect, db: Connection, clock: StoppedClock, aside: CallAside
) -> None:
    worker, open_, supervisor = suspect(connect, db, clock), connect(autocommit=False), connect()
    assert client(open_).rescue(10) == (1, 0)
    renewal = aside(supervisor, lambda: client(supervisor).renew_many(7, [Report(worker.id, 0, None, False)]))
    assert renewal.waits(db)
    open_.commit()
    assert renewal.result() == [worker.id]


def test_a_renewal_waits_for_a_suspicion_and_ends_it(
    connect: Connect, db: Connection, clock: StoppedClock, aside: CallAside
) -> None:
    worker, open_, supervisor = suspect(connect, db, clock), connect(autocommit=False), connect()
    id = client(supervisor).hold()
    client(supervisor).renew_many(id, [Report(worker.id, 0, None, False)])
    pid = supervisor.info.backend_pid
    supervisor.close()
    until(db, "not exists (select from pg_stat_activity where pid = %s)", pid)
    successor = connect()
    another = client(successor).hold()
    assert client(open_).rescue(10).suspected == [worker.id]
    renewal = aside(successor, lambda: client(successor).renew_many(another, [Report(worker.id, 0, None, False)]))
    assert renewal.waits(db)
    open_.commit()
    assert renewal.result() == []
    assert one(db, "select suspected_at is null and supervisor = %s from pgjobs.workers", another)


def test_two_who_look_at_once_do_not_hide_a_free_lock_from_each_other(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker = suspect(connect, db, clock)
    db.execute("update pgjobs.workers set suspected_at = null")
    open_ = connect(autocommit=False)
    assert client(open_).rescue(10).suspected == [worker.id]
    open_.commit()
    one_looks = connect(autocommit=False)
    assert client(one_looks).rescue(10).suspected == [worker.id]
    assert client(db).rescue(10).suspected == [worker.id]
    one_looks.commit()


def test_a_claim_keeps_the_rescue_of_a_suspected_worker_away_until_it_is_over(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = suspect(connect, db, clock), connect(autocommit=False)
    enqueue_one(db)
    assert len(worker.on(open_).claim()) == 1
    assert client(db).rescue(10) == (0, 0)
    open_.commit()
    assert client(db).rescue(10) == (2, 0)


def test_a_dead_worker_is_to_be_named_again_while_what_it_asked_for_last_is_under_way(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    """It dies between its request and the answer. Its lease is good for long: but for its supervisor nobody would look."""
    worker, open_ = Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    assert len(worker.on(open_).claim()) == 1
    found = client(db).rescue(10, [worker.id])
    assert (found, found.suspected) == ((0, 0), [worker.id])
    open_.commit()
    found = client(db).rescue(10, [worker.id])
    assert (found, found.suspected) == ((1, 0), [])
    assert (job(db, id).status, job(db, id).crashes) == (Status.READY, 1)


TELL = '{"work": {"task": "tell", "queue": "told", "priority": 0}}'


@pytest.mark.parametrize("first", ["settle", "rescue"])
@pytest.mark.parametrize("committed", [True, False])
def test_of_a_death_one_job_tells_whoever_buries_it(
    connect: Connect, db: Connection, clock: StoppedClock, first: str, committed: bool
) -> None:
    worker, open_ = Worker(db, on_failure=TELL), connect(autocommit=False)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    db.execute("update pgjobs.jobs set crashes = 2")
    clock.advance(LAPSE)

    def bury(by: str, connection: Connection) -> int:
        if by == "rescue":
            return client(connection).rescue(10)[1]
        return len(worker.on(connection).settle(claimed, "fail").dead)

    second = "rescue" if first == "settle" else "settle"
    assert bury(first, open_) == 1
    assert bury(second, db) == 0  # it passes by what the first has in its hands
    if committed:
        open_.commit()
    else:
        open_.rollback()
    assert bury(second, db) == (0 if committed else 1)
    assert bury(first, db) == 0
    assert one(db, "select count(*) from pgjobs.dead_letters where id = %s", id) == 1
    assert db.execute("select task, payload #>> '{failed,job_id}' from pgjobs.jobs").fetchall() == [("tell", str(id))]


# settle, rescue, and somebody who writes into a row that runs: a person at psql, progress, a cancel request


@contextmanager
def held_up(db: Connection, function: str, condition: str) -> Iterator[None]:
    """Let a function wait where it has seen its rows and not yet locked them, while `db` holds the advisory lock 42."""
    text = (FUNCTIONS / f"{function}.sql").read_text()
    assert condition in text, "the function has changed: say where it sees its rows"
    db.execute(
        "create function public.hold_up() returns boolean language plpgsql"
        " as 'begin perform pg_advisory_lock_shared(42), pg_advisory_unlock_shared(42); return true; end'"
    )
    db.execute(text.replace(condition, f"public.hold_up() and {condition}").encode())
    db.execute("select pg_advisory_lock(42)")
    try:
        yield
    finally:
        db.execute("select pg_advisory_unlock_all()")
        db.execute(text.encode())
        db.execute("drop function public.hold_up")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("complete", Status.COMPLETED),
        ("fail", Status.DEAD),
        ("retry", Status.READY),
        ("cancel", Status.CANCELLED),
        ("release", Status.READY),
    ],
)
def test_an_outcome_is_written_whole_when_its_row_changes_just_before_it_is_locked(
    connect: Connect, db: Connection, aside: CallAside, outcome: str, status: Status
) -> None:
    worker = Worker(connect())
    id = enqueue_one(db)
    claimed = worker.claim_one()

    def settle() -> Step:
        return worker.complete(claimed) if outcome == "complete" else worker.settle(claimed, outcome, max_attempts=2)

    with held_up(db, "settle" if outcome == "complete" else "settle_others", "j.id = g.id and j.run = g.run"):
        settling = aside(worker.connection, settle)
        assert settling.waits(db)
        db.execute("update pgjobs.jobs set metadata = '{\"seen\": true}' where id = %s", (id,))
        db.execute("select pg_advisory_unlock(42)")
        step = settling.result()
    if step.locked:
        step = settle()
    assert (step.fenced, step.locked) == ([], [])
    assert [found.status for found in client(db).jobs()] == [status]
    assert job(db, id).metadata == {"seen": True}


def test_a_poison_pill_is_buried_whole_when_its_row_changes_just_before_it_is_locked(
    connect: Connect, db: Connection, clock: StoppedClock, aside: CallAside
) -> None:
    worker, rescuer = Worker(db), connect()
    id = enqueue_one(db)
    worker.claim()
    db.execute("update pgjobs.jobs set crashes = 2")
    clock.advance(LAPSE)
    with held_up(db, "rescue", "j.status = 'running' and j.worker = v_row.id"):
        rescue = aside(rescuer, lambda: client(rescuer).rescue(10))
        assert rescue.waits(db)
        db.execute("update pgjobs.jobs set metadata = '{\"seen\": true}' where id = %s", (id,))
        db.execute("select pg_advisory_unlock(42)")
        dead = rescue.result()[1]
    dead += client(db).rescue(10)[1]
    assert dead == 1
    assert [found.status for found in client(db).jobs()] == [Status.DEAD]
    assert one(db, "select count(*) from pgjobs.workers") == 0


# settle and settle


def test_of_two_settles_of_one_run_at_once_one_is_written(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    one_, two = worker.claim()
    assert worker.on(open_).complete(one_, results=['"first"']).fenced == []
    step = worker.complete(two, one_, results=['"kept"', '"second"'])
    assert (step.fenced, step.locked) == ([], [(first, 1)])
    open_.commit()
    assert worker.complete(one_, results=['"second"']).fenced == [(first, 1)]
    assert [job(db, id).result for id in (first, second)] == ["first", "kept"]


# claim and claim


def test_two_claimers_at_once_share_what_is_there_without_waiting(connect: Connect, db: Connection) -> None:
    first, second, open_ = Worker(db), Worker(db), connect(autocommit=False)
    enqueued = client(db).enqueue_many([Spec("work")] * 5)
    mine = first.on(open_).claim(2)
    # What the first did not get it has not locked either.
    theirs = second.claim()
    assert (ids(mine), ids(theirs)) == (enqueued[:2], enqueued[2:])
    open_.commit()
    assert first.claim(head=True) == second.claim(head=True) == []
    assert [job(db, id).run for id in enqueued] == [1] * 5
    assert [job(db, id).worker for id in enqueued] == [first.id] * 2 + [second.id] * 3


def test_what_a_claimer_gave_up_with_its_transaction_others_find_again(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    first, second, open_ = Worker(db), Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    first.on(open_).claim()
    assert second.claim() == []
    clock.advance(timedelta(seconds=1))
    assert second.claim() == []
    open_.rollback()
    # Nobody announces it, and the cursor is past it by more than the overlap: this is what the sweep is for.
    assert second.claim() == []
    again = second.claim(head=True)
    assert [(claimed.id, claimed.run) for claimed in again] == [(id, 1)]


# claim and a transaction that enqueues and commits late


def test_a_late_commit_is_announced_and_found_by_setting_the_cursor_back(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_, ear = Worker(db), connect(autocommit=False), Ear(connect())
    behind = enqueue_one(open_)
    clock.advance(timedelta(seconds=1))
    ahead = enqueue_one(db)
    assert ids(worker.claim(1)) == [ahead]
    assert worker.claim() == []
    open_.commit()
    assert worker.claim() == []
    (message,) = ear.heard()
    worker.cursors.back_to(message["queue"], message["since"])
    assert ids(worker.claim()) == [behind]


def test_a_late_commit_of_several_keys_is_found_by_its_one_announcement(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_, ear = Worker(db), connect(autocommit=False), Ear(connect())
    behind = []
    for _ in range(3):
        behind.append(enqueue_one(open_))
        clock.advance(timedelta(seconds=1))
        assert worker.claim() == []
    open_.commit()
    (message,) = ear.heard()
    worker.cursors.back_to(message["queue"], message["since"])
    found = []
    while claimed := worker.claim(1):
        found += ids(claimed)
    assert found == behind


def test_a_commit_that_is_a_little_late_is_found_without_an_announcement(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_, ear = Worker(db), connect(autocommit=False), Ear(connect())
    behind = enqueue_one(open_)
    clock.advance(timedelta(seconds=0.1))
    ahead = enqueue_one(db)
    assert ids(worker.claim(1)) == [ahead]
    assert worker.claim() == []
    open_.commit()
    assert ear.heard() == []
    assert ids(worker.claim()) == [behind]


def test_a_late_commit_of_which_nobody_heard_is_found_from_the_head(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    behind = enqueue_one(open_)
    clock.advance(timedelta(seconds=1))
    assert worker.claim() == []
    open_.commit()
    assert worker.claim() == []
    assert ids(worker.claim(head=True)) == [behind]


def test_who_only_polls_finds_a_late_commit_by_looking_back_further(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    behind = enqueue_one(open_)
    clock.advance(timedelta(seconds=1.5))
    deaf = timedelta(seconds=2)
    assert worker.look(overlap=deaf).claimed == []
    open_.commit()
    assert ids(worker.look(overlap=deaf).claimed) == [behind]


# claim and rescue of the same worker


def test_no_claim_begins_for_a_worker_that_is_being_rescued(connect: Connect, db: Connection) -> None:
    """The lock that a rescue holds is enough, whatever the row of the worker still says."""
    worker, open_ = Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    open_.execute("select pg_advisory_xact_lock('pgjobs.workers'::regclass::oid::int, %s)", (worker.id,))
    with pytest.raises(LeaseLost):
        worker.claim()
    open_.rollback()
    assert ids(worker.claim()) == [id]


def test_a_rescue_passes_by_a_worker_whose_claim_is_not_committed_yet(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    assert ids(worker.on(open_).claim()) == [id]
    clock.advance(LAPSE)
    assert client(db).rescue(10) == (0, 0)
    assert one(db, "select count(*) from pgjobs.workers where not lost") == 1
    open_.commit()
    assert client(db).rescue(10) == (1, 0)
    assert job(db, id).crashes == 1


def test_a_rescue_goes_on_to_other_workers_past_one_whose_claim_is_not_committed(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    other, worker, open_ = Worker(db), Worker(db), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    other.claim(1)
    worker.on(open_).claim(1)
    clock.advance(LAPSE)
    assert client(db).rescue(10) == (1, 0)
    open_.commit()
    assert (job(db, first).status, job(db, second).status) == (Status.READY, Status.RUNNING)


# renew and rescue


def test_a_rescue_passes_by_a_worker_that_is_renewing(connect: Connect, db: Connection, clock: StoppedClock) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    clock.advance(LAPSE)
    worker.on(open_).renew()
    assert client(db).rescue(10) == (0, 0)
    open_.commit()
    assert client(db).rescue(10) == (0, 0)
    assert worker.complete(claimed).fenced == []
    assert job(db, id).status is Status.COMPLETED


def test_a_renewal_waits_for_a_rescue_at_work_and_is_refused(
    connect: Connect, db: Connection, clock: StoppedClock, aside: CallAside
) -> None:
    worker, open_ = Worker(connect()), connect(autocommit=False)
    client(db).enqueue_many([Spec("work")] * 2)
    worker.claim()
    clock.advance(LAPSE)
    assert client(open_).rescue(1) == (1, 0)
    renewal = aside(worker.connection, worker.renew)
    assert renewal.waits(db)
    open_.commit()
    with pytest.raises(LeaseLost):
        renewal.result()


def test_a_renewal_that_waited_for_a_rescue_that_was_rolled_back_holds(
    connect: Connect, db: Connection, clock: StoppedClock, aside: CallAside
) -> None:
    worker, open_ = Worker(connect()), connect(autocommit=False)
    id = enqueue_one(db)
    worker.claim()
    clock.advance(LAPSE)
    client(open_).rescue(10)
    renewal = aside(worker.connection, worker.renew)
    assert renewal.waits(db)
    open_.rollback()
    renewal.result()
    assert client(db).rescue(10) == (0, 0)
    assert job(db, id).worker == worker.id


def test_two_renewals_of_a_worker_at_once_both_hold(connect: Connect, db: Connection, aside: CallAside) -> None:
    """As when a connection broke and its last statement is still under way: the worker has lost nothing."""
    worker, open_ = Worker(connect()), connect(autocommit=False)
    worker.on(open_).renew()
    renewal = aside(worker.connection, worker.renew)
    renewal.waits(db)
    open_.commit()
    renewal.result()
    worker.renew()
    assert one(db, "select count(*) from pgjobs.workers") == 1


def test_a_renewal_waits_neither_for_a_claim_nor_for_a_settle(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    claimed = worker.claim(1)
    again = worker.on(open_)
    again.complete(*claimed)
    assert ids(again.claim()) == [second]
    worker.renew()
    open_.commit()
    assert (job(db, first).status, job(db, second).status) == (Status.COMPLETED, Status.RUNNING)


# resign and claim


def test_a_worker_does_not_leave_behind_what_a_claim_of_its_own_is_about_to_get(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    """As when a connection broke during a claim that the server still commits, while the worker says goodbye on another."""
    worker, open_ = Worker(connect()), connect(autocommit=False)
    id = enqueue_one(db)
    assert ids(worker.on(open_).claim()) == [id]
    leaving = aside(worker.connection, lambda: worker.client.resign(worker.id))
    leaving.waits(db)
    open_.commit()
    left = leaving.result()
    for _ in range(10):
        if left:
            left = worker.client.resign(worker.id)
    assert left == 0
    assert job(db, id).status is Status.READY
    assert one(db, "select count(*) from pgjobs.workers") == 0


def test_a_worker_that_is_leaving_claims_nothing_more(connect: Connect, db: Connection, aside: CallAside) -> None:
    worker, open_ = Worker(connect()), connect(autocommit=False)
    id = enqueue_one(db)
    assert client(open_).resign(worker.id) == 0
    claim = aside(worker.connection, worker.claim)
    claim.waits(db)
    open_.commit()
    with pytest.raises(LeaseLost):
        claim.result()
    assert job(db, id).status is Status.READY


# retry_failed, cancel


def bury(connection: Connection, count: int) -> list[int]:
    worker = Worker(connection)
    buried = client(connection).enqueue_many([Spec("work")] * count)
    for claimed in worker.claim():
        worker.settle(claimed, "fail")
    return [int(id) for id in buried]


def test_two_who_retry_the_same_dead_letters_at_once_retry_each_once(connect: Connect, db: Connection) -> None:
    open_ = connect(autocommit=False)
    buried = bury(db, 3)
    assert client(open_).retry_failed(Filter(), 2) == buried[:2]
    assert client(db).retry_failed(Filter(), 10) == buried[2:]
    assert client(db).retry_failed(Filter(ids=buried[:1]), 10) == []  # it is there still, and somebody is at it
    open_.commit()
    with pytest.raises(JobNotFound):
        client(db).retry_failed(Filter(ids=buried[:1]), 10)
    worker = Worker(db)
    assert sorted(ids(worker.claim())) == buried
    assert [job(db, id).run for id in buried] == [2, 2, 2]


def test_a_cancel_passes_by_a_job_that_is_being_claimed(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    worker.on(open_).claim(1)
    assert client(db).cancel([first, second]) == Cancellation([second], [], [first])
    open_.commit()
    assert client(db).cancel([first]) == Cancellation([], [first], [])
    assert (job(db, first).status, job(db, second).status) == (Status.RUNNING, Status.CANCELLED)


def test_a_claim_passes_by_a_job_that_is_being_cancelled(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    assert client(open_).cancel([first]).cancelled == [first]
    assert ids(worker.claim()) == [second]
    open_.commit()
    assert worker.claim(head=True) == []
    assert job(db, first).status is Status.CANCELLED


def test_of_two_cancels_at_once_one_cancels(connect: Connect, db: Connection) -> None:
    open_ = connect(autocommit=False)
    id = enqueue_one(db)
    assert client(open_).cancel([id], "first").cancelled == [id]
    assert client(db).cancel([id], "second") == Cancellation([], [], [id])
    open_.commit()
    assert job(db, id).reason == "first"


@pytest.mark.parametrize("outcome", ["complete", "retry", "release", "snooze"])
def test_a_request_that_comes_just_before_a_settle_locks_the_row_is_heeded(
    connect: Connect, db: Connection, aside: CallAside, outcome: str
) -> None:
    worker = Worker(connect())
    id = enqueue_one(db)
    claimed = worker.claim_one()

    def settle() -> Step:
        return worker.complete(claimed) if outcome == "complete" else worker.settle(claimed, outcome, max_attempts=2)

    with held_up(db, "settle" if outcome == "complete" else "settle_others", "j.id = g.id and j.run = g.run"):
        settling = aside(worker.connection, settle)
        assert settling.waits(db)
        assert client(db).cancel([id], "not needed").asked == [id]
        db.execute("select pg_advisory_unlock(42)")
        step = settling.result()
    assert step.locked == [(id, claimed.run)]
    assert settle().locked == []
    assert job(db, id).status is (Status.COMPLETED if outcome == "complete" else Status.CANCELLED)


def test_a_request_passes_by_a_run_that_is_being_settled(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    id = enqueue_one(db)
    worker.on(open_).settle(worker.claim_one(), "release")
    assert client(db).cancel([id]) == Cancellation([], [], [id])
    open_.commit()
    assert client(db).cancel([id]).cancelled == [id]


# enqueue and a worker that begins to wait


def test_a_job_committed_after_a_worker_began_to_wait_wakes_it(connect: Connect, db: Connection) -> None:
    """The insert came before, and found nobody waiting; what counts is the commit."""
    worker, open_, ear = Worker(connect()), connect(autocommit=False), Ear(connect())
    id = enqueue_one(open_)
    worker.wait_idle()
    open_.commit()
    assert ear.heard() == [{"queue": "default", "in": 0, "to": 0}]
    assert ids(worker.claim()) == [id]


def test_a_job_whose_enqueuer_looked_just_before_the_worker_waited_is_found_by_looking_again(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    """The one gap: it looks for those who wait, the worker takes its locks and finds nothing, and then it is committed."""
    worker, open_, ear = Worker(connect()), connect(autocommit=False), Ear(connect())
    db.execute(
        "create function public.hold_the_commit() returns trigger language plpgsql"
        " as 'begin perform pg_advisory_xact_lock(42); return null; end'"
    )
    # Its name comes after that of the trigger that looks who waits.
    db.execute(
        "create constraint trigger hold_the_commit after insert on pgjobs.jobs"
        " deferrable initially deferred for each row execute function public.hold_the_commit()"
    )
    try:
        db.execute("select pg_advisory_lock(42)")
        id = enqueue_one(open_)
        commit = aside(open_, open_.commit)
        assert commit.waits(db)
        worker.wait_idle()
        db.execute("select pg_advisory_unlock(42)")
        commit.result()
    finally:
        db.execute("drop function public.hold_the_commit cascade")
    assert ear.heard() == []
    assert ids(worker.claim()) == [id]


def test_a_worker_that_dies_waiting_leaves_no_lock(connect: Connect, db: Connection) -> None:
    worker, ear = Worker(connect()), Ear(connect())
    worker.wait_idle()
    pid = worker.connection.info.backend_pid
    db.execute("select pg_terminate_backend(%s)", (pid,))
    until(db, "not exists (select from pg_stat_activity where pid = %s)", pid)
    enqueue_one(db)
    assert ear.heard() == []


# pause and claim


def test_a_pause_holds_from_its_commit_on_and_no_claim_waits_for_it(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    open_.execute("select pgjobs.pause('default')")
    assert ids(worker.claim(1)) == [first]
    open_.commit()
    assert worker.claim() == []
    open_.execute("select pgjobs.resume('default')")
    assert worker.claim() == []
    open_.commit()
    assert ids(worker.claim()) == [second]


# prune


def test_a_settle_that_is_open_does_not_keep_the_next_slot_from_being_pruned(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = Worker(db, lease=timedelta(days=30)), connect(autocommit=False)
    old = enqueue_one(db)
    worker.complete(worker.claim_one())
    clock.advance(15 * PERIOD)
    young = enqueue_one(db)
    worker.on(open_).complete(worker.claim_one())
    assert client(db).prune() is True
    open_.commit()
    with pytest.raises(JobNotFound):
        job(db, old)
    assert job(db, young).status is Status.COMPLETED


def test_a_slot_into_which_somebody_still_writes_is_not_pruned(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = Worker(db, lease=timedelta(days=30)), connect(autocommit=False)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    one_, two = worker.claim()
    worker.complete(one_)
    worker.on(open_).complete(two)
    clock.advance(15 * PERIOD)
    assert client(db).prune() is False
    open_.commit()
    assert [job(db, id).status for id in (first, second)] == [Status.COMPLETED] * 2
    assert client(db).prune() is True


def test_two_who_prune_at_once_do_not_wait_for_each_other(
    connect: Connect, db: Connection, clock: StoppedClock
) -> None:
    worker, open_ = Worker(db, lease=timedelta(days=30)), connect(autocommit=False)
    enqueue_one(db)
    worker.complete(worker.claim_one())
    clock.advance(15 * PERIOD)
    assert client(open_).prune() is True
    db.execute("set statement_timeout = '1 s'")
    assert client(db).prune() is False
    open_.commit()
    assert client(db).prune() is False
    assert one(db, "select count(*) from pgjobs.job_history") == 0


def test_a_settle_does_not_wait_for_a_prune(connect: Connect, db: Connection, clock: StoppedClock) -> None:
    worker, open_ = Worker(db, lease=timedelta(days=30)), connect(autocommit=False)
    client(db).enqueue_many([Spec("work")] * 2)
    one_, two = worker.claim()
    worker.complete(one_)
    clock.advance(15 * PERIOD)
    assert client(open_).prune() is True
    assert worker.complete(two).fenced == []
    open_.commit()
    assert job(db, two.id).status is Status.COMPLETED
