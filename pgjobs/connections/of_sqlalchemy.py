"""SQLAlchemy's connections and sessions, sync and async, on psycopg, psycopg2 and asyncpg.

They are recognised by what they can do, so that nothing imports SQLAlchemy, and what stands in for one (a scoped_session)
is as good. Statements go through it and not around it, so that its transaction begins and its events fire.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg

from pgjobs import calls
from pgjobs.calls import Copy, Rows
from pgjobs.connections.copying import by_async_psycopg, by_asyncpg, by_psycopg, by_psycopg2
from pgjobs.connections.dollars import dollars
from pgjobs.connections.errors import CLOSED
from pgjobs.connections.runner import AsyncRunner, Runner, arun, run
from pgjobs.errors import ConfigurationError, ConnectionFailed, TransactionFailed

DRIVERS = ("psycopg", "psycopg2", "asyncpg")


class SqlAlchemyRunner:
    """A SQLAlchemy Connection; inside `run_sync` also one of an async engine."""

    def __init__(self, connection: Any) -> None:
        self.connection = _usable(connection)

    def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        with _explained():
            return _rows(self.connection.exec_driver_sql(*_statement(self.connection, sql, params)))

    def in_transaction(self) -> bool:
        return _in_transaction(self.connection)

    def is_alone(self) -> bool:
        return not self.in_transaction()

    def can_copy(self) -> bool:
        # Not where `run_sync` makes an async driver look like one that blocks.
        return self.connection.dialect.driver == "psycopg2" or isinstance(_driver(self.connection), psycopg.Connection)

    def copy(self, copy: Copy) -> None:
        # Around SQLAlchemy, which has no word for it; its transaction was begun by the call that got the ids.
        if self.connection.dialect.driver == "psycopg2":
            by_psycopg2(_driver(self.connection), copy)
        else:
            by_psycopg(_driver(self.connection), copy)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        # In AUTOCOMMIT, where SQLAlchemy's own begin() does nothing.
        run(self, calls.begin())
        try:
            yield
        except BaseException:
            run(self, calls.rollback())
            raise
        run(self, calls.commit())


class AsyncSqlAlchemyRunner:
    """A SQLAlchemy AsyncConnection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._sync = _usable(connection.sync_connection)

    async def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        with _explained():
            return _rows(await self.connection.exec_driver_sql(*_statement(self._sync, sql, params)))

    def in_transaction(self) -> bool:
        return _in_transaction(self._sync)

    def is_alone(self) -> bool:
        return not self.in_transaction()

    def can_copy(self) -> bool:
        return True

    async def copy(self, copy: Copy) -> None:
        if self._sync.dialect.driver == "asyncpg":
            await by_asyncpg(_driver(self._sync), copy)
        else:
            await by_async_psycopg(_driver(self._sync), copy)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await arun(self, calls.begin())
        try:
            yield
        except BaseException:
            await arun(self, calls.rollback())
            raise
        await arun(self, calls.commit())


def runner(tx: Any) -> Runner | None:
    """Return the runner for a Connection or Session, or None for anything else."""
    if _is_async(tx):
        raise ConfigurationError("This connection belongs to an event loop: use `await task.aenqueue(...)`.")
    if _is_connection(tx):
        return SqlAlchemyRunner(tx)
    if _is_session(tx):
        with _explained():
            connection = tx.connection()  # enlists its connection in its transaction
        return SqlAlchemyRunner(connection)
    return None


async def async_runner(tx: Any) -> AsyncRunner | None:
    """Return the runner for an AsyncConnection or AsyncSession, or None for anything else."""
    if _is_async(tx):
        if hasattr(tx, "sync_connection"):
            return AsyncSqlAlchemyRunner(tx)
        with _explained():
            connection = await tx.connection()
        return AsyncSqlAlchemyRunner(connection)
    if _is_connection(tx) or _is_session(tx):
        raise ConfigurationError("This connection would block the event loop: use `task.enqueue(...)` with it.")
    return None


def _is_connection(tx: Any) -> bool:
    return callable(getattr(tx, "exec_driver_sql", None)) and hasattr(tx, "dialect")


def _is_session(tx: Any) -> bool:
    return callable(getattr(tx, "get_bind", None)) and callable(getattr(tx, "connection", None))


def _is_async(tx: Any) -> bool:
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    return asyncio is not None and isinstance(
        tx, (asyncio.AsyncConnection, asyncio.AsyncSession, asyncio.async_scoped_session)
    )


def _usable(connection: Any) -> Any:
    if connection is None:
        raise ConfigurationError("This AsyncConnection was not started: use it inside `async with engine.begin()`.")
    if connection.dialect.name != "postgresql" or connection.dialect.driver not in DRIVERS:
        raise ConfigurationError(
            f"A SQLAlchemy connection on {connection.dialect.driver} cannot carry jobs; use an engine on psycopg,"
            " psycopg2 or asyncpg (postgresql+psycopg://)."
        )
    if connection.closed:
        raise ConnectionFailed(CLOSED)
    return connection


def _driver(connection: Any) -> Any:
    return connection.connection.driver_connection


def _statement(connection: Any, sql: str, params: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    if connection.dialect.driver != "asyncpg":
        return sql, params
    text, given = dollars(sql, params)
    return text, tuple(given)


def _rows(result: Any) -> Rows:
    return [tuple(row) for row in result] if result.returns_rows else ()


def _in_transaction(connection: Any) -> bool:
    of_pool = connection.connection
    if not of_pool.dbapi_connection.autocommit:
        return True
    driver = of_pool.driver_connection
    if connection.dialect.driver == "asyncpg":
        return bool(driver.is_in_transaction())
    return bool(driver.info.transaction_status)  # a block that the caller began by hand


@contextmanager
def _explained() -> Iterator[None]:
    """Say in a sentence what SQLAlchemy says to those who know it."""
    try:
        yield
    except Exception as error:
        exc = sys.modules["sqlalchemy"].exc
        if isinstance(getattr(error, "orig", None) or error, exc.MissingGreenlet):
            raise ConfigurationError(
                "This connection belongs to an event loop: use `await task.aenqueue(...)`, or enqueue inside `run_sync`."
            ) from error
        if isinstance(error, exc.PendingRollbackError):
            raise TransactionFailed(TransactionFailed.WHAT_TO_DO) from error
        raise
