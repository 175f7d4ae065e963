"""Connections and cursors of psycopg 3, those of the caller and our own."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from pgjobs.calls import Copy, Rows
from pgjobs.connections.copying import by_async_psycopg, by_psycopg
from pgjobs.connections.errors import CLOSED
from pgjobs.connections.runner import AsyncRunner, Runner
from pgjobs.errors import ConfigurationError, ConnectionFailed, TransactionFailed


class PsycopgRunner:
    """A psycopg connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        # Our own cursor: the caller's may have another row factory, or be in the middle of something.
        cursor = psycopg.Cursor(self.connection, row_factory=tuple_row)
        try:
            cursor.execute(sql, params, binary=True)  # binary: whatever DateStyle the caller's session has
            return cursor.fetchall() if _has_rows(cursor) else ()
        except psycopg.errors.PipelineAborted as error:
            raise TransactionFailed(TransactionFailed.WHAT_TO_DO) from error

    def in_transaction(self) -> bool:
        return _in_transaction(self.connection)

    def is_alone(self) -> bool:
        return not _in_transaction(self.connection) and _in_no_pipeline(self.connection)

    def transaction(self) -> AbstractContextManager[Any]:
        return self.connection.transaction()

    def can_copy(self) -> bool:
        return _in_no_pipeline(self.connection)

    def copy(self, copy: Copy) -> None:
        by_psycopg(self.connection, copy)


class AsyncPsycopgRunner:
    """A psycopg AsyncConnection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection

    async def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        cursor = psycopg.AsyncCursor(self.connection, row_factory=tuple_row)
        try:
            await cursor.execute(sql, params, binary=True)
            return await cursor.fetchall() if _has_rows(cursor) else ()
        except psycopg.errors.PipelineAborted as error:
            raise TransactionFailed(TransactionFailed.WHAT_TO_DO) from error

    def in_transaction(self) -> bool:
        return _in_transaction(self.connection)

    def is_alone(self) -> bool:
        return not _in_transaction(self.connection) and _in_no_pipeline(self.connection)

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        return self.connection.transaction()

    def can_copy(self) -> bool:
        return _in_no_pipeline(self.connection)

    async def copy(self, copy: Copy) -> None:
        await by_async_psycopg(self.connection, copy)


def runner(tx: Any) -> Runner | None:
    """Return the runner for a psycopg connection or cursor, or None for anything else."""
    if isinstance(tx, (psycopg.AsyncConnection, psycopg.AsyncCursor)):
        raise ConfigurationError("This connection belongs to an event loop: use `await task.aenqueue(...)`.")
    if isinstance(tx, psycopg.Cursor):
        tx = tx.connection
    return PsycopgRunner(_open(tx)) if isinstance(tx, psycopg.Connection) else None


def async_runner(tx: Any) -> AsyncRunner | None:
    """Return the runner for a psycopg AsyncConnection or AsyncCursor, or None for anything else."""
    if isinstance(tx, (psycopg.Connection, psycopg.Cursor)):
        raise ConfigurationError("This connection would block the event loop: use `task.enqueue(...)` with it.")
    if isinstance(tx, psycopg.AsyncCursor):
        tx = tx.connection
    return AsyncPsycopgRunner(_open(tx)) if isinstance(tx, psycopg.AsyncConnection) else None


def _open(connection: Any) -> Any:
    if connection.closed:
        raise ConnectionFailed(CLOSED)
    return connection


def _in_transaction(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    # In autocommit mode too there may be a block. In a pipeline one cannot tell, and what is sent is one until its sync.
    return not connection.autocommit or connection.pgconn.transaction_status != TransactionStatus.IDLE


def _in_no_pipeline(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    return connection.pgconn.pipeline_status == PipelineStatus.OFF


def _has_rows(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> bool:
    # In a pipeline of the caller's nothing has come back yet: fetching waits for it. All verbs but LISTEN return rows.
    # Not asked of `description`, which makes an object of each column.
    return (result := cursor.pgresult) is None or result.nfields > 0
