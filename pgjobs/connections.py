"""The caller's connection, of whatever library, as one we can run calls on; and the one edge where errors are mapped.

Known here: psycopg connections and cursors, sync and async; SQLAlchemy `Connection` and `Session`. SQLAlchemy's are
recognised by what they can do, so that nothing imports it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from pgjobs.calls import Call, Rows
from pgjobs.errors import ConfigurationError, ConnectionFailed, PgjobsError, for_sqlstate

T = TypeVar("T")


class Runner(Protocol):
    """Runs a statement and returns all its rows."""

    def rows(self, sql: str, params: tuple[Any, ...]) -> Rows: ...


class AsyncRunner(Protocol):
    """Runs a statement and returns all its rows, in an event loop."""

    async def rows(self, sql: str, params: tuple[Any, ...]) -> Rows: ...


def run(runner: Runner, call: Call[T]) -> T:
    """Run a call and read its result. Raises a PgjobsError for what the database refused in our words."""
    with translated():
        rows = runner.rows(call.sql, call.params)
    return call.read(rows)


async def arun(runner: AsyncRunner, call: Call[T]) -> T:
    """The same as `run`, in an event loop."""
    with translated():
        rows = await runner.rows(call.sql, call.params)
    return call.read(rows)


class PsycopgRunner:
    """A psycopg connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        # Our own cursor: the caller's may have another row factory, or be in the middle of something.
        with psycopg.Cursor(self.connection, row_factory=tuple_row) as cursor:
            cursor.execute(sql, params, binary=True)  # binary: whatever DateStyle the caller's session has
            return cursor.fetchall() if _has_rows(cursor) else ()


class AsyncPsycopgRunner:
    """A psycopg AsyncConnection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection

    async def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        async with psycopg.AsyncCursor(self.connection, row_factory=tuple_row) as cursor:
            await cursor.execute(sql, params, binary=True)
            return await cursor.fetchall() if _has_rows(cursor) else ()


def _has_rows(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> bool:
    # In a pipeline of the caller's nothing has come back yet: fetching waits for it. All verbs but LISTEN return rows.
    return cursor.description is not None or cursor.connection.pgconn.pipeline_status != PipelineStatus.OFF


class SqlAlchemyRunner:
    """A SQLAlchemy Connection on psycopg or psycopg2, whose %s parameters are ours."""

    def __init__(self, connection: Any) -> None:
        driver = connection.dialect.driver
        if driver not in ("psycopg", "psycopg2"):
            raise ConfigurationError(
                f"A SQLAlchemy connection on {driver} cannot carry jobs; use an engine on psycopg (postgresql+psycopg://)."
            )
        self.connection = connection

    def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        # Through SQLAlchemy and not around it, so that its transaction begins and its events fire.
        return [tuple(row) for row in self.connection.exec_driver_sql(sql, params)]


def runner_for(tx: Any) -> Runner:
    """Return the runner for a caller's connection. Raises ConfigurationError for what is not one."""
    if isinstance(tx, psycopg.Connection):
        return PsycopgRunner(tx)
    if isinstance(tx, psycopg.Cursor):
        return PsycopgRunner(tx.connection)
    if isinstance(tx, (psycopg.AsyncConnection, psycopg.AsyncCursor)):
        raise ConfigurationError("This connection belongs to an event loop: use `await task.aenqueue(...)`.")
    if _is_async_sqlalchemy(tx):
        raise ConfigurationError(_NO_ASYNC_SQLALCHEMY)
    if callable(getattr(tx, "exec_driver_sql", None)) and hasattr(tx, "dialect"):  # sqlalchemy.Connection
        return SqlAlchemyRunner(tx)
    if callable(getattr(tx, "get_bind", None)) and callable(connection := getattr(tx, "connection", None)):
        return SqlAlchemyRunner(connection())  # sqlalchemy.orm.Session: enlists its connection in its transaction
    raise ConfigurationError(
        f"tx must be a psycopg connection or cursor, or a SQLAlchemy Connection or Session, not {type(tx).__name__}."
    )


def async_runner_for(tx: Any) -> AsyncRunner:
    """Return the runner for a caller's connection in an event loop. Raises ConfigurationError for what is not one."""
    if isinstance(tx, psycopg.AsyncConnection):
        return AsyncPsycopgRunner(tx)
    if isinstance(tx, psycopg.AsyncCursor):
        return AsyncPsycopgRunner(tx.connection)
    if _is_async_sqlalchemy(tx):
        raise ConfigurationError(_NO_ASYNC_SQLALCHEMY)
    if (
        isinstance(tx, (psycopg.Connection, psycopg.Cursor))
        or callable(getattr(tx, "get_bind", None))
        or hasattr(tx, "exec_driver_sql")
    ):
        raise ConfigurationError("This connection would block the event loop: use `task.enqueue(...)` with it.")
    raise ConfigurationError(f"tx must be a psycopg AsyncConnection or AsyncCursor here, not {type(tx).__name__}.")


_NO_ASYNC_SQLALCHEMY = (
    "SQLAlchemy's AsyncConnection and AsyncSession cannot carry jobs yet: pass the psycopg connection inside,"
    " (await connection.get_raw_connection()).driver_connection."
)


def _is_async_sqlalchemy(tx: Any) -> bool:
    return hasattr(tx, "sync_connection") or hasattr(tx, "sync_session")


@contextmanager
def in_one_transaction(runner: Runner) -> Iterator[None]:
    """Make several statements one transaction, if each would be one by itself: in autocommit mode, outside a block."""
    connection = getattr(runner, "connection", None)
    if isinstance(runner, SqlAlchemyRunner):
        connection = runner.connection.connection.driver_connection
    if isinstance(connection, psycopg.Connection) and _commits_each(connection):
        with connection.transaction():
            yield
    else:
        yield


@asynccontextmanager
async def in_one_async_transaction(runner: AsyncRunner) -> AsyncIterator[None]:
    """The same as `in_one_transaction`, in an event loop."""
    connection = getattr(runner, "connection", None)
    if isinstance(connection, psycopg.AsyncConnection) and _commits_each(connection):
        async with connection.transaction():
            yield
    else:
        yield


def _commits_each(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    return connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the database that are meant for people into ours, by SQLSTATE; let all others pass."""
    try:
        yield
    except PgjobsError:
        raise
    except Exception as error:
        original = getattr(error, "orig", error)  # SQLAlchemy wraps
        sqlstate = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
        message = getattr(getattr(original, "diag", None), "message_primary", None) or str(original)
        ours = for_sqlstate(sqlstate, message)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def connecting() -> Iterator[None]:
    """Turn a failure to connect into ConnectionFailed with the server's own reason."""
    try:
        yield
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:
            raise  # no matter of the connection
        # libpq quotes what it could not read, which may hold a password: only an unknown name is passed on.
        unknown = re.match(
            r"invalid (connection option|URI query parameter)[^\n]*|bad value for connect_timeout.*", str(error)
        )
        raise ConnectionFailed(
            f"The DSN cannot be read{f' ({unknown[0]})' if unknown else ''}: it must look like"
            " postgresql://user:password@host:5432/database, with special characters percent-encoded."
        ) from None
    except (psycopg.Error, UnicodeError) as error:  # UnicodeError: a host that cannot be a name
        raise ConnectionFailed(f"The database cannot be reached: {reason(error)}.") from error


def reason(error: Exception) -> str:
    """Return what went wrong with a connection in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return re.sub("^connection (failed|is bad): ", "", lines[0]).replace("FATAL:  ", "", 1).rstrip(".")


def is_broken(error: BaseException) -> bool:
    """Whether an error says that the connection or the server is at fault, and not what was asked: later it may work.

    Without an SQLSTATE the connection broke under us; with one, its class says: 08 connection, 53 resources (a full disk,
    too many connections), 57P shutdown and the like.
    """
    if isinstance(error, psycopg.Error):
        sqlstate = error.sqlstate
        if sqlstate is None:
            return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return sqlstate.startswith(("08", "53", "57P"))
    return isinstance(error, OSError)
