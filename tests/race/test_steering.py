"""Steering while others claim: parking and resume, edit, move and cancel by conditions. How, see test_races.py."""

from __future__ import annotations

import pytest

from pgjobs.calls import Edit, JobFilter
from pgjobs.errors import JobNotWaiting
from pgjobs.job import Spec, Status
from tests.conftest import Connection
from tests.race.conftest import CallAside
from tests.race.test_races import held_up
from tests.sql.by_hand import Connect, Ear, Worker, client, enqueue, enqueue_one, ids, job, one
from tests.sql.one_database import one_database

database, dsn = one_database()


def lines(db: Connection) -> list[tuple[str, bool, int]]:
    """The tasks that are paused or being resumed: name, whether being resumed, how many jobs wait."""
    return [(task.task, task.resuming, task.waiting) for task in client(db).task_overview()]


# park and resume


def test_a_resume_is_not_over_while_a_claim_that_parks_is_open(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    client(db).pause(task="work")
    id = enqueue_one(db)
    assert worker.on(open_).claim() == []
    client(db).resume(task="work")
    assert client(db).resume_tasks(10) == 0
    assert lines(db) == [("work", True, 0)]
    open_.commit()
    assert lines(db) == [("work", True, 1)]
    assert client(db).resume_tasks(10) == 1
    assert lines(db) == []
    assert ids(worker.claim(head=True)) == [id]


def test_a_claim_that_saw_the_pause_and_parks_after_the_resume_strands_no_job(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    worker = Worker(connect())
    client(db).pause(task="work")
    id = enqueue_one(db)
    with held_up(db, "claim", "j.task = any (v_parks)"):
        claiming = aside(worker.connection, worker.claim)
        assert claiming.waits(db)
        client(db).resume(task="work")
        assert client(db).resume_tasks(10) == 0
        assert lines(db) == [("work", True, 0)]
        db.execute("select pg_advisory_unlock(42)")
        assert claiming.result() == []
    assert client(db).resume_tasks(10) == 1
    assert lines(db) == []
    assert ids(worker.claim(head=True)) == [id]


def test_a_claim_that_saw_a_pause_which_is_over_before_it_may_park_claims(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    worker = Worker(connect())
    client(db).pause(task="work")
    id = enqueue_one(db)
    with held_up(db, "claim", "t.paused_at is not null"):
        claiming = aside(worker.connection, worker.claim)
        assert claiming.waits(db)
        client(db).resume(task="work")
        client(db).resume_tasks(10)
        assert lines(db) == []
        db.execute("select pg_advisory_unlock(42)")
        assert ids(claiming.result()) == [id]


def test_jobs_of_a_task_paused_since_the_claim_first_looked_are_left_for_the_next(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    worker = Worker(connect())
    client(db).pause(task="other")
    id = enqueue_one(db)
    with held_up(db, "claim", "t.paused_at is not null"):
        claiming = aside(worker.connection, worker.look)
        assert claiming.waits(db)
        client(db).pause(task="work")
        db.execute("select pg_advisory_unlock(42)")
        step = claiming.result()
    assert (step.claimed, step.paused) == ([], ["default"])
    assert job(db, id).status is Status.READY
    assert worker.claim() == []
    assert job(db, id).status is Status.WAITING


def test_a_claim_that_may_not_park_leaves_the_jobs_and_takes_others(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    client(db).pause(task="held")
    held, other = enqueue(db, Spec("held"), Spec("other"))
    open_.execute("select pg_advisory_xact_lock('pgjobs.tasks'::regclass::oid::int, hashtext('held'))")
    step = worker.look()
    assert (ids(step.claimed), step.paused) == ([other], ["default"])
    assert job(db, held).status is Status.READY
    open_.rollback()
    # Its cursors were forgotten: it meets the job again without a look from the head.
    assert worker.claim() == []
    assert job(db, held).status is Status.WAITING


def test_while_a_resume_is_not_committed_jobs_are_parked_and_come_back_after_it(
    connect: Connect, db: Connection
) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    client(db).pause(task="work")
    first = enqueue_one(db)
    assert worker.claim() == []
    client(open_).resume(task="work")
    second = enqueue_one(db)
    assert worker.claim() == []
    assert client(db).resume_tasks(10) == 0
    open_.commit()
    assert job(db, second).status is Status.WAITING
    assert client(db).resume_tasks(10) == 1
    assert lines(db) == []
    assert ids(worker.claim(head=True)) == [first, second]


def test_a_resume_that_is_rolled_back_leaves_the_task_paused(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    client(db).pause(task="work")
    enqueue_one(db)
    worker.claim()
    client(open_).resume(task="work")
    open_.rollback()
    assert client(db).resume_tasks(10) == 0
    assert lines(db) == [("work", False, 1)]


def test_two_who_go_on_with_a_resume_at_once_do_not_wait_for_each_other(connect: Connect, db: Connection) -> None:
    open_ = connect(autocommit=False)
    client(db).pause(task="work")
    client(db).enqueue_many([Spec("work")] * 1_010)
    Worker(db).claim(2_000)
    client(db).resume(task="work")
    assert client(open_).resume_tasks(4) == 4
    assert client(db).resume_tasks(100) == 0
    open_.commit()
    assert client(db).resume_tasks(100) == 6
    assert lines(db) == []


def test_a_pause_waits_for_a_portion_of_a_resume_and_keeps_the_rest(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    pauser, open_ = connect(), connect(autocommit=False)
    client(db).pause(task="work")
    client(db).enqueue_many([Spec("work")] * 1_010)
    Worker(db).claim(2_000)
    client(db).resume(task="work")
    client(open_).resume_tasks(4)
    pausing = aside(pauser, lambda: client(pauser).pause(task="work"))
    assert pausing.waits(db)
    open_.commit()
    pausing.result()
    assert client(db).resume_tasks(100) == 0
    assert lines(db) == [("work", False, 6)]


# edit and claim


def test_an_edit_waits_for_a_claim_under_way_and_is_refused(connect: Connect, db: Connection, aside: CallAside) -> None:
    worker, open_, editor = Worker(db), connect(autocommit=False), connect()
    id = enqueue_one(db)
    worker.on(open_).claim_one()
    editing = aside(editor, lambda: client(editor).edit(id, Edit(priority=1)))
    assert editing.waits(db)
    open_.commit()
    with pytest.raises(JobNotWaiting, match="is running"):
        editing.result()


def test_an_edit_that_waited_for_a_claim_that_was_given_up_is_made(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    worker, open_, editor = Worker(db), connect(autocommit=False), connect()
    id = enqueue_one(db)
    worker.on(open_).claim_one()
    editing = aside(editor, lambda: client(editor).edit(id, Edit(priority=1)))
    assert editing.waits(db)
    open_.rollback()
    editing.result()
    assert worker.claim_one().priority == 1


def test_an_edit_that_waited_for_a_job_to_end_says_how_it_ended(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    open_, editor = connect(autocommit=False), connect()
    id = enqueue_one(db)
    client(open_).cancel([id])
    editing = aside(editor, lambda: client(editor).edit(id, Edit(priority=1)))
    assert editing.waits(db)
    open_.commit()
    with pytest.raises(JobNotWaiting, match="is cancelled"):
        editing.result()


def test_a_claim_passes_by_a_job_that_is_being_edited_and_hears_of_it(connect: Connect, db: Connection) -> None:
    worker, open_, ear = Worker(db), connect(autocommit=False), Ear(connect())
    id = enqueue_one(db)
    ear.heard()
    client(open_).edit(id, Edit(priority=-1))
    assert worker.claim() == []
    open_.commit()
    for message in ear.heard():
        worker.cursors.back_to(message["queue"], message["since"])
    assert worker.claim_one().priority == -1


def test_two_edits_of_a_job_at_once_are_both_made(connect: Connect, db: Connection, aside: CallAside) -> None:
    open_, editor = connect(autocommit=False), connect()
    id = enqueue_one(db)
    client(open_).edit(id, Edit(priority=1))
    editing = aside(editor, lambda: client(editor).edit(id, Edit(max_attempts=3)))
    assert editing.waits(db)
    open_.commit()
    editing.result()
    found = job(db, id)
    assert (found.priority, found.max_attempts) == (1, 3)


# cancel and move by conditions, and claim


def test_who_chooses_by_conditions_passes_by_jobs_that_are_being_claimed(connect: Connect, db: Connection) -> None:
    worker, open_ = Worker(db), connect(autocommit=False)
    first, second, third = client(db).enqueue_many([Spec("work")] * 3)
    assert ids(worker.on(open_).claim(1)) == [first]
    assert client(db).move("other", JobFilter(queue="default"), 1) == [second]
    assert client(db).cancel_where(JobFilter(queue="default"), None, 10).cancelled == [third]
    open_.commit()
    assert [job(db, id).status for id in (first, second, third)] == [Status.RUNNING, Status.READY, Status.CANCELLED]


def test_a_claim_passes_by_a_job_that_is_being_moved_and_hears_of_it(connect: Connect, db: Connection) -> None:
    worker, open_, ear = Worker(db, ["default", "other"]), connect(autocommit=False), Ear(connect())
    id = enqueue_one(db)
    ear.heard()
    client(open_).move("other", JobFilter(queue="default"), 10)
    assert worker.claim() == []
    open_.commit()
    for message in ear.heard():
        worker.cursors.back_to(message["queue"], message["since"])
    assert worker.claim_one().queue == "other"
    assert job(db, id).status is Status.RUNNING


def test_a_job_that_fits_no_longer_when_it_is_locked_is_spared(
    connect: Connect, db: Connection, aside: CallAside
) -> None:
    canceller = connect()
    id = enqueue_one(db)
    with held_up(db, "pick", "(p_queue is null or j.queue = p_queue)"):
        cancelling = aside(
            canceller, lambda: client(canceller).cancel_where(JobFilter(queue="default"), None, 10).cancelled
        )
        assert cancelling.waits(db)
        client(db).edit(id, Edit(queue="other"))
        db.execute("select pg_advisory_unlock(42)")
        assert cancelling.result() == []
    assert job(db, id).status is Status.READY


def test_of_a_cancel_and_a_portion_of_a_resume_neither_waits(connect: Connect, db: Connection) -> None:
    open_ = connect(autocommit=False)
    client(db).pause(task="work")
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    Worker(db).claim()
    client(open_).cancel([first])
    client(db).resume(task="work")
    assert client(db).resume_tasks(10) == 0
    assert lines(db) == [("work", True, 1)]
    open_.commit()
    client(db).resume_tasks(10)
    assert lines(db) == []
    assert [job(db, id).status for id in (first, second)] == [Status.CANCELLED, Status.READY]
    assert one(db, "select count(*) from pgjobs.jobs where line is not null") == 0
