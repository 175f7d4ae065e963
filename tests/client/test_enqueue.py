"""One job, in the caller's transaction: committed with it, gone with it, and no trouble to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import rows

import pgjobs
from pgjobs import Priority
from tests.client.conftest import Face
from tests.conftest import Clock

Connection = psycopg.Connection[Any]
Task = pgjobs.Task[..., Any]
Count = Callable[[], int]


@pytest.fixture(params=["connection", "cursor"])
def part(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """What of a connection is handed over as tx."""
    return (
        (lambda connection: connection) if request.param == "connection" else (lambda connection: connection.cursor())
    )


def test_a_job_is_there_when_its_transaction_commits(
    face: Face, task: Task, count: Count, part: Callable[[Any], Any]
) -> None:
    connection = face.connect()
    id = face.enqueue(task.options(tx=part(connection)), letter_id=7)
    assert count() == 0
    face.do(connection.commit())
    assert count() == 1
    assert id > 0


def test_a_job_never_was_when_its_transaction_rolls_back(
    face: Face, task: Task, count: Count, part: Callable[[Any], Any]
) -> None:
    connection = face.connect()
    face.enqueue(task.options(tx=part(connection)), letter_id=7)
    face.do(connection.rollback())
    assert count() == 0


def test_the_id_is_an_int_that_knows_that_the_job_was_created(face: Face, task: Task) -> None:
    id = face.enqueue(task, letter_id=7)
    assert isinstance(id, pgjobs.JobId)
    assert id.created


def test_without_a_transaction_the_job_is_there_at_once(face: Face, task: Task, count: Count) -> None:
    face.enqueue(task, letter_id=7)
    assert count() == 1


def test_on_a_connection_in_autocommit_mode_the_job_is_there_at_once(face: Face, task: Task, count: Count) -> None:
    face.enqueue(task.options(tx=face.connect(autocommit=True)), letter_id=7)
    assert count() == 1


def test_a_savepoint_that_is_rolled_back_takes_its_jobs_along_and_no_others(
    face: Face, app: pgjobs.App, task: Task, count: Count
) -> None:
    connection = face.connect()

    def savepoint(letter_id: int) -> None:
        with face.block(connection.transaction()):
            ids.append(face.enqueue(task.options(tx=connection), letter_id=letter_id))
            raise ZeroDivisionError

    with face.block(connection.transaction()):
        ids = [face.enqueue(task.options(tx=connection), letter_id=1)]
        with pytest.raises(ZeroDivisionError):
            savepoint(2)
        ids.append(face.enqueue(task.options(tx=connection), letter_id=3))
    assert count() == 2
    assert [face.job(app, id).payload["letter_id"] for id in (ids[0], ids[2])] == [1, 3]
    with pytest.raises(pgjobs.JobNotFound):
        face.job(app, ids[1])


def test_what_is_said_of_a_job_is_in_its_row(face: Face, app: pgjobs.App, task: Task) -> None:
    id = face.enqueue(
        task.options(
            queue="Größe 🏔", priority=Priority.CRITICAL, delay=3600, max_attempts=7, timeout=90.5,
            metadata={"tenant": "a\\u0000b", "n": [1, None]}, notify=False,
        ),
        7, language='"de\\',
    )  # fmt: skip
    job = face.job(app, id)
    assert (job.task, job.queue, job.priority, job.max_attempts) == ("read_letter", "Größe 🏔", Priority.CRITICAL, 7)
    assert job.payload == {"letter_id": 7, "language": '"de\\'}
    assert job.metadata == {"tenant": "a\\u0000b", "n": [1, None]}
    assert job.available_at is not None
    assert job.available_at - job.enqueued_at == timedelta(hours=1)


def test_what_is_not_said_is_left_to_the_task(face: Face, app: pgjobs.App, task: Task) -> None:
    job = face.job(app, face.enqueue(task, letter_id=7))
    assert (job.queue, job.priority, job.max_attempts, job.metadata) == ("ocr", Priority.NORMAL, None, None)
    assert job.available_at == job.enqueued_at


def test_a_job_for_a_moment_waits_for_it(face: Face, app: pgjobs.App, task: Task) -> None:
    at = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    assert face.job(app, face.enqueue(task.options(available_at=at), letter_id=7)).available_at == at


def test_a_moment_or_delay_that_is_over_means_now(face: Face, app: pgjobs.App, task: Task) -> None:
    for bound in (task.options(delay=-5), task.options(available_at=datetime(1999, 1, 1, tzinfo=UTC))):
        job = face.job(app, face.enqueue(bound, letter_id=7))
        assert job.available_at == job.enqueued_at


def test_in_an_hour_old_transaction_a_delay_counts_from_now(
    face: Face, app: pgjobs.App, task: Task, clock: Clock
) -> None:
    connection = face.connect()
    began = face.do(connection.execute("select pgjobs.now()"))
    (began,) = face.do(began.fetchone())
    clock.advance(timedelta(hours=1))
    id = face.enqueue(task.options(tx=connection, delay=300), letter_id=7)
    face.do(connection.commit())
    available_at = face.job(app, id).available_at
    assert available_at is not None
    assert timedelta(minutes=65) <= available_at - began < timedelta(minutes=66)


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_transaction_of_any_isolation_can_carry_jobs(
    face: Face, app: pgjobs.App, task: Task, count: Count, level: psycopg.IsolationLevel
) -> None:
    connection = face.connect()
    face.do(connection.set_isolation_level(level))
    first = face.enqueue(task.options(tx=connection), letter_id=1)
    other = face.enqueue(task, letter_id=2)  # on another connection, after this one's snapshot
    ids = face.enqueue_many(app, [task.spec(letter_id=3), task.spec(letter_id=4)], tx=connection)
    assert face.job(app, first, tx=connection).payload["letter_id"] == 1
    with pytest.raises(pgjobs.JobNotFound):
        face.job(app, other, tx=connection)
    face.do(connection.commit())
    assert count() == 4
    assert face.job(app, ids[1]).payload["letter_id"] == 4


class _Odd:
    def __init__(self, **columns: Any) -> None:
        raise AssertionError("the caller's row factory is not for our rows")


@pytest.mark.parametrize(
    "factory",
    [rows.dict_row, rows.namedtuple_row, rows.scalar_row, rows.class_row(_Odd)],
    ids=lambda factory: factory.__name__,
)
def test_a_connection_may_have_any_row_factory(face: Face, app: pgjobs.App, task: Task, factory: Any) -> None:
    connection = face.connect(row_factory=factory)
    id = face.enqueue(task.options(tx=connection), letter_id=7)
    [many] = face.enqueue_many(app, [task.spec(letter_id=8)], tx=connection.cursor())
    assert face.job(app, id, tx=connection).payload["letter_id"] == 7
    assert face.job(app, many, tx=connection.cursor()).payload["letter_id"] == 8
    assert connection.row_factory is factory


def test_a_cursor_with_results_to_fetch_keeps_them(face: Face, app: pgjobs.App, task: Task) -> None:
    connection = face.connect()
    cursor = connection.cursor()
    face.do(cursor.execute("select generate_series(1, 5)"))
    seen = [face.do(cursor.fetchone())]
    id = face.enqueue(task.options(tx=cursor), letter_id=7)
    assert face.job(app, id, tx=cursor).id == id
    seen += face.do(cursor.fetchall())
    assert seen == [(number,) for number in range(1, 6)]


def test_a_server_side_cursor_may_be_in_the_middle_of_its_rows(face: Face, task: Task, count: Count) -> None:
    connection = face.connect()
    with face.block(connection.cursor("letters")) as cursor:
        face.do(cursor.execute("select generate_series(1, 1000)"))
        seen = []
        while batch := face.do(cursor.fetchmany(400)):
            seen += batch
            face.enqueue(task.options(tx=connection), letter_id=len(seen))
            face.enqueue(task.options(tx=cursor), letter_id=len(seen))
    face.do(connection.commit())
    assert [number for (number,) in seen] == list(range(1, 1001))
    assert count() == 6


def test_a_pipeline_carries_jobs_too(face: Face, app: pgjobs.App, task: Task, count: Count) -> None:
    connection = face.connect()
    with face.block(connection.pipeline()):
        face.do(connection.execute("create temp table letters (id int)"))
        ids = [face.enqueue(task.options(tx=connection), letter_id=number) for number in range(3)]
    face.do(connection.commit())
    assert count() == 3
    assert [face.job(app, id).payload["letter_id"] for id in ids] == [0, 1, 2]


def test_odd_settings_of_the_callers_session_do_not_matter(face: Face, app: pgjobs.App, task: Task) -> None:
    connection = face.connect(autocommit=True)
    for setting in (
        "DateStyle = 'German, DMY'", "IntervalStyle = 'sql_standard'", "TimeZone = 'Asia/Kathmandu'",
        "search_path = 'nowhere'", "bytea_output = 'escape'", "standard_conforming_strings = 'off'",
        "default_transaction_isolation = 'serializable'", "plan_cache_mode = 'force_generic_plan'", "extra_float_digits = 0",
    ):  # fmt: skip
        face.do(connection.execute(f"set {setting}"))
    at = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    id = face.enqueue(
        task.options(tx=connection, available_at=at, timeout=timedelta(days=1, hours=2), metadata={"path": "C:\\new"}),
        letter_id=7, language="back\\slash",
    )  # fmt: skip
    [twin] = face.enqueue_many(app, [task.options(available_at=at).spec(letter_id=8)], tx=connection)
    for job in (face.job(app, id, tx=connection), face.job(app, id)):
        assert job.available_at == at
        assert (job.payload["language"], job.metadata) == ("back\\slash", {"path": "C:\\new"})
        assert job.enqueued_at.utcoffset() is not None
    assert face.job(app, twin, tx=connection).available_at == at


def test_a_job_that_the_database_refuses_is_refused_in_its_words(face: Face, app: pgjobs.App, count: Count) -> None:
    wrong = [
        (pgjobs.Spec("t" * 201), "The name of a task must have 1 to 200 characters, none of them a control character."),
        (
            pgjobs.Spec("t", queue=""),
            "The name of a queue must have 1 to 200 characters, none of them a control character.",
        ),
        (pgjobs.Spec("t", "[1]"), "The payload of a job must be a JSON object: the arguments of the task by name."),
        (pgjobs.Spec("t", priority=9), "The priority of a job must be one of -2, -1, 0, 1, 2, not 9."),
        (pgjobs.Spec("t", max_attempts=0), "max_attempts must be from 1 to 32767, not 0."),
        (pgjobs.Spec("t", timeout=timedelta(0)), "A timeout must be longer than nothing, not 00:00:00."),
    ]
    for spec, sentence in wrong:
        for tx in (None, face.connect()):
            with pytest.raises(pgjobs.InvalidJob) as refused:
                face.enqueue_spec(app, spec, tx)
            assert str(refused.value) == sentence
            with pytest.raises(pgjobs.InvalidJob) as refused:
                face.enqueue_many(app, [pgjobs.Spec("fine"), spec], tx=face.connect() if tx else None)
            assert str(refused.value) == sentence
    assert count() == 0


def test_arguments_that_do_not_fit_leave_the_transaction_as_it_was(face: Face, task: Task, count: Count) -> None:
    connection = face.connect()
    face.enqueue(task.options(tx=connection), letter_id=1)
    for wrong in ({"letter": 1}, {"letter_id": float("nan")}, {"letter_id": "\0"}):
        with pytest.raises(pgjobs.InvalidPayload):
            face.enqueue(task.options(tx=connection), **wrong)
    face.do(connection.commit())
    assert count() == 1


def test_what_is_no_connection_is_refused_in_a_sentence(face: Face, app: pgjobs.App, task: Task) -> None:
    for nonsense in ("postgresql://", object(), 7, app, psycopg.Connection):
        with pytest.raises(pgjobs.ConfigurationError, match=r"^tx must be a psycopg .*, not \w+\.$"):
            face.enqueue(task.options(tx=nonsense), letter_id=7)


def test_a_connection_of_the_other_kind_is_refused_in_a_sentence(
    face: Face, dsn: str, app: pgjobs.App, task: Task
) -> None:
    other = "belongs to an event loop: use `await task.aenqueue" if face.name == "blocking" else "would block the event"

    async def refuse_async() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            for tx in (connection, connection.cursor()):
                with pytest.raises(pgjobs.ConfigurationError, match=other):
                    task.options(tx=tx).enqueue(letter_id=7)

    if face.name == "blocking":
        import asyncio

        asyncio.run(refuse_async())
    else:
        with psycopg.connect(dsn) as connection:
            for tx in (connection, connection.cursor()):
                with pytest.raises(pgjobs.ConfigurationError, match=other):
                    face.enqueue(task.options(tx=tx), letter_id=7)


def test_a_closed_connection_and_a_failed_transaction_are_refused_in_a_sentence(face: Face, task: Task) -> None:
    connection = face.connect()
    with pytest.raises(psycopg.errors.UndefinedTable):
        face.do(connection.execute("select * from letters"))
    with pytest.raises(pgjobs.TransactionFailed, match="roll it back"):
        face.enqueue(task.options(tx=connection), letter_id=7)
    face.do(connection.close())
    with pytest.raises(pgjobs.ConnectionFailed, match="given as tx is closed"):
        face.enqueue(task.options(tx=connection), letter_id=7)


def test_plain_sql_is_a_full_citizen(face: Face, app: pgjobs.App, db: Connection) -> None:
    row = db.execute(
        """select pgjobs.enqueue('read_letter', '{"letter_id": 7, "family_id": 1}', queue => 'ocr', priority => -1)"""
    ).fetchone()
    assert row is not None
    job = face.job(app, row[0])
    assert (job.task, job.queue, job.priority) == ("read_letter", "ocr", Priority.HIGH)
    assert job.payload == {"letter_id": 7, "family_id": 1}
    assert (job.max_attempts, job.metadata) == (None, None)


def test_plain_sql_and_the_client_make_the_same_row(face: Face, task: Task, db: Connection) -> None:
    tx = face.connect()  # alone in a transaction it would be announced otherwise
    face.enqueue(task.options(tx=tx), letter_id=7)
    face.do(tx.commit())
    db.execute("select pgjobs.enqueue('read_letter', '{\"letter_id\": 7}', 'ocr')")
    one, two = db.execute(
        "select to_jsonb(j) - array['id', 'available_at', 'enqueued_at'] from pgjobs.jobs j order by id"
    ).fetchall()
    assert one == two
