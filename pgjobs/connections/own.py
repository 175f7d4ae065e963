"""Connections of our own, on which nobody else prepares statements or changes the session: there is a shorter way.

psycopg's cursors adapt whatever they are given and watch what becomes of prepared statements. Ours are few, asked again and
again, and take texts, numbers and times. Prepared by hand and sent past the cursor, by the same libpq and the same loop, one costs
the client 40 µs less, a third of an enqueue. What is seldom asked, or takes anything else, goes by a cursor as everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import generators
from psycopg.adapt import Transformer
from psycopg.errors import DuplicatePreparedStatement, InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from pgjobs.calls import Rows
from pgjobs.connections.of_psycopg import AsyncPsycopgRunner, PsycopgRunner

OWN: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}  # to connect with: statements are prepared here
OFTEN = 3  # times, from the last of which on a statement is prepared
MOST = 20  # statements a connection

_FINE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
_POOLED = (InvalidSqlStatementName, DuplicatePreparedStatement)


class Statements:
    """The statements of one connection: how often each was asked, and the names of those that are prepared."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self.prepared: dict[str, bytes] = {}
        self.transformer: Any = None  # which remembers how each type is read
        self.pooled = False

    def is_to_be_prepared(self, sql: str) -> bool:
        """Count a statement that is not prepared, and return whether it should be."""
        asked = self._asked[sql] = self._asked.get(sql, 0) + 1
        return asked >= OFTEN and len(self.prepared) < MOST and not self.pooled

    def are_pooled(self) -> None:
        """Prepare no more: a pooler gives each transaction another session, where other statements are prepared, or none."""
        self.pooled = True
        self.prepared.clear()


class OwnConnection(psycopg.Connection[Any]):
    """A connection that knows its statements."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statements = Statements()


class AsyncOwnConnection(psycopg.AsyncConnection[Any]):
    """The same for an event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statements = Statements()


class OwnRunner(PsycopgRunner):
    """A connection of our own, in autocommit mode, never in a pipeline."""

    connection: OwnConnection

    def is_alone(self) -> bool:
        return self.connection.pgconn.transaction_status == TransactionStatus.IDLE

    def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        connection, statements = self.connection, self.connection.statements
        pgconn, name = connection.pgconn, statements.prepared.get(sql)
        values = _values(params) if name or statements.is_to_be_prepared(sql) else None
        # In a transaction a refusal could not be made good.
        if values is None or pgconn.transaction_status != TransactionStatus.IDLE:
            return super().rows(sql, params)
        try:
            if name is None:
                name = _name(sql)
                pgconn.send_prepare(name, _numbered(sql))
                _checked(connection.wait(generators.execute(pgconn)))
                statements.prepared[sql] = name
            pgconn.send_query_prepared(name, values, None, 1)
            return _read(_checked(connection.wait(generators.execute(pgconn))), connection)
        except _POOLED:
            statements.are_pooled()
        return super().rows(sql, params)  # which was not run yet


class AsyncOwnRunner(AsyncPsycopgRunner):
    """The same in an event loop."""

    connection: AsyncOwnConnection

    def is_alone(self) -> bool:
        return self.connection.pgconn.transaction_status == TransactionStatus.IDLE

    async def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        connection, statements = self.connection, self.connection.statements
        pgconn, name = connection.pgconn, statements.prepared.get(sql)
        values = _values(params) if name or statements.is_to_be_prepared(sql) else None
        # In a transaction a refusal could not be made good.
        if values is None or pgconn.transaction_status != TransactionStatus.IDLE:
            return await super().rows(sql, params)
        try:
            if name is None:
                name = _name(sql)
                pgconn.send_prepare(name, _numbered(sql))
                _checked(await connection.wait(generators.execute(pgconn)))
                statements.prepared[sql] = name
            pgconn.send_query_prepared(name, values, None, 1)
            return _read(_checked(await connection.wait(generators.execute(pgconn))), connection)
        except _POOLED:
            statements.are_pooled()
        return await super().rows(sql, params)


def _values(params: tuple[Any, ...]) -> Sequence[bytes | None] | None:
    """Parameters as texts, whose types the statement says by its casts; None where one is not as simple as that."""
    values: list[bytes | None] = []
    for param in params:
        kind = type(param)
        if kind is str and "\0" not in param:
            values.append(param.encode())
        elif param is None:
            values.append(None)
        elif kind is int:
            values.append(b"%d" % param)
        elif kind is bool:
            values.append(b"t" if param else b"f")
        elif kind is datetime:
            values.append(param.isoformat().encode())
        elif kind is float:
            values.append(repr(param).encode())
        elif kind is timedelta:
            values.append(b"%d days %d s %d us" % (param.days, param.seconds, param.microseconds))
        else:
            return None
    return values


def _name(sql: str) -> bytes:
    """The same for the same statement: whatever session it comes upon, nothing else is run by it."""
    return b"pgjobs_" + hashlib.sha256(sql.encode()).hexdigest()[:24].encode()


def _numbered(sql: str) -> bytes:
    """A statement with $1 where psycopg has %s."""
    parts = sql.split("%s")
    return "".join([parts[0], *(f"${number}{part}" for number, part in enumerate(parts[1:], 1))]).encode()


def _checked(results: Sequence[PGresult]) -> PGresult:
    result = results[-1]
    if result.status not in _FINE:
        raise error_from_result(result, encoding="utf-8")  # as settings.CONNECT has it
    return result


def _read(result: PGresult, connection: OwnConnection | AsyncOwnConnection) -> Rows:
    statements = connection.statements
    if (transformer := statements.transformer) is None:
        transformer = statements.transformer = Transformer(connection)
    transformer.set_pgresult(result)
    rows: Rows = transformer.load_rows(0, result.ntuples, tuple)
    transformer.set_pgresult(None)  # nor is the memory of thousands of rows kept
    return rows
