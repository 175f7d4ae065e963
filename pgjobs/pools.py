"""Connections of our own, for enqueues and look-ups outside a caller's transaction. Made when first needed, bounded."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import psycopg_pool

from pgjobs.connections import connecting, reason
from pgjobs.errors import ConnectionFailed

MAX_SIZE = 4  # connections per process and kind; few are needed, for each call is one short statement
TIMEOUT = 10.0  # seconds to wait for one

# A host that falls silent is noticed in seconds and not in hours.
KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000,
}  # fmt: skip


class Pools:
    """A pool for blocking callers, and one for each event loop that asks."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._lock = threading.Lock()
        self._pool: psycopg_pool.ConnectionPool[psycopg.Connection] | None = None
        self._async: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection]
        ] = weakref.WeakKeyDictionary()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Lend a connection in autocommit mode. Raises ConnectionFailed with the server's reason."""
        pool = self._pool or self._open()
        try:
            connection = pool.getconn()
        except psycopg_pool.PoolTimeout as error:
            with connecting():  # the pool only knows that it waited; a try of our own knows why
                psycopg.connect(self._dsn, connect_timeout=5).close()
            raise ConnectionFailed(f"No connection came free within {TIMEOUT:.0f} s: {reason(error)}") from error
        try:
            yield connection
        finally:
            pool.putconn(connection)

    @asynccontextmanager
    async def async_connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """Lend a connection of this event loop, in autocommit mode. Raises ConnectionFailed with the server's reason."""
        pool = self._async.get(asyncio.get_running_loop()) or await self._open_async()
        try:
            connection = await pool.getconn()
        except psycopg_pool.PoolTimeout as error:
            with connecting():
                await (await psycopg.AsyncConnection.connect(self._dsn, connect_timeout=5)).close()
            raise ConnectionFailed(f"No connection came free within {TIMEOUT:.0f} s: {reason(error)}") from error
        try:
            yield connection
        finally:
            await pool.putconn(connection)

    def close(self) -> None:
        """Close the pool for blocking callers."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    async def aclose(self) -> None:
        """Close both the pool of this event loop and the one for blocking callers."""
        pool = self._async.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()
        self.close()

    def _open(self) -> psycopg_pool.ConnectionPool[psycopg.Connection]:
        with self._lock:
            if self._pool is None:
                with connecting():  # a wrong DSN fails here at once, with its reason, not after a pool's timeout
                    psycopg.connect(self._dsn, connect_timeout=int(TIMEOUT)).close()
                self._pool = psycopg_pool.ConnectionPool(
                    self._dsn,
                    kwargs={"autocommit": True, **KEEPALIVE, "application_name": "pgjobs"},
                    min_size=0,
                    max_size=MAX_SIZE,
                    timeout=TIMEOUT,
                    open=True,
                    name="pgjobs",
                )
            return self._pool

    async def _open_async(self) -> psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection]:
        with connecting():
            await (await psycopg.AsyncConnection.connect(self._dsn, connect_timeout=int(TIMEOUT))).close()
        loop = asyncio.get_running_loop()
        if (made_meanwhile := self._async.get(loop)) is not None:
            return made_meanwhile
        pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection] = psycopg_pool.AsyncConnectionPool(
            self._dsn,
            kwargs={"autocommit": True, **KEEPALIVE, "application_name": "pgjobs"},
            min_size=0,
            max_size=MAX_SIZE,
            timeout=TIMEOUT,
            open=False,
            name="pgjobs",
        )
        self._async[loop] = pool
        await pool.open()
        return pool
