"""enqueue_many: many jobs in one statement."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgjobs.errors import InvalidJob
from pgjobs.job import Priority, Spec
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Connect, client, flagged, now, one
from tests.sql.one_database import one_database

database, dsn = one_database()


def many(connection: Connection, *jobs: dict[str, Any], notify: bool = True) -> list[int]:
    """Call the function with jobs as plain dicts, as a client in another language would."""
    rows = connection.execute("select id from pgjobs.enqueue_many_v1(%s, %s)", (json.dumps(jobs), notify)).fetchall()
    return [id for (id,) in rows]


def test_ids_come_in_the_order_given_whatever_the_queues_and_times(db: Connection) -> None:
    chance = random.Random(0)
    specs = [
        Spec(
            f"task {number}",
            json.dumps({"n": number}),
            chance.choice("abc"),
            chance.choice(list(Priority)),
            chance.choice([None, timedelta(seconds=chance.randrange(1000))]),
        )
        for number in range(1000)
    ]
    ids = client(db).enqueue_many(specs)
    assert ids == sorted(ids)
    assert all(id.created for id in ids)
    rows = db.execute("select id, task, payload ->> 'n', queue, priority, rank from pgjobs.jobs order by id").fetchall()
    assert rows == [
        (id, spec.task, spec.task.removeprefix("task "), spec.queue, spec.priority, spec.priority)
        for id, spec in zip(ids, specs, strict=True)
    ]


def test_every_setting_arrives(db: Connection) -> None:
    at = now(db) + timedelta(days=1)
    client(db).enqueue_many(
        [
            Spec(
                "a", '{"x": 1}', "q", Priority.LOW, timedelta(seconds=90), None, 7, timedelta(seconds=1.5), '{"m": 2}'
            ),
            Spec("b", available_at=at),
        ]
    )
    rows = db.execute(
        "select task, payload, queue, priority, max_attempts, timeout, metadata, available_at - enqueued_at, available_at"
        " from pgjobs.jobs order by id"
    ).fetchall()
    assert rows[0][:-1] == (
        "a", {"x": 1}, "q", 1, 7, timedelta(seconds=1.5), {"m": 2}, timedelta(seconds=90),
    )  # fmt: skip
    assert rows[1][:-2] == ("b", {}, "default", 0, None, None, None)
    assert rows[1][-1] == at


def test_a_version_arrives_and_absent_stays_null(db: Connection) -> None:
    client(db).enqueue_many([Spec("a"), Spec("a", version=2)])
    many(db, {"task": "a", "version": 3}, {"task": "a", "version": None})
    assert db.execute("select version from pgjobs.jobs order by id").fetchall() == [(None,), (2,), (3,), (None,)]


def test_what_is_absent_means_what_it_means_for_one_job(db: Connection) -> None:
    one(db, "select pgjobs.enqueue('work')")
    many(db, {"task": "work"})
    rows = db.execute(
        "select task, payload, queue, priority, rank, max_attempts, timeout, metadata, available_at - enqueued_at from pgjobs.jobs"
    ).fetchall()
    assert rows[0] == rows[1]


def test_a_time_in_the_past_becomes_now(db: Connection) -> None:
    many(db, {"task": "a", "payload": {}, "available_at": "2001-01-01"}, {"task": "b", "payload": {}, "delay": -60})
    assert one(db, "select bool_and(available_at = enqueued_at) from pgjobs.jobs")


def test_delays_count_from_now_in_a_transaction_that_is_an_hour_old(connect: Connect, clock: Clock) -> None:
    old = connect(autocommit=False)
    began = now(old)
    clock.advance(timedelta(hours=1))
    many(old, {"task": "work", "payload": {}, "delay": 300})
    old.commit()
    delay = one(old, "select available_at from pgjobs.jobs") - began
    assert timedelta(minutes=65) <= delay < timedelta(minutes=66)


def test_no_jobs_are_none(db: Connection) -> None:
    assert client(db).enqueue_many([]) == []


def test_one_job_that_makes_no_sense_refuses_them_all(db: Connection) -> None:
    with pytest.raises(InvalidJob, match="The priority of a job must be one of -2, -1, 0, 1, 2, not 9"):
        client(db).enqueue_many([Spec("a"), Spec("b", priority=9), Spec("c")])
    assert one(db, "select count(*) from pgjobs.jobs") == 0


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"task": None}, "The name of a task must have 1 to 200 characters, none of them a control character."),
    ({"queue": ""}, "The name of a queue must have 1 to 200 characters, none of them a control character."),
    ({"payload": [1]}, "The payload of a job must be a JSON object: the arguments of the task by name."),
    ({"max_attempts": 0}, "max_attempts must be from 1 to 32767, not 0."),
    ({"timeout": 0}, "A timeout must be longer than nothing, not 00:00:00."),
    ({"delay": 1, "available_at": "2030-01-01"}, "A job has a delay or an available_at, not both."),
]


def test_each_is_held_to_the_rules_for_one_job(db: Connection) -> None:
    for spec, sentence in REFUSED:
        with pytest.raises(psycopg.Error) as refusal:
            many(db, {"task": "work", "payload": {}, **spec})
        assert (refusal.value.sqlstate, refusal.value.diag.message_primary) == ("PJ001", sentence)


def test_the_job_that_is_due_first_announces_its_queue(db: Connection) -> None:
    many(
        db,
        {"task": "a later", "payload": {}, "queue": "a", "delay": 60},
        {"task": "a first", "payload": {}, "queue": "a"},
        {"task": "a as early", "payload": {}, "queue": "a"},
        {"task": "b later", "payload": {}, "queue": "b", "delay": 60},
        {"task": "b first", "payload": {}, "queue": "b", "delay": 30},
    )
    assert flagged(db) == ["a first", "b first"]


def test_a_queue_that_was_announced_in_this_transaction_is_not_announced_again(connect: Connect) -> None:
    connection = connect(autocommit=False)
    one(connection, "select pgjobs.enqueue('before', queue => 'a')")
    many(
        connection,
        {"task": "a again", "payload": {}, "queue": "a"},
        {"task": "b", "payload": {}, "queue": "b"},
    )
    many(connection, {"task": "b again", "payload": {}, "queue": "b"})
    connection.commit()
    assert flagged(connection) == ["before", "b"]


def test_jobs_that_are_not_to_be_announced_are_not_flagged(db: Connection) -> None:
    client(db).enqueue_many([Spec("a", queue="a"), Spec("b", queue="b")], notify=False)
    assert flagged(db) == []
