"""SQLAlchemy's transactions carry jobs: a Connection, a Session, whatever wraps one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import event, orm

import pgjobs
import pgjobs.app

Task = pgjobs.Task[..., Any]
Count = Callable[[], int]


@pytest.fixture
def engine(dsn: str) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    yield engine
    engine.dispose()


@pytest.fixture(params=["connection", "session", "scoped session"])
def transaction(request: pytest.FixtureRequest, engine: sqlalchemy.Engine) -> Iterator[Any]:
    """A connection or session, outside of a transaction."""
    if request.param == "connection":
        with engine.connect() as connection:
            yield connection
    elif request.param == "session":
        with orm.Session(engine) as session:
            yield session
    else:
        scoped = orm.scoped_session(orm.sessionmaker(engine))
        yield scoped
        scoped.remove()


def test_a_job_is_there_when_the_transaction_commits(transaction: Any, task: Task, count: Count) -> None:
    id = task.options(tx=transaction).enqueue(letter_id=7)
    assert count() == 0
    transaction.commit()
    assert count() == 1
    assert isinstance(id, pgjobs.JobId)


def test_a_job_never_was_when_the_transaction_rolls_back(transaction: Any, task: Task, count: Count) -> None:
    task.options(tx=transaction).enqueue(letter_id=7)
    transaction.rollback()
    assert count() == 0


def test_a_block_that_begins_a_transaction_carries_jobs(
    transaction: Any, app: pgjobs.App, task: Task, count: Count
) -> None:
    with transaction.begin(), app.using(transaction):
        task.enqueue(letter_id=1)
        app.enqueue_many([task.spec(letter_id=2), task.spec(letter_id=3)])
        assert count() == 0
    assert count() == 3

    def fail() -> None:
        with transaction.begin(), app.using(transaction):
            task.enqueue(letter_id=4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert count() == 3


def test_a_savepoint_that_is_rolled_back_takes_its_jobs_along_and_no_others(
    transaction: Any, app: pgjobs.App, task: Task, count: Count
) -> None:
    def fail() -> None:
        with transaction.begin_nested():
            task.enqueue(letter_id=2)
            raise ZeroDivisionError

    with transaction.begin(), app.using(transaction):
        kept = task.enqueue(letter_id=1)
        with pytest.raises(ZeroDivisionError):
            fail()
        with transaction.begin_nested():
            task.enqueue(letter_id=3)
    assert count() == 2
    assert app.job(kept).payload == {"letter_id": 1}


def test_all_settings_travel(transaction: Any, app: pgjobs.App, task: Task) -> None:
    bound = task.options(
        tx=transaction, queue="100% :name %s", priority=pgjobs.Priority.BULK, delay=60, max_attempts=2, timeout=5.5,
        metadata={"a": ["%s", ":b", 1e23]},
    )  # fmt: skip
    id = bound.enqueue(letter_id=7, language="%(x)s :y \\ '\" é🏔")
    job = app.job(id, tx=transaction)
    assert (job.queue, job.priority, job.max_attempts) == ("100% :name %s", pgjobs.Priority.BULK, 2)
    assert job.payload == {"letter_id": 7, "language": "%(x)s :y \\ '\" é🏔"}
    assert job.metadata == {"a": ["%s", ":b", 1e23]}
    assert job.available_at is not None
    assert (job.available_at - job.enqueued_at).total_seconds() == 60
    transaction.commit()
    assert app.job(id) == job


def test_jobs_and_rows_of_ones_own_are_one_transaction(
    engine: sqlalchemy.Engine, own_database: None, app: pgjobs.App, task: Task, count: Count
) -> None:
    class Base(orm.DeclarativeBase):
        pass

    class Letter(Base):
        __tablename__ = "letters"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        text: orm.Mapped[str] = orm.mapped_column(unique=True)

    Base.metadata.create_all(engine)
    with orm.Session(engine) as session, session.begin():
        letter = Letter(text="Dear")
        session.add(letter)
        session.flush()
        id = task.options(tx=session).enqueue(letter_id=letter.id)
    assert app.job(id).payload == {"letter_id": 1}
    # What breaks at the commit takes the job along.
    with orm.Session(engine) as session:
        session.add(Letter(text="Dear"))
        with session.no_autoflush:
            task.options(tx=session).enqueue(letter_id=2)
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            session.commit()
    assert count() == 1


def test_a_refused_job_is_our_error_and_not_sqlalchemys(transaction: Any, app: pgjobs.App, count: Count) -> None:
    with pytest.raises(pgjobs.InvalidJob, match="The name of a queue must have 1 to 200 characters"):
        app.enqueue_spec(pgjobs.Spec("t", queue=""), transaction)
    transaction.rollback()
    with pytest.raises(pgjobs.JobNotFound):
        app.job(2**40, tx=transaction)
    assert count() == 0


def test_statements_go_through_sqlalchemy_and_its_events_fire(
    engine: sqlalchemy.Engine, transaction: Any, task: Task
) -> None:
    seen: list[str] = []

    def listener(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", listener)
    task.options(tx=transaction).enqueue(letter_id=7)
    assert len(seen) == 1
    assert "pgjobs.enqueue" in seen[0]


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "REPEATABLE READ", "SERIALIZABLE"])
def test_any_isolation_level_will_do_and_many_stay_all_or_none(
    engine: sqlalchemy.Engine, app: pgjobs.App, task: Task, count: Count, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    monkeypatch.setattr(pgjobs.portions, "CHUNK", 100)
    with engine.connect().execution_options(isolation_level=level) as connection:
        task.options(tx=connection).enqueue(letter_id=1)
        assert count() == (1 if level == "AUTOCOMMIT" else 0)
        connection.commit()
        wrong = pgjobs.Spec("t" * 201)
        with pytest.raises(pgjobs.InvalidJob):
            app.enqueue_many([task.spec(letter_id=2)] * 250 + [wrong], tx=connection)
        connection.rollback()
        assert count() == 1
        app.enqueue_many([task.spec(letter_id=2)] * 250, tx=connection)
        connection.commit()
    assert count() == 251


def test_a_connection_on_another_driver_is_refused_in_a_sentence(task: Task) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with (
        engine.connect() as connection,
        pytest.raises(
            pgjobs.ConfigurationError,
            match=r"A SQLAlchemy connection on pysqlite cannot carry jobs; use an engine on psycopg",
        ),
    ):
        task.options(tx=connection).enqueue(letter_id=7)
    engine.dispose()


def test_an_engine_is_no_transaction(engine: sqlalchemy.Engine, task: Task) -> None:
    with pytest.raises(pgjobs.ConfigurationError, match=r"tx must be a psycopg connection or cursor, .* not Engine"):
        task.options(tx=engine).enqueue(letter_id=7)


def test_a_transaction_that_would_block_the_event_loop_is_refused_in_a_sentence(transaction: Any, task: Task) -> None:
    with pytest.raises(pgjobs.ConfigurationError, match="would block the event loop"):
        asyncio.run(task.options(tx=transaction).aenqueue(letter_id=7))
