"""pause, resume: nothing of a paused queue, or of a paused task, is started."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.errors import InvalidJob
from pgjobs.job import Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, Ear, Worker, client, enqueue, enqueue_one, ids, job, one
from tests.sql.one_database import one_database

database, dsn = one_database()


def test_what_runs_in_a_paused_queue_runs_on_and_can_be_settled(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    db.execute("select pgjobs.pause('default')")
    assert worker.complete(claimed).fenced == []
    assert job(db, id).status is Status.COMPLETED


def test_jobs_enter_a_paused_queue_and_are_claimed_when_it_is_resumed(db: Connection) -> None:
    worker = Worker(db)
    db.execute("select pgjobs.pause('default')")
    id = enqueue_one(db)
    assert worker.claim(head=True) == []
    db.execute("select pgjobs.resume('default')")
    assert ids(worker.claim()) == [id]


def test_a_queue_is_paused_since_the_first_time_it_was_said(db: Connection, clock: Clock) -> None:
    db.execute("select pgjobs.pause('default')")
    since = one(db, "select paused_at from pgjobs.queues")
    clock.advance(timedelta(hours=1))
    db.execute("select pgjobs.pause('default')")
    assert one(db, "select paused_at from pgjobs.queues") == since
    db.execute("select pgjobs.resume('default')")
    assert one(db, "select paused_at from pgjobs.queues") is None
    db.execute("select pgjobs.pause('default')")
    assert one(db, "select paused_at from pgjobs.queues") >= since + timedelta(hours=1)


def test_a_queue_that_nobody_paused_can_be_resumed(db: Connection) -> None:
    db.execute("select pgjobs.resume('default')")
    assert client(db).queue_overview() == []


@pytest.mark.parametrize(
    "names", [{}, {"queue": "a", "task": "b"}, {"queue": ""}, {"task": "x" * 201}, {"queue": "a\n"}, {"task": "\x85"}]
)
def test_what_is_paused_is_a_queue_or_a_task_with_a_name(db: Connection, names: dict[str, str]) -> None:
    with pytest.raises(InvalidJob):
        client(db).pause(**names)


def waiting(db: Connection) -> int:
    return int(one(db, "select count(*) from pgjobs.jobs where status = 'waiting'"))


def test_a_claim_parks_the_jobs_of_a_paused_task_and_gives_those_of_others(db: Connection) -> None:
    worker = Worker(db)
    client(db).pause(task="held")
    held, other, also_held = enqueue(db, Spec("held"), Spec("other"), Spec("held", priority=2))
    assert ids(worker.claim()) == [other]
    for id in held, also_held:
        found = job(db, id)
        assert (found.status, found.line, found.run, found.attempts) == (Status.WAITING, "task/held", 0, 0)
    assert worker.claim(head=True) == []


def test_a_claim_whose_limit_was_taken_up_by_parked_jobs_says_that_there_may_be_more(db: Connection) -> None:
    worker = Worker(db)
    client(db).pause(task="held")
    enqueue(db, *[Spec("held")] * 5)
    other = enqueue_one(db)
    step = worker.look(5)
    assert step.claimed == []
    assert step.cursor is not None
    assert ids(worker.claim(5)) == [other]


def test_jobs_of_a_paused_task_that_are_not_due_stay_where_they_are(db: Connection) -> None:
    worker = Worker(db)
    client(db).pause(task="work")
    id = enqueue_one(db, delay=timedelta(hours=1))
    assert worker.claim() == []
    assert job(db, id).status is Status.READY


def test_what_runs_of_a_paused_task_runs_on_and_is_parked_when_it_comes_back(db: Connection) -> None:
    worker = Worker(db)
    id = enqueue_one(db)
    claimed = worker.claim_one()
    client(db).pause(task="work")
    assert worker.settle(claimed, "retry", max_attempts=3).fenced == []
    assert worker.claim() == []
    found = job(db, id)
    assert (found.status, found.run, found.attempts) == (Status.WAITING, 1, 1)
    client(db).resume(task="work")
    assert worker.claim_one().run == 2


def test_a_resumed_task_gets_its_jobs_back_in_their_order_and_with_their_rank(db: Connection) -> None:
    worker = Worker(db)
    client(db).pause(task="held")
    low, normal, high, second = enqueue(
        db, Spec("held", priority=1), Spec("held"), Spec("held", priority=-1), Spec("held")
    )
    assert worker.claim() == []
    client(db).resume(task="held")
    assert waiting(db) == 0
    assert ids(worker.claim()) == [high, normal, second, low]


def test_resumed_jobs_are_found_by_cursors_that_have_gone_by_and_announced_at_commit(connect: Connect) -> None:
    db, open_, ear = connect(), connect(autocommit=False), Ear(connect())
    worker = Worker(db)
    client(db).pause(task="work")
    id = enqueue_one(db)
    assert worker.claim() == []
    client(open_).resume(task="work")
    assert worker.claim() == []
    ear.heard()
    open_.commit()
    (message,) = ear.heard()
    worker.cursors.back_to(message["queue"], message["since"])
    assert ids(worker.claim()) == [id]


def test_many_jobs_come_back_in_portions_that_any_worker_goes_on_with(db: Connection) -> None:
    worker = Worker(db)
    client(db).pause(task="work")
    client(db).enqueue_many([Spec("work")] * 1_250)
    assert worker.claim(2_000) == []
    client(db).resume(task="work")
    assert waiting(db) == 250
    assert client(db).resume_tasks(100) == 100
    assert [task.waiting for task in client(db).task_overview()] == [150]
    assert client(db).resume_tasks(1_000) == 150
    assert client(db).task_overview() == []
    assert client(db).resume_tasks(1_000) == 0
    assert len(worker.claim(2_000)) == 1_250


def test_a_job_that_was_locked_when_its_portion_went_by_comes_back_later(connect: Connect) -> None:
    db, somebody = connect(), connect(autocommit=False)
    worker = Worker(db)
    client(db).pause(task="work")
    first, second = client(db).enqueue_many([Spec("work")] * 2)
    assert worker.claim() == []
    somebody.execute("select from pgjobs.jobs where id = %s for update", (first,))
    client(db).resume(task="work")
    assert ids(worker.claim()) == [second]
    assert client(db).resume_tasks(10) == 0
    somebody.rollback()
    assert client(db).resume_tasks(10) == 1
    assert ids(worker.claim()) == [first]
    assert client(db).resume_tasks(10) == 0
    assert client(db).task_overview() == []


def test_a_task_that_is_paused_again_while_it_is_resumed_keeps_the_rest_in_line(db: Connection) -> None:
    worker = Worker(db)
    client(db).pause(task="work")
    client(db).enqueue_many([Spec("work")] * 1_003)
    assert worker.claim(2_000) == []
    client(db).resume(task="work")
    client(db).pause(task="work")
    assert client(db).resume_tasks(10) == 0
    assert waiting(db) == 3
    client(db).resume(task="work")
    assert waiting(db) == 0


def test_the_overview_of_tasks_tells_since_when_they_are_paused_and_how_many_wait(db: Connection, clock: Clock) -> None:
    client(db).pause(task="work")
    before = client(db).now()
    clock.advance(timedelta(hours=1))
    client(db).pause(task="work")
    enqueue(db, *[Spec("work")] * 2)
    Worker(db).claim()
    (task,) = client(db).task_overview()
    assert (task.task, task.resuming, task.waiting) == ("work", False, 2)
    assert task.paused_at is not None
    assert task.paused_at <= before
    (queue,) = client(db).queue_overview()
    assert (queue.ready, queue.waiting) == (0, 2)


def test_a_parked_job_can_be_cancelled(db: Connection) -> None:
    client(db).pause(task="work")
    id = enqueue_one(db)
    Worker(db).claim()
    client(db).cancel([id])
    assert job(db, id).status is Status.CANCELLED


def test_a_task_that_nobody_paused_can_be_resumed(db: Connection) -> None:
    client(db).resume(task="work")
    assert client(db).task_overview() == []
