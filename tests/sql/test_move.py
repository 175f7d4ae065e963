"""move, and the conditions that choose among live jobs: pick."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.calls import JobFilter
from pgjobs.errors import InvalidJob
from pgjobs.job import Spec
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, Ear, Worker, client, enqueue, enqueue_one, ids, job, now, one
from tests.sql.one_database import one_database

database, dsn = one_database()

HOUR = timedelta(hours=1)


def test_moved_jobs_are_claimed_from_the_other_queue_in_the_order_of_their_ids(db: Connection) -> None:
    first, urgent, second, elsewhere = enqueue(
        db, Spec("a"), Spec("b", priority=-1), Spec("c"), Spec("d", queue="elsewhere")
    )
    assert client(db).move("other", JobFilter(queue="default"), 10) == [first, urgent, second]
    assert ids(Worker(db).claim(head=True)) == []
    assert ids(Worker(db, ["other"]).claim()) == [urgent, first, second]
    assert job(db, elsewhere).queue == "elsewhere"


def test_what_is_moved_is_due_now_at_the_earliest_and_announced(db: Connection, connect: Connect, clock: Clock) -> None:
    ear = Ear(connect())
    due, later = enqueue(db, Spec("a"), Spec("b", delay=3 * HOUR))
    at = job(db, later).available_at
    clock.advance(HOUR)
    ear.heard()
    before = now(db)
    assert db.execute("select pgjobs.move('default', 'other')").fetchall() == [(due,), (later,)]
    (message,) = ear.heard()
    assert message["queue"] == "other"
    assert message["since"] >= before
    assert job(db, due).available_at == message["since"]
    assert job(db, later).available_at == at


def test_jobs_that_run_or_are_locked_are_not_moved(connect: Connect) -> None:
    db, somebody = connect(), connect(autocommit=False)
    worker = Worker(db)
    running = enqueue_one(db)
    worker.claim()
    locked, free = enqueue(db, Spec("work"), Spec("work"))
    somebody.execute("select from pgjobs.jobs where id = %s for update", (locked,))
    assert client(db).move("other", JobFilter(ids=[running, locked, free]), 10) == [free]
    assert client(db).move("other", JobFilter(queue="default"), 10) == []
    with pytest.raises(InvalidJob, match="runs"):
        client(db).move("other", JobFilter(status="running"), 10)


def test_portions_go_on_after_the_last_id(db: Connection) -> None:
    made = list(client(db).enqueue_many([Spec("work")] * 5))
    assert client(db).move("other", JobFilter(queue="default"), 2) == made[:2]
    assert client(db).move("other", JobFilter(), 2, made[1]) == made[2:4]
    assert client(db).move("other", JobFilter(ids=[*made, made[0]]), 9, made[2]) == made[3:]


def test_all_conditions_must_fit_whether_jobs_are_listed_or_taken(db: Connection, clock: Clock) -> None:
    worker = Worker(db, ["running"])
    enqueue_one(db, queue="running")
    worker.claim()
    client(db).pause(task="held")
    (held,) = enqueue(db, Spec("held", queue="q"))
    Worker(db, ["q"]).claim()
    old = enqueue_one(db, queue="q", metadata='{"who": "ann", "n": 1}')
    clock.advance(HOUR)
    (other,) = enqueue(db, Spec("other", queue="q", metadata='{"who": "bob"}'))
    later = enqueue_one(db, queue="q2", delay=HOUR)
    expected: list[tuple[JobFilter, list[int]]] = [
        (JobFilter(), [held, old, other, later]),
        (JobFilter(queue="q"), [held, old, other]),
        (JobFilter(task="work"), [old, later]),
        (JobFilter(queue="q", task="work"), [old]),
        (JobFilter(status="ready"), [old, other]),
        (JobFilter(status="scheduled"), [later]),
        (JobFilter(status="waiting"), [held]),
        (JobFilter(older_than=HOUR / 2), [held, old]),
        (JobFilter(newer_than=HOUR / 2), [other, later]),
        (JobFilter(metadata='{"who": "ann"}'), [old]),
        (JobFilter(ids=[later, old], status="ready"), [old]),
        (JobFilter(ids=[]), []),
    ]
    for filter, found in expected:
        assert client(db).matching(filter, 9) == found, filter
        picked = one(
            db, "select pgjobs.pick(%s::bigint[], %s, %s, %s, %s::interval, %s::interval, %s::jsonb, 9, 0)",
            *filter.params(),
        )  # fmt: skip
        assert picked == found, filter
    with pytest.raises(InvalidJob, match="done"):
        client(db).move("other", JobFilter(status="done"), 1)


@pytest.mark.parametrize("name", ["", "q" * 201, "line\nline", "\x1b[31m", "\x85"])
def test_a_queue_must_have_a_name_that_can_be_shown(db: Connection, name: str) -> None:
    enqueue_one(db)
    with pytest.raises(InvalidJob, match="The name of a queue must have 1 to 200 characters, none of them a control"):
        client(db).move(name, JobFilter(), 1)
