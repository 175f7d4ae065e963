"""rescue: the jobs of lost workers are taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.calls import Report
from pgjobs.errors import LeaseLost
from pgjobs.job import Priority, Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import LEASE, Connect, Worker, client, enqueue_one, ids, job, now, one, until
from tests.sql.one_database import one_database

database, dsn = one_database()

LAPSE = LEASE + timedelta(seconds=1)


def test_the_jobs_of_a_lapsed_worker_go_first_with_one_more_crash(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    id = enqueue_one(db, priority=Priority.BULK)
    worker.claim()
    clock.advance(LAPSE)
    before = now(db)
    assert client(db).rescue(10) == (1, 0)
    found = job(db, id)
    assert (found.status, found.crashes, found.attempts, found.run) == (Status.READY, 1, 0, 1)
    assert (found.worker, found.claimed_at) == (None, None)
    assert found.available_at is not None
    assert before <= found.available_at <= now(db)
    assert one(db, "select count(*) from pgjobs.workers") == 0
    urgent = enqueue_one(db, priority=Priority.CRITICAL)
    again = Worker(db).claim()
    assert [(job.id, job.rank, job.run, job.crashes) for job in again] == [(id, -3, 2, 1), (urgent, -2, 1, 0)]


def test_a_worker_whose_lease_runs_is_left_alone(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    worker.claim()
    clock.advance(LEASE - timedelta(seconds=10))
    assert client(db).rescue(10) == (0, 0)
    assert job(db, id).worker == worker.id


def test_a_worker_that_renews_is_left_alone_however_long_its_jobs_run(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    for _ in range(5):
        clock.advance(LEASE - timedelta(seconds=10))
        worker.renew()
        assert client(db).rescue(10) == (0, 0)
    assert worker.complete(claimed).fenced == []
    assert job(db, id).status is Status.COMPLETED


def test_a_worker_says_itself_how_long_its_lease_is(db: Connection, clock: Clock) -> None:
    hasty, patient = Worker(db, lease=timedelta(seconds=5)), Worker(db, lease=timedelta(minutes=5))
    first, second = enqueue_one(db), enqueue_one(db)
    hasty.claim(1)
    patient.claim(1)
    clock.advance(timedelta(seconds=6))
    assert client(db).rescue(10) == (1, 0)
    assert (job(db, first).status, job(db, second).status) == (Status.READY, Status.RUNNING)


def test_a_rescued_run_can_settle_neither_itself_nor_its_successor(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    old = worker.claim_one()
    clock.advance(LAPSE)
    client(db).rescue(10)
    assert worker.complete(old).fenced == [(id, 1)]
    successor = Worker(db)
    new = successor.claim_one()
    assert worker.complete(old).fenced == [(id, 1)]
    assert worker.settle(old, "fail").fenced == [(id, 1)]
    assert worker.release(old).fenced == [(id, 1)]
    assert job(db, id).worker == successor.id
    assert successor.complete(new).fenced == []


def test_a_job_that_loses_its_third_worker_is_a_poison_pill(db: Connection, clock: Clock) -> None:
    id = enqueue_one(db, payload='{"n": 1}', priority=Priority.LOW, max_attempts=9, metadata='{"m": 2}')
    for crash, (rescued, dead) in (1, (1, 0)), (2, (1, 0)), (3, (0, 1)):
        worker = Worker(db)
        assert worker.claim_one().crashes == crash - 1
        clock.advance(LAPSE)
        assert client(db).rescue(10) == (rescued, dead)
    found = job(db, id)
    assert (found.status, found.crashes, found.attempts, found.run, found.worker) == (Status.DEAD, 3, 0, 3, worker.id)
    assert found.reason == "crashed: WorkerLost: its worker died or fell silent 3 times while it ran"
    assert (found.payload, found.priority, found.max_attempts, found.metadata) == ({"n": 1}, Priority.LOW, 9, {"m": 2})
    assert one(db, "select count(*) from pgjobs.workers") == 0


def test_crashes_and_attempts_are_counted_apart(db: Connection, clock: Clock) -> None:
    id = enqueue_one(db, max_attempts=9)
    for _ in range(2):
        worker = Worker(db)
        worker.claim()
        clock.advance(LAPSE)
        client(db).rescue(10)
    worker = Worker(db)
    worker.settle(worker.claim_one(), "retry")
    found = job(db, id)
    assert (found.status, found.attempts, found.crashes) == (Status.READY, 1, 2)


def test_all_lapsed_workers_are_found_and_the_living_between_them_are_not_touched(db: Connection, clock: Clock) -> None:
    workers = [Worker(db) for _ in range(4)]
    held = {}
    for worker in workers:
        held[worker.id] = enqueue_one(db)
        worker.claim()
    clock.advance(LAPSE)
    alive = workers[1]
    alive.renew()
    assert client(db).rescue(10) == (3, 0)
    assert [worker for (worker,) in db.execute("select id from pgjobs.workers")] == [alive.id]
    assert job(db, held[alive.id]).status is Status.RUNNING


def test_a_lapsed_worker_that_held_nothing_just_goes(db: Connection, clock: Clock) -> None:
    Worker(db)
    clock.advance(LAPSE)
    assert client(db).rescue(10) == (0, 0)
    assert one(db, "select count(*) from pgjobs.workers") == 0


def test_a_rescue_takes_back_no_more_than_its_limit_and_is_called_again(db: Connection, clock: Clock) -> None:
    first, second = Worker(db), Worker(db)
    ids = client(db).enqueue_many([Spec("work")] * 5)
    first.claim(3)
    second.claim(2)
    clock.advance(LAPSE)
    running = "select count(*) from pgjobs.jobs where status = 'running'"
    for limit, rescued, left in (0, 0, 5), (1, 1, 4), (2, 2, 2), (2, 2, 0), (2, 0, 0):
        assert client(db).rescue(limit) == (rescued, 0)
        assert one(db, running) == left
    assert one(db, "select count(*) from pgjobs.workers") == 0
    assert {(job(db, id).status, job(db, id).crashes) for id in ids} == {(Status.READY, 1)}


def test_the_oldest_claims_are_taken_back_first(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    held = []
    for _ in range(3):
        held.append(enqueue_one(db))
        worker.claim_one()
    clock.advance(LAPSE)
    client(db).rescue(2)
    assert [lease.id for lease in worker.leases()] == held[2:]


def test_a_worker_of_which_some_jobs_were_taken_back_can_neither_renew_nor_claim(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    client(db).enqueue_many([Spec("work")] * 2)
    claimed = worker.claim()
    clock.advance(LAPSE)
    client(db).rescue(1)
    with pytest.raises(LeaseLost):
        worker.renew()
    with pytest.raises(LeaseLost):
        worker.claim()
    # What was not taken back yet it may still settle.
    (left,) = worker.leases()
    assert worker.complete(*[job for job in claimed if job.id == left.id]).fenced == []
    assert client(db).rescue(1) == (0, 0)
    assert one(db, "select count(*) from pgjobs.workers") == 0


def test_a_job_is_rescued_however_old_its_claim_is(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    old = enqueue_one(db)
    claimed = worker.claim_one()
    for _ in range(3):
        clock.advance(timedelta(seconds=50))
        young = enqueue_one(db)
        worker.claim_one()
        worker.renew(claims_since=one(db, "select claimed_at::text from pgjobs.jobs where id = %s", old))
    clock.advance(LAPSE)
    assert client(db).rescue(10) == (4, 0)
    assert worker.complete(claimed).fenced == [(old, 1)]
    assert job(db, young).status is Status.READY


def test_what_was_claimed_after_the_clock_was_set_back_is_rescued_too(db: Connection, clock: Clock) -> None:
    """The worker said since when it holds claims by the clock as it was before."""
    clock.advance(timedelta(minutes=10))
    worker = Worker(db)
    clock.advance(timedelta(minutes=-10))
    id = enqueue_one(db)
    assert ids(worker.claim()) == [id]
    assert [lease.id for lease in worker.leases()] == [id]
    clock.advance(timedelta(hours=1))
    assert client(db).rescue(10) == (1, 0)


def test_each_worker_is_reported_by_itself(db: Connection, clock: Clock) -> None:
    first, second = Worker(db), Worker(db)
    client(db).enqueue_many([Spec("work")] * 3)
    first.claim(2)
    second.claim(1)
    clock.advance(LAPSE)
    rows = db.execute("select worker, rescued, dead from pgjobs.rescue_v1(10)").fetchall()
    assert rows == [(second.id, 1, 0), (first.id, 2, 0)]


# Workers whose process was seen to end


def test_a_worker_that_was_seen_to_die_is_rescued_however_long_its_lease(db: Connection) -> None:
    dead, alive = Worker(db), Worker(db)
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    dead.claim(1)
    alive.claim(1)
    assert client(db).rescue(10, [dead.id]) == (1, 0)
    assert (job(db, first).status, job(db, first).crashes) == (Status.READY, 1)
    assert job(db, second).worker == alive.id
    assert client(db).rescue(10, [dead.id]) == (0, 0)


def test_a_dead_worker_of_which_some_jobs_were_taken_back_is_lost_to_everybody(db: Connection) -> None:
    """Whoever saw it die may die before it has said so again."""
    dead = Worker(db)
    client(db).enqueue_many([Spec("work")] * 3)
    dead.claim()
    assert client(db).rescue(2, [dead.id]) == (2, 0)
    assert client(db).rescue(10) == (1, 0)
    assert one(db, "select count(*) from pgjobs.workers") == 0


# Workers under suspicion


def test_a_worker_whose_supervisors_lock_is_free_is_suspected_and_rescued_a_second_later(
    connect: Connect, db: Connection, clock: Clock
) -> None:
    supervisor = connect()
    worker = supervised(db, supervisor)
    id = enqueue_one(db)
    worker.claim()
    assert client(db).rescue(10).suspected == []
    end(supervisor, db)
    found = client(db).rescue(10)
    assert (found, found.suspected) == ((0, 0), [worker.id])
    assert one(db, "select state from pgjobs.worker_overview") == "suspected"
    clock.advance(timedelta(seconds=0.5))
    assert client(db).rescue(10).suspected == [worker.id]
    assert job(db, id).status is Status.RUNNING
    clock.advance(timedelta(seconds=0.6))
    assert client(db).rescue(10) == (1, 0)
    assert (job(db, id).status, job(db, id).crashes) == (Status.READY, 1)
    assert one(db, "select count(*) from pgjobs.workers") == 0


def test_a_suspicion_is_over_when_the_worker_is_renewed(connect: Connect, db: Connection, clock: Clock) -> None:
    supervisor, successor = connect(), connect()
    worker = supervised(db, supervisor)
    enqueue_one(db)
    worker.claim()
    end(supervisor, db)
    assert client(db).rescue(10).suspected == [worker.id]
    clock.advance(timedelta(seconds=2))
    renew(successor, client(successor).hold(), worker)
    found = client(db).rescue(10)
    assert (found, found.suspected) == ((0, 0), [])
    assert one(db, "select state from pgjobs.worker_overview") == "alive"


def test_all_workers_of_a_supervisor_that_is_gone_are_suspected_and_no_others(connect: Connect, db: Connection) -> None:
    gone, there = connect(), connect()
    theirs, ours = client(gone).hold(), client(there).hold()
    workers = [Worker(db) for _ in range(5)]
    renew(gone, theirs, *workers[0:4:2])
    renew(there, ours, *workers[1:4:2])
    end(gone, db)
    assert client(db).rescue(10).suspected == [workers[2].id, workers[0].id]
    suspected = db.execute("select id from pgjobs.workers where suspected_at is not null order by id").fetchall()
    assert suspected == [(workers[0].id,), (workers[2].id,)]


def test_a_supervisor_does_not_suspect_its_own_workers(connect: Connect, db: Connection) -> None:
    """Its own lock a session always gets."""
    supervisor = connect()
    supervised(db, supervisor)
    assert client(supervisor).rescue(10).suspected == []


def test_a_supervisor_does_not_suspect_its_own_workers_after_a_look_at_anothers(
    connect: Connect, db: Connection
) -> None:
    sessions = [connect(), connect()]
    held = [client(session).hold() for session in sessions]
    for n in 0, 1, 0, 1:
        renew(sessions[n], held[n], Worker(db))
    for session in sessions:
        assert client(session).rescue(10).suspected == []
    end(sessions[1], db)
    assert len(client(sessions[0]).rescue(10).suspected) == 2


def test_a_free_lock_says_nothing_on_another_server_than_the_last_renewals(
    connect: Connect, db: Connection, clock: Clock
) -> None:
    """After a restart, or on the standby after a failover, nobody has any lock yet."""
    supervisor = connect()
    worker = supervised(db, supervisor)
    enqueue_one(db)
    worker.claim()
    db.execute("update pgjobs.workers set server_started_at = server_started_at - interval '1 day'")
    end(supervisor, db)
    for _ in range(3):
        assert client(db).rescue(10).suspected == []
        clock.advance(timedelta(seconds=2))
    clock.advance(LAPSE)
    assert client(db).rescue(10) == (1, 0)


def test_a_worker_that_renews_without_a_lock_is_not_suspected(connect: Connect, db: Connection) -> None:
    supervisor = connect()
    worker = supervised(db, supervisor)
    worker.renew()
    end(supervisor, db)
    assert client(db).rescue(10).suspected == []


def test_the_dead_to_whom_the_limit_did_not_reach_are_to_be_named_again(db: Connection) -> None:
    workers = [Worker(db) for _ in range(3)]
    for worker in workers:
        enqueue_one(db)
        worker.claim(1)
    alive, *dead = [worker.id for worker in workers]
    found = client(db).rescue(1, dead)
    assert (found, found.suspected) == ((1, 0), [dead[0]])
    found = client(db).rescue(1, dead)
    assert (found, found.suspected) == ((1, 0), [])
    assert one(db, "select array_agg(id) from pgjobs.workers") == [alive]


def test_every_session_that_holds_has_an_id_of_its_own(connect: Connect, db: Connection) -> None:
    assert len({client(connect()).hold() for _ in range(3)}) == 3


def supervised(db: Connection, supervisor: Connection) -> Worker:
    """A worker that is renewed for on another session, which holds its lock."""
    worker = Worker(db)
    renew(supervisor, client(supervisor).hold(), worker)
    return worker


def renew(supervisor: Connection, id: int, *workers: Worker) -> None:
    assert client(supervisor).renew_many(id, [Report(worker.id, 0, None, False) for worker in workers]) == []


def end(supervisor: Connection, db: Connection) -> None:
    """End a session, and wait until the server knows."""
    pid = supervisor.info.backend_pid
    supervisor.close()
    until(db, "not exists (select from pg_stat_activity where pid = %s)", pid)
