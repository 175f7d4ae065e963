"""claim: due jobs for a worker, each with a new run under the worker's lease."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.calls import Scan
from pgjobs.errors import LeaseLost
from pgjobs.job import Priority, Spec, Status
from pgjobs.worker.cursors import HEAD
from tests.conftest import Clock, Connection
from tests.sql.by_hand import (
    LOCKS,
    OVERLAP,
    Connect,
    StoppedClock,
    Worker,
    client,
    enqueue,
    enqueue_one,
    ids,
    job,
    now,
    one,
    scan_from,
)
from tests.sql.one_database import one_database

database, dsn = one_database()

# What is claimed, and in which order


def test_a_claimed_job_comes_with_all_that_a_worker_needs(db: Connection) -> None:
    worker = Worker(db, ["ocr"])
    id = enqueue_one(
        db, payload='{"letter_id": 7}', queue="ocr", priority=Priority.HIGH, max_attempts=3,
        timeout=timedelta(seconds=1.5), metadata='{"by": "test"}', version=2,
    )  # fmt: skip
    found = job(db, id)
    claimed = worker.claim_one()
    assert one(db, "select %s::timestamptz = %s", claimed.enqueued_at, found.enqueued_at)
    assert claimed._replace(enqueued_at="") == (
        "claimed", id, 1, "ocr", -1, None, "work", '{"letter_id": 7}', -1, 0, 0, 3, 1.5, "", '{"by": "test"}', 2,
    )  # fmt: skip


def test_a_claim_makes_the_job_running_under_the_worker_and_raises_its_run(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    before = now(db)
    worker.claim_one()
    found = job(db, id)
    assert (found.status, found.run, found.worker, found.attempts) == (Status.RUNNING, 1, worker.id, 0)
    assert found.claimed_at is not None
    assert before <= found.claimed_at <= now(db)


def test_every_claim_raises_the_run(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    for run in 1, 2, 3:
        claimed = worker.claim_one()
        assert (claimed.id, claimed.run) == (id, run)
        worker.release(claimed)


def test_a_running_job_is_not_claimed_again(db: Connection) -> None:
    worker = Worker(db)
    enqueue_one(db)
    worker.claim_one()
    assert worker.claim(head=True) == []
    assert Worker(db).claim() == []


def test_jobs_come_by_rank_then_by_time_then_by_id(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    low, normal, critical = enqueue(
        db,
        Spec("work", priority=Priority.LOW),
        Spec("work", priority=Priority.NORMAL, delay=timedelta(seconds=5)),
        Spec("work", priority=Priority.CRITICAL, delay=timedelta(seconds=9)),
    )
    sooner = enqueue_one(db, priority=Priority.NORMAL, delay=timedelta(seconds=1))
    at = now(db) + timedelta(seconds=3)
    same_time = [enqueue_one(db, available_at=at) for _ in range(3)]
    clock.advance(timedelta(seconds=10))
    assert ids(worker.claim()) == [critical, sooner, *same_time, normal, low]


def test_a_job_is_not_claimed_before_its_time(db: Connection, clock: Clock) -> None:
    worker = Worker(db, lease=timedelta(days=1))
    id = enqueue_one(db, delay=timedelta(minutes=5))
    assert worker.claim() == []
    clock.advance(timedelta(minutes=4, seconds=50))
    assert worker.claim() == []
    clock.advance(timedelta(seconds=10))
    assert ids(worker.claim()) == [id]


def test_a_claim_gives_no_more_than_its_limit_over_all_queues_and_ranks(db: Connection) -> None:
    worker = Worker(db, ["a", "b"])
    specs = [Spec("work", queue=queue, priority=priority) for queue in "ab" for priority in Priority for _ in range(2)]
    enqueue(db, *specs)
    counts = []
    while claimed := worker.claim(3):
        counts.append(len(claimed))
    assert counts == [3, 3, 3, 3, 3, 3, 2]


def test_a_claim_of_none_gives_none(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    step = worker.look(0)
    assert (step.claimed, step.scanned) == ([], 0)
    assert ids(worker.claim()) == [id]


def test_only_the_queues_that_were_named_are_claimed_from(db: Connection) -> None:
    worker = Worker(db, ["a", "c"])
    a, b, c = enqueue(db, *(Spec("work", queue=queue) for queue in "abc"))
    assert set(ids(worker.claim())) == {a, c}
    assert job(db, b).status is Status.READY


def test_a_lower_rank_of_any_queue_goes_before_a_higher_rank_of_another(db: Connection) -> None:
    worker = Worker(db, ["a", "b"])
    normal, high, low, critical = enqueue(
        db,
        Spec("work", queue="a", priority=Priority.NORMAL),
        Spec("work", queue="b", priority=Priority.HIGH),
        Spec("work", queue="b", priority=Priority.LOW),
        Spec("work", queue="a", priority=Priority.CRITICAL),
    )
    assert ids(worker.claim(3)) == [critical, high, normal]
    assert ids(worker.claim()) == [low]


# Cursors


def drain(worker: Worker, limit: int) -> list[int]:
    """Claim until nothing comes, completing nothing; return the ids in order."""
    drained = []
    while claimed := worker.claim(limit):
        assert len(claimed) <= limit
        drained += ids(claimed)
    return drained


@pytest.mark.parametrize("age", [timedelta(0), timedelta(seconds=10)])
def test_full_claims_go_on_where_the_last_one_ended_and_strand_nothing(
    db: Connection, clock: Clock, age: timedelta
) -> None:
    """Also among keys of the same moment, of which a claim takes only some."""
    worker = Worker(db, ["a", "b"])
    enqueued = []
    for _ in range(5):
        enqueued += client(db).enqueue_many(
            [
                Spec("work", queue=queue, priority=priority)
                for queue in "ab"
                for priority in (-1, 0, 2)
                for _ in range(3)
            ]
        )
    clock.advance(age)
    assert sorted(drain(worker, 7)) == enqueued


def test_jobs_that_come_between_full_claims_are_found_too(db: Connection) -> None:
    worker = Worker(db, ["a", "b"])
    enqueued, claimed = [], []
    for _ in range(20):
        enqueued += enqueue(db, *(Spec("work", queue=queue, priority=rank) for queue in "ab" for rank in (-2, 1)))
        claimed += ids(worker.claim(3))
    assert sorted(claimed + drain(worker, 3)) == enqueued


def test_the_cursor_of_a_full_claim_is_the_last_key_once_that_is_older_than_the_overlap(
    db: Connection, clock: Clock
) -> None:
    worker = Worker(db)
    first, second, _ = client(db).enqueue_many([Spec("work")] * 3)
    clock.advance(timedelta(seconds=1))
    step = worker.look(2)
    assert step.cursor is not None
    queue, rank, at, id = step.cursor
    assert ids(step.claimed) == [first, second]
    assert (queue, rank, id) == ("default", 0, second)
    assert one(db, "select available_at = %s::timestamptz from pgjobs.jobs where id = %s", at, second)
    assert step.scanned == 3  # ranks -3, -2 and -1 to their end; not 0, where the limit was reached


def test_the_cursor_of_a_full_claim_stays_behind_now_by_the_overlap(db: Connection) -> None:
    clock = StoppedClock(db)
    worker = Worker(db)
    client(db).enqueue_many([Spec("work")] * 3)
    clock.advance(OVERLAP / 2)
    step = worker.look(2)
    assert step.cursor is not None
    assert step.cursor[3] == 0
    assert one(db, "select %s::timestamptz", step.cursor[2]) == now(db) - OVERLAP
    assert step.scanned_to == step.cursor[2]


def test_what_was_scanned_to_its_end_is_scanned_next_from_the_overlap_on(db: Connection) -> None:
    StoppedClock(db)
    step = Worker(db, ["a", "b"]).look(5)
    assert (step.cursor, step.scanned) == (None, 12)
    assert one(db, "select %s::timestamptz", step.scanned_to) == now(db) - OVERLAP


def test_nothing_at_or_before_a_cursor_is_looked_at(db: Connection) -> None:
    worker = Worker(db)
    first, second, third = client(db).enqueue_many([Spec("work")] * 3)
    at = job(db, first).available_at
    assert ids(client(db).claim(worker.id, 10, scan_from(str(at), second)).claimed) == [third]
    assert ids(client(db).claim(worker.id, 10, scan_from()).claimed) == [first, second]


def test_a_look_back_finds_a_key_that_was_committed_late(connect: Connect) -> None:
    db, late = connect(), connect(autocommit=False)
    clock = StoppedClock(db)
    worker = Worker(db)
    behind = enqueue_one(late)
    clock.advance(timedelta(seconds=0.1))
    ahead = enqueue_one(db)
    assert ids(worker.claim(1)) == [ahead]  # full, and its cursor is past the key that is still to be committed
    assert worker.claim() == []
    late.commit()
    assert ids(worker.claim()) == [behind]


def test_a_cursor_ahead_of_the_time_of_the_database_is_ignored(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    ahead = now(db) + timedelta(hours=1)
    assert ids(client(db).claim(worker.id, 10, scan_from(str(ahead), 10**9)).claimed) == [id]


def test_after_the_clock_was_set_back_jobs_are_found_at_once(db: Connection, clock: Clock) -> None:
    clock.advance(timedelta(hours=1))
    before = Worker(db)
    assert before.claim() == []
    clock.advance(timedelta(hours=-1))
    after = Worker(db)
    after.cursors = before.cursors
    id = enqueue_one(db)
    assert ids(after.claim()) == [id]


# Paused queues


def test_a_paused_queue_is_left_out_and_named(db: Connection) -> None:
    worker = Worker(db, ["a", "b"])
    a, b = enqueue(db, Spec("work", queue="a"), Spec("work", queue="b"))
    db.execute("select pgjobs.pause('a')")
    step = worker.look()
    assert ids(step.claimed) == [b]
    assert step.paused == ["a"]
    db.execute("select pgjobs.resume('a')")
    step = worker.look()
    assert ids(step.claimed) == [a]
    assert step.paused == []


def test_jobs_that_were_passed_while_their_queue_was_paused_are_found_when_it_runs_again(
    db: Connection, clock: Clock
) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    db.execute("select pgjobs.pause('default')")
    for _ in range(3):
        assert worker.claim() == []
        clock.advance(timedelta(minutes=1))
        worker.renew()
    db.execute("select pgjobs.resume('default')")
    assert ids(worker.claim()) == [id]


# When the next job falls due


def test_a_claim_that_finds_too_little_says_when_the_next_job_falls_due(db: Connection) -> None:
    worker = Worker(db, ["a", "b"])
    enqueue(
        db,
        Spec("work", queue="a"),
        Spec("work", queue="a", delay=timedelta(minutes=9)),
        Spec("work", queue="b", priority=Priority.BULK, delay=timedelta(minutes=5)),
        Spec("work", queue="other", delay=timedelta(minutes=1)),
    )
    for expected in 1, 0:
        step = worker.look()
        assert len(step.claimed) == expected
        assert step.due_in is not None
        assert timedelta(minutes=4, seconds=50) < step.due_in <= timedelta(minutes=5)


def test_a_claim_that_reached_its_limit_says_nothing_of_what_falls_due(db: Connection) -> None:
    """It is repeated at once, and would have paid for the answer for nothing."""
    worker = Worker(db)
    enqueue(db, Spec("work"), Spec("work", delay=timedelta(minutes=5)))
    assert worker.look(1).due_in is None
    assert worker.look(0).due_in is None


def test_where_nothing_is_to_come_nothing_falls_due(db: Connection) -> None:
    assert Worker(db).look().due_in is None


# Who may claim


def test_an_unknown_worker_is_refused(db: Connection) -> None:
    enqueue_one(db)
    with pytest.raises(LeaseLost, match=r"The lease of worker 4711 has lapsed\."):
        client(db).claim(4711, 1, scan_from())
    assert one(db, "select count(*) from pgjobs.jobs where status = 'running'") == 0


def test_a_worker_whose_lease_has_lapsed_is_refused_until_it_renews(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    clock.advance(timedelta(seconds=61))
    with pytest.raises(LeaseLost, match=f"The lease of worker {worker.id} has lapsed"):
        worker.claim()
    worker.renew()
    assert ids(worker.claim()) == [id]


def test_a_worker_that_renews_in_time_claims_on(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    for _ in range(3):
        clock.advance(timedelta(seconds=40))
        worker.renew()
        id = enqueue_one(db)
        assert ids(worker.claim()) == [id]


def test_a_refused_claim_takes_no_idle_lock(db: Connection) -> None:
    """Its session would count as waiting for ever, and every enqueue would send a notification for nothing."""
    with pytest.raises(LeaseLost):
        client(db).claim(4711, 1, scan_from(idle=True))
    assert one(db, f"select count(*) from {LOCKS}") == 0


def test_entries_are_scanned_in_the_order_given(db: Connection) -> None:
    worker = Worker(db, ["a", "b"])
    a, b = enqueue(db, Spec("work", queue="a"), Spec("work", queue="b"))
    scan = Scan(["b", "a"], [0, 0], [HEAD[0]] * 2, [HEAD[1]] * 2, OVERLAP)
    assert ids(client(db).claim(worker.id, 1, scan).claimed) == [b]
    assert ids(client(db).claim(worker.id, 1, scan).claimed) == [a]
