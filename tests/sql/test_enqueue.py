"""enqueue: one job into its queue, in the caller's transaction."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from pgjobs.errors import InvalidJob, JobNotFound
from pgjobs.job import Priority, Spec, Status
from tests.conftest import Clock, Connection
from tests.differences import refusal_of_an_infinite_interval
from tests.sql.by_hand import Connect, client, enqueue_one, flagged, job, now, one
from tests.sql.one_database import one_database

database, dsn = one_database()


def test_a_job_of_which_only_the_task_is_said_has_the_defaults(db: Connection) -> None:
    before = now(db)
    id = one(db, "select pgjobs.enqueue('read_letter')")
    row = db.execute(
        "select queue, task, payload, status, priority, rank, run, attempts, crashes, max_attempts, timeout, metadata, worker,"
        " claimed_at from pgjobs.jobs where id = %s",
        (id,),
    ).fetchone()
    assert row == ("default", "read_letter", {}, "ready", 0, 0, 0, 0, 0, None, None, None, None, None)
    found = job(db, id)
    assert found.status is Status.READY
    assert found.available_at == found.enqueued_at
    assert before <= found.enqueued_at <= now(db)


def test_every_setting_arrives_whether_said_in_sql_or_by_a_client(db: Connection) -> None:
    by_sql = one(
        db,
        "select pgjobs.enqueue('read_letter', '{\"letter_id\": 7}', queue => 'ocr', priority => -1, delay => '5 min',"
        " max_attempts => 3, timeout => '20 s', metadata => '{\"by\": \"test\"}')",
    )
    by_client = client(db).enqueue(
        Spec(
            "read_letter", '{"letter_id": 7}', "ocr", Priority.HIGH, timedelta(minutes=5), None, 3,
            timedelta(seconds=20), '{"by": "test"}',
        )
    )  # fmt: skip
    assert by_client.created
    rows = db.execute(
        "select task, payload, queue, priority, rank, available_at - enqueued_at, max_attempts, timeout, metadata, status"
        " from pgjobs.jobs where id = any (%s) order by id",
        ([by_sql, int(by_client)],),
    ).fetchall()
    assert rows[0] == rows[1]
    assert rows[0] == (
        "read_letter", {"letter_id": 7}, "ocr", -1, -1, timedelta(minutes=5), 3, timedelta(seconds=20),
        {"by": "test"}, "ready",
    )  # fmt: skip


def test_a_setting_that_is_null_means_its_default(db: Connection) -> None:
    id = one(
        db,
        "select pgjobs.enqueue('work', queue => null, priority => null, delay => null, available_at => null,"
        " max_attempts => null, timeout => null, metadata => null, notify => null)",
    )
    found = job(db, id)
    assert (found.queue, found.priority, found.available_at) == ("default", Priority.NORMAL, found.enqueued_at)


def test_ids_rise_with_every_job(db: Connection) -> None:
    first, second, third = (enqueue_one(db) for _ in range(3))
    assert first < second < third


def test_a_time_to_come_is_kept(db: Connection) -> None:
    at = now(db) + timedelta(hours=3)
    assert job(db, enqueue_one(db, available_at=at)).available_at == at


def test_a_time_in_the_past_becomes_now(db: Connection) -> None:
    for past in "available_at => '2001-01-01'", "available_at => '-infinity'", "delay => '-1 day'":
        before = now(db)
        found = job(db, one(db, f"select pgjobs.enqueue('work', {past})"))
        assert found.available_at is not None
        assert before <= found.available_at == found.enqueued_at


def test_a_delay_counts_from_now_in_a_transaction_that_is_an_hour_old(connect: Connect, clock: Clock) -> None:
    old = connect(autocommit=False)
    began = now(old)
    clock.advance(timedelta(hours=1))
    id = one(old, "select pgjobs.enqueue('work', delay => '5 min')")
    old.commit()
    at = job(old, id).available_at
    assert at is not None
    assert timedelta(minutes=65) <= at - began < timedelta(minutes=66)


def test_a_rolled_back_job_never_was(connect: Connect) -> None:
    connection = connect(autocommit=False)
    id = enqueue_one(connection)
    connection.rollback()
    with pytest.raises(JobNotFound, match=f"There is no job with the id {id}"):
        job(connection, id)


REFUSED = {
    "''": "The name of a task must have 1 to 200 characters, none of them a control character.",
    "null": "The name of a task must have 1 to 200 characters, none of them a control character.",
    "repeat('x', 201)": "The name of a task must have 1 to 200 characters, none of them a control character.",
    "'x', queue => ''": "The name of a queue must have 1 to 200 characters, none of them a control character.",
    "'x', queue => repeat('q', 201)": "The name of a queue must have 1 to 200 characters, none of them a control character.",
    r"E'a\nb'": "The name of a task must have 1 to 200 characters, none of them a control character.",
    r"E'a\x7fb'": "The name of a task must have 1 to 200 characters, none of them a control character.",
    r"'x', queue => E'a\tb'": "The name of a queue must have 1 to 200 characters, none of them a control character.",
    r"'x', queue => U&'\0085'": "The name of a queue must have 1 to 200 characters, none of them a control character.",
    "repeat('x', 10000)": "The name of a task must have 1 to 200 characters, none of them a control character.",
    "'x', version => 0": "The version of a payload must be from 1 to 32767, not 0.",
    "'x', version => 40000": "The version of a payload must be from 1 to 32767, not 40000.",
    "'x', '[1]'": "The payload of a job must be a JSON object: the arguments of the task by name.",
    "'x', 'null'": "The payload of a job must be a JSON object: the arguments of the task by name.",
    "'x', null": "The payload of a job must be a JSON object: the arguments of the task by name.",
    "'x', priority => 3": "The priority of a job must be one of -2, -1, 0, 1, 2, not 3.",
    "'x', priority => -3": "The priority of a job must be one of -2, -1, 0, 1, 2, not -3.",
    "'x', max_attempts => 0": "max_attempts must be from 1 to 32767, not 0.",
    "'x', max_attempts => 32768": "max_attempts must be from 1 to 32767, not 32768.",
    "'x', timeout => '0'": "A timeout must be longer than nothing, not 00:00:00.",
    "'x', timeout => '-1 s'": "A timeout must be longer than nothing, not -00:00:01.",
    "'x', delay => '1 s', available_at => '2030-01-01'": "A job has a delay or an available_at, not both.",
    "'x', delay => '101 years'": "A delay may be a century at most, not 101 years.",
    "'x', timeout => '101 years'": "A timeout may be a century at most, not 101 years.",
    "'x', metadata => '[]'": "The metadata of a job must be a JSON object.",
}


def test_a_job_that_makes_no_sense_is_refused_in_a_sentence(db: Connection) -> None:
    for arguments, sentence in REFUSED.items():
        with pytest.raises(psycopg.Error) as refusal:
            db.execute(f"select pgjobs.enqueue({arguments})".encode())
        assert (arguments, refusal.value.sqlstate) == (arguments, "PJ001")
        assert (arguments, refusal.value.diag.message_primary) == (arguments, sentence)
    assert one(db, "select count(*) from pgjobs.jobs") == 0


def test_names_of_200_characters_and_the_highest_numbers_are_accepted(db: Connection) -> None:
    id = one(
        db, "select pgjobs.enqueue(repeat('t', 200), queue => repeat('q', 200), max_attempts => 32767, priority => 2)"
    )
    assert job(db, id).max_attempts == 32767


def test_the_table_itself_takes_no_control_characters_in_a_name(db: Connection) -> None:
    for queue, task in ("a\nb", "x"), ("x", "a\x1bb"):
        with pytest.raises(psycopg.errors.CheckViolation, match="jobs_names_are_plain"):
            db.execute("insert into pgjobs.jobs (queue, task) values (%s, %s)", (queue, task))


def test_a_version_is_kept_and_absent_stays_null(db: Connection) -> None:
    db.execute("select pgjobs.enqueue('x'), pgjobs.enqueue('x', version => 2), pgjobs.enqueue('x', version => null)")
    assert db.execute("select version from pgjobs.jobs order by id").fetchall() == [(None,), (2,), (None,)]
    assert [job(db, id).version for id in (1, 2, 3)] == [1, 2, 1]


def test_a_client_raises_a_refusal_as_an_invalid_job(db: Connection) -> None:
    with pytest.raises(InvalidJob, match="The name of a queue must have 1 to 200 characters"):
        enqueue_one(db, queue="")


def test_a_job_that_would_never_be_due_is_refused(db: Connection) -> None:
    """Its time could not be read by a driver, nor could a worker say for how long to sleep."""
    for never, sqlstate in (
        ("available_at => 'infinity'", "PJ001"),
        ("delay => 'infinity'", refusal_of_an_infinite_interval(db)),
    ):
        with pytest.raises(psycopg.Error) as refusal:
            db.execute(f"select pgjobs.enqueue('work', {never})".encode())
        assert refusal.value.sqlstate == sqlstate


# Which rows announce their queue when the transaction commits


def test_the_first_job_of_each_queue_in_a_transaction_is_flagged(connect: Connect) -> None:
    connection = connect(autocommit=False)
    for queue in "a", "b":
        for number in range(3):
            one(connection, "select pgjobs.enqueue(%s, queue => %s)", f"{queue}{number}", queue)
    connection.commit()
    assert flagged(connection) == ["a0", "b0"]


def test_a_job_that_is_due_before_those_flagged_is_flagged_too(connect: Connect) -> None:
    connection = connect(autocommit=False)
    for task, delay in ("hour", "1 h"), ("two hours", "2 h"), ("minute", "1 min"), ("again a minute", "2 min"):
        one(connection, "select pgjobs.enqueue(%s, delay => %s)", task, delay)
    connection.commit()
    assert flagged(connection) == ["hour", "minute"]


def test_every_transaction_flags_anew(db: Connection) -> None:
    for task in "first", "second":
        one(db, "select pgjobs.enqueue(%s)", task)
    assert flagged(db) == ["first", "second"]


def test_a_savepoint_that_is_rolled_back_takes_its_flags_along(connect: Connect) -> None:
    connection = connect(autocommit=False)
    one(connection, "select pgjobs.enqueue('kept a', queue => 'a')")
    connection.execute("savepoint here")
    one(connection, "select pgjobs.enqueue('undone', queue => 'b')")
    connection.execute("rollback to savepoint here")
    one(connection, "select pgjobs.enqueue('kept b', queue => 'b')")
    one(connection, "select pgjobs.enqueue('second a', queue => 'a')")
    connection.commit()
    assert flagged(connection) == ["kept a", "kept b"]


def test_a_rolled_back_transaction_leaves_no_flag_for_the_next(connect: Connect) -> None:
    connection = connect(autocommit=False)
    one(connection, "select pgjobs.enqueue('undone')")
    connection.rollback()
    one(connection, "select pgjobs.enqueue('kept')")
    connection.commit()
    assert flagged(connection) == ["kept"]


def test_a_job_that_is_not_to_be_announced_is_not_flagged_and_spares_the_flag_for_the_next(connect: Connect) -> None:
    connection = connect(autocommit=False)
    one(connection, "select pgjobs.enqueue('quiet', notify => false)")
    one(connection, "select pgjobs.enqueue('loud')")
    connection.commit()
    assert flagged(connection) == ["loud"]
