"""What cannot carry a job is refused in one sentence, which says what to do instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
import sqlalchemy
from django.db import connections
from psycopg_pool import ConnectionPool
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

import pgjobs
from tests.client.conftest import AsyncFace, Face
from tests.client.kinds import Asyncpg, Django, SaAsyncSession, url

Task = pgjobs.Task[..., Any]

IN_LOOP = r"^This connection belongs to an event loop: use `await task\.aenqueue\(\.\.\.\)`\.$"


def refused(face: Face, task: Task, tx: Any, sentence: str) -> None:
    """Enqueuing with this is refused so."""
    with pytest.raises(pgjobs.ConfigurationError, match=sentence) as error:
        face.enqueue(task.options(tx=tx), letter_id=7)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make", [sa_asyncio.AsyncSession, sa_asyncio.AsyncConnection, lambda engine: sa_asyncio.async_scoped_session(
        sa_asyncio.async_sessionmaker(engine), scopefunc=lambda: 1)], ids=["session", "connection", "scoped session"],
)  # fmt: skip
def test_sqlalchemys_async_connections_in_a_blocking_call(make: Callable[[Any], Any], dsn: str, task: Task) -> None:
    engine = sa_asyncio.create_async_engine(url("asyncpg", dsn))
    refused(Face(dsn), task, make(engine), IN_LOOP)


def test_asyncpg_in_a_blocking_call(dsn: str, task: Task) -> None:
    face = AsyncFace(dsn)
    kind = Asyncpg(face, dsn)
    with kind.stack:
        kind.open()
        refused(Face(dsn), task, kind.tx, IN_LOOP)
    face.close()


def test_a_pool_or_an_engine_is_no_transaction(dsn: str, task: Task) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(dsn=None, **Asyncpg(Face(dsn), dsn).where(), min_size=0, max_size=1) as pool:
            with pytest.raises(pgjobs.ConfigurationError, match=r"^A pool is no transaction: .*acquire\(\) as tx`\.$"):
                await task.options(tx=pool).aenqueue(letter_id=7)

    asyncio.run(main())
    tells = r"^tx must be a psycopg .*, not {}\.$"
    refused(Face(dsn), task, ConnectionPool(dsn, min_size=0, max_size=1, open=False), tells.format("ConnectionPool"))
    refused(Face(dsn), task, sqlalchemy.create_engine("postgresql+psycopg://"), tells.format("Engine"))
    face = AsyncFace(dsn)
    refused(face, task, sa_asyncio.create_async_engine("postgresql+asyncpg://"), tells.format("AsyncEngine"))
    face.close()


def test_an_async_connection_that_was_not_started(dsn: str, task: Task) -> None:
    engine = sa_asyncio.create_async_engine(url("asyncpg", dsn))
    face = AsyncFace(dsn)
    refused(face, task, engine.connect(), r"^This AsyncConnection was not started: .*engine\.begin\(\)`\.$")
    face.close()


def test_the_blocking_side_of_an_async_session_outside_of_run_sync(dsn: str, task: Task) -> None:
    face = AsyncFace(dsn)
    kind = SaAsyncSession(face, dsn)
    with kind.stack:
        kind.open()
        kind.execute("select 1")  # now it has a connection
        refused(Face(dsn), task, kind.tx.sync_session, r"^This connection belongs to an event loop: .*run_sync`\.$")
    face.close()


def test_another_database_than_postgresql(dsn: str, task: Task) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection, orm.Session(engine) as session:
        for tx in (connection, session):
            refused(Face(dsn), task, tx, r"^A SQLAlchemy connection on pysqlite cannot carry jobs; .*asyncpg")
    engine.dispose()
    kind = Django(Face(dsn), dsn)
    with kind.stack:
        kind.open()
        sqlite = {"default": {}, "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        connections.settings = connections.configure_settings(sqlite)
        refused(
            Face(dsn), task, connections["other"], r"^A Django connection to sqlite cannot carry jobs: .*PostgreSQL"
        )


def test_a_session_that_must_be_rolled_back_first(dsn: str, task: Task, count: Callable[[], int]) -> None:
    class Base(orm.DeclarativeBase):
        pass

    class Letter(Base):
        __tablename__ = "letters_that_are_nowhere"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

    engine = sqlalchemy.create_engine(url("psycopg", dsn))
    with orm.Session(engine) as session:
        session.add(Letter(id=1))
        with pytest.raises(sqlalchemy.exc.ProgrammingError):
            session.flush()
        with pytest.raises(pgjobs.TransactionFailed, match="roll it back"):
            task.options(tx=session).enqueue(letter_id=1)
        session.rollback()
        task.options(tx=session).enqueue(letter_id=2)
        session.commit()
    engine.dispose()
    assert count() == 1
