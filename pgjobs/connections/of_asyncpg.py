"""Connections of asyncpg, also those that one of its pools has lent. It is never imported: who has one has done so."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

from pgjobs.calls import Copy, Rows
from pgjobs.connections.copying import by_asyncpg
from pgjobs.connections.dollars import dollars
from pgjobs.connections.errors import CLOSED
from pgjobs.connections.runner import AsyncRunner
from pgjobs.errors import ConfigurationError, ConnectionFailed


class AsyncpgRunner:
    """An asyncpg connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        text, given = dollars(sql, params)
        return [tuple(record) for record in await self.connection.fetch(text, *given)]

    def in_transaction(self) -> bool:
        return bool(self.connection.is_in_transaction())

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        transaction: AbstractAsyncContextManager[Any] = self.connection.transaction()
        return transaction

    def is_alone(self) -> bool:
        return not self.in_transaction()

    def can_copy(self) -> bool:
        return True

    async def copy(self, copy: Copy) -> None:
        await by_asyncpg(self.connection, copy)


def async_runner(tx: Any) -> AsyncRunner | None:
    """Return the runner for a connection of asyncpg, or None for anything else."""
    asyncpg = sys.modules.get("asyncpg")
    if asyncpg is None:
        return None
    if isinstance(tx, asyncpg.Pool):
        raise ConfigurationError("A pool is no transaction: use a connection of it, `async with pool.acquire() as tx`.")
    if not isinstance(tx, (asyncpg.Connection, asyncpg.pool.PoolConnectionProxy)):
        return None
    try:
        closed = tx.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it back
        closed = True
    if closed:
        raise ConnectionFailed(CLOSED)
    return AsyncpgRunner(tx)


def refuse(tx: Any) -> None:
    """Raise ConfigurationError for a connection of asyncpg where blocking calls are made."""
    asyncpg = sys.modules.get("asyncpg")
    if asyncpg is not None and isinstance(tx, (asyncpg.Connection, asyncpg.pool.PoolConnectionProxy, asyncpg.Pool)):
        raise ConfigurationError("This connection belongs to an event loop: use `await task.aenqueue(...)`.")
