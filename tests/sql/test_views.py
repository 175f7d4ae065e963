"""The views for people at a psql prompt, and the readers of the client over them."""

from __future__ import annotations

from datetime import timedelta

from pgjobs.calls import QueueStatus
from pgjobs.job import Spec, Status
from tests.conftest import Clock, Connection
from tests.sql.by_hand import LEASE, Worker, client, enqueue, enqueue_one
from tests.sql.one_database import one_database

database, dsn = one_database()


def one_of_each(connection: Connection) -> dict[Status, int]:
    """A job in every status; returns their ids."""
    worker = Worker(connection)
    tasks = ["running", "completed", "cancelled", "dead"]
    made = {Status(task): id for task, id in zip(tasks, enqueue(connection, *map(Spec, tasks)), strict=True)}
    for claimed in worker.claim():
        if claimed.task == "completed":
            worker.complete(claimed, results=['"done"'])
        elif claimed.task == "cancelled":
            worker.settle(claimed, "cancel", reason="pointless")
        elif claimed.task == "dead":
            worker.settle(claimed, "fail", error="ValueError", message="broken")
    made[Status.READY] = enqueue(connection, Spec("ready"))[0]
    return made


def test_all_jobs_shows_every_job_once_wherever_it_is(db: Connection) -> None:
    made = one_of_each(db)
    rows = db.execute("select status, id, task from pgjobs.all_jobs").fetchall()
    assert sorted(rows) == sorted((status, id, status) for status, id in made.items())


def test_jobs_are_listed_newest_first_by_status_queue_and_task(db: Connection) -> None:
    made = one_of_each(db)
    listed = client(db).jobs()
    assert [job.id for job in listed] == sorted(made.values(), reverse=True)
    assert {job.id: job.status for job in listed} == {id: status for status, id in made.items()}
    for status, id in made.items():
        assert [job.id for job in client(db).jobs(status=status)] == [id]
        assert [job.id for job in client(db).jobs(task=status.value)] == [id]
        assert client(db).job(id).status is status
    assert client(db).jobs(queue="other") == []
    assert [job.id for job in client(db).jobs(limit=2)] == sorted(made.values(), reverse=True)[:2]


def test_all_jobs_says_why_a_job_ended(db: Connection) -> None:
    one_of_each(db)
    rows = db.execute("select status, reason from pgjobs.all_jobs where reason is not null order by status").fetchall()
    assert rows == [("cancelled", "pointless"), ("dead", "failed: ValueError: broken")]


def test_queue_overview_counts_each_queue(db: Connection, clock: Clock) -> None:
    worker = Worker(db, ["busy"])
    enqueue(db, *[Spec("work", queue="busy")] * 3)
    first, second = worker.claim(2)
    worker.settle(second, "fail")
    clock.advance(timedelta(minutes=5))
    enqueue(db, Spec("work", queue="busy"), Spec("work", queue="busy", delay=timedelta(hours=1)))
    enqueue_one(db, queue="coming", delay=timedelta(hours=1))
    db.execute("select pgjobs.pause('held')")
    busy, coming, held = client(db).queue_overview()
    assert busy.waiting_for is not None
    assert timedelta(minutes=5) <= busy.waiting_for < timedelta(minutes=6)
    assert busy == QueueStatus("busy", 2, 1, 1, 1, busy.waiting_for, False)
    assert coming == QueueStatus("coming", 0, 1, 0, 0, None, False)
    assert held == QueueStatus("held", 0, 0, 0, 0, None, True)
    worker.complete(first)


def test_a_queue_with_nothing_but_dead_letters_is_in_the_overview(db: Connection) -> None:
    worker = Worker(db)
    enqueue_one(db)
    worker.settle(worker.claim_one(), "fail")
    assert client(db).queue_overview() == [QueueStatus("default", 0, 0, 0, 1, None, False)]


def test_running_jobs_shows_what_runs_where_and_for_how_long(db: Connection, clock: Clock) -> None:
    worker = Worker(db)
    older, _ = enqueue_one(db), worker.claim()
    clock.advance(timedelta(seconds=30))
    younger, _ = enqueue_one(db), worker.claim()
    enqueue_one(db)
    rows = db.execute(
        "select id, worker, worker_name, host, pid, running_for >= '30 s' from pgjobs.running_jobs"
    ).fetchall()
    assert rows == [(older, worker.id, "by hand", "here", 1, True), (younger, worker.id, "by hand", "here", 1, False)]


def test_worker_overview_tells_who_is_alive_stopping_or_lost(db: Connection, clock: Clock) -> None:
    lost = Worker(db)
    alive, stopping = Worker(db, lease=LEASE * 9), Worker(db, lease=LEASE * 9)
    clock.advance(LEASE * 2)
    stopping.client.renew(stopping.id, 4, None, True)
    overview = client(db).worker_overview()
    assert [(worker.id, worker.state, worker.running) for worker in overview] == [
        (lost.id, "lost", 0),
        (alive.id, "alive", 0),
        (stopping.id, "stopping", 4),
    ]
    assert overview[1].lapses_at - overview[1].renewed_at == LEASE * 9
