"""Connections of our own, for enqueues and look-ups outside a caller's transaction. Made when first needed, bounded.

psycopg_pool keeps them; here is what it leaves open. A connection that the server ended while it was idle is noticed
before anything is sent on it, without a round trip, and replaced. After that nothing is repeated: an enqueue whose answer
was lost may have been committed, and only the caller knows whether twice is too often.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
import weakref
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pgjobs.connections import OWN, AsyncOwnConnection, OwnConnection, connecting, reason
from pgjobs.errors import ConnectionFailed
from pgjobs.settings import CONNECT

MAX_SIZE = 4  # connections per process and kind; few are needed, for each call is one short statement
TIMEOUT = 10.0  # seconds to wait for one
PORTION = 0.5  # seconds after which who waits looks whether there is a server
MAX_IDLE = 300.0  # seconds after which those that were not needed are closed

Pool = ConnectionPool[OwnConnection]
AsyncPool = AsyncConnectionPool[AsyncOwnConnection]


class Pools:
    """A pool for blocking callers, and one for each event loop that asks."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncPool] = weakref.WeakKeyDictionary()
        self._opening: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    def connection(self) -> AbstractContextManager[OwnConnection]:
        """Lend a connection in autocommit mode.

        Raises ConnectionFailed with the server's reason; also when the connection breaks while it is lent, and then
        what was asked may have been done or not.
        """
        return _Lent(self)

    def async_connection(self) -> AbstractAsyncContextManager[AsyncOwnConnection]:
        """The same as `connection`, for this event loop."""
        return _AsyncLent(self)

    def close(self) -> None:
        """Close the connections for blocking callers."""
        self._leave_parent()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    async def aclose(self) -> None:
        """Close both the connections of this event loop and those for blocking callers."""
        pool = self._async.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()
        self.close()

    def _opened(self) -> Pool:
        if self._pid != os.getpid():
            self._leave_parent()
        pool = self._pool
        if pool is None:
            with self._lock:  # those who come together open one
                pool = self._pool = self._pool or self._open()
        return pool

    async def _async_opened(self) -> AsyncPool:
        self._leave_parent()
        loop = asyncio.get_running_loop()
        pool = self._async.get(loop)
        if pool is None:
            async with self._opening.setdefault(loop, asyncio.Lock()):  # those who come together open one
                pool = self._async.get(loop) or await self._open_async(loop)
        return pool

    def _take(self, pool: Pool) -> OwnConnection:
        with suppress(PoolTimeout):
            connection = pool.getconn(PORTION)  # as a rule there is one
            if not _has_ended(connection):
                return connection
            connection.close()
            pool.putconn(connection)  # which replaces it
        patience = _Patience()
        while True:
            try:
                connection = pool.getconn(patience.portion())
            except PoolTimeout as error:
                if patience.is_over() or _is_empty(pool):
                    with connecting():  # the pool only knows that it waited; a try of our own knows why
                        psycopg.connect(_conninfo(self.dsn)).close()
                if patience.is_over():
                    raise ConnectionFailed(_ALL_IN_USE) from error
                continue
            if not _has_ended(connection) or patience.is_over():
                return connection
            connection.close()
            pool.putconn(connection)  # which replaces it

    async def _take_async(self, pool: AsyncPool) -> AsyncOwnConnection:
        with suppress(PoolTimeout):
            connection = await pool.getconn(PORTION)
            if not _has_ended(connection):
                return connection
            await connection.close()
            await pool.putconn(connection)
        patience = _Patience()
        while True:
            try:
                connection = await pool.getconn(patience.portion())
            except PoolTimeout as error:
                if patience.is_over() or _is_empty(pool):
                    with connecting():
                        await (await psycopg.AsyncConnection.connect(_conninfo(self.dsn))).close()
                if patience.is_over():
                    raise ConnectionFailed(_ALL_IN_USE) from error
                continue
            if not _has_ended(connection) or patience.is_over():
                return connection
            await connection.close()
            await pool.putconn(connection)

    def _open(self) -> Pool:
        conninfo = _conninfo(self.dsn)
        with connecting():  # a wrong DSN fails here at once, with its reason, not after the pool's timeout
            psycopg.connect(conninfo).close()
        return ConnectionPool(
            conninfo, connection_class=OwnConnection, kwargs=OWN, configure=_configure,
            min_size=0, max_size=MAX_SIZE, timeout=TIMEOUT, max_idle=MAX_IDLE, reconnect_timeout=0, open=True, name="pgjobs",
        )  # fmt: skip

    async def _open_async(self, loop: asyncio.AbstractEventLoop) -> AsyncPool:
        conninfo = _conninfo(self.dsn)
        with connecting():
            await (await psycopg.AsyncConnection.connect(conninfo)).close()
        pool: AsyncPool = AsyncConnectionPool(
            conninfo, connection_class=AsyncOwnConnection, kwargs=OWN, configure=_configure_async,
            min_size=0, max_size=MAX_SIZE, timeout=TIMEOUT, max_idle=MAX_IDLE, reconnect_timeout=0, open=False, name="pgjobs",
        )  # fmt: skip
        self._async[loop] = pool
        await pool.open()
        return pool

    def _leave_parent(self) -> None:
        # After a fork the sockets belong to the parent, and the pool's threads do not exist: begin anew, close nothing.
        if self._pid != os.getpid():
            self._of_parent = (self._pool, self._async)
            self._begin()


class _Patience:
    """How long to wait for a connection, a portion at a time.

    After each portion we look whether the server is there at all, and the pool, which gives up a try that failed
    (reconnect_timeout=0), begins another: by itself it would try ever more rarely, for minutes after the server is back.
    """

    def __init__(self) -> None:
        self._until = time.monotonic() + TIMEOUT

    def portion(self) -> float:
        return max(min(self._until - time.monotonic(), PORTION), 0)

    def is_over(self) -> bool:
        return time.monotonic() >= self._until


def _is_empty(pool: Pool | AsyncPool) -> bool:
    """Whether the pool has no connection and tries to make none: it tried, and could not."""
    return pool.get_stats()["pool_size"] == 0


_ALL_IN_USE = f"No connection came free within {TIMEOUT:.0f} s: all {MAX_SIZE} are in use."


class _Lent:
    """A connection of the pool for the time of a block. No generator: every enqueue comes by here."""

    __slots__ = ("_connection", "_pool", "_pools")

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def __enter__(self) -> OwnConnection:
        self._pool = self._pools._opened()
        self._connection = self._pools._take(self._pool)
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        broken = error is not None and _breaking(self._connection, error)
        self._pool.putconn(self._connection)
        if broken:
            raise broken from error


class _AsyncLent:
    """The same in an event loop."""

    __slots__ = ("_connection", "_pool", "_pools")

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    async def __aenter__(self) -> AsyncOwnConnection:
        self._pool = await self._pools._async_opened()
        self._connection = await self._pools._take_async(self._pool)
        return self._connection

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        broken = error is not None and _breaking(self._connection, error)
        await self._pool.putconn(self._connection)
        if broken:
            raise broken from error


def _breaking(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], error: BaseException
) -> ConnectionFailed | None:
    """Return what is known when a connection broke in use; None when it did not."""
    if not isinstance(error, psycopg.Error) or connection.pgconn.status == ConnStatus.OK:
        return None
    return ConnectionFailed(
        f"The connection broke before the database had answered: {reason(error)}."
        " What was asked for may have been done or not."
    )


def _has_ended(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether an idle connection is over. All that can arrive on one is news of its end."""
    if connection.closed:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connection.fileno()], [], [], 0)[0])


def _configure(connection: psycopg.Connection[Any]) -> None:
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED


async def _configure_async(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)


def _conninfo(dsn: str) -> str:
    """Return the DSN with what it leaves open."""
    with connecting():
        given = conninfo_to_dict(dsn)
    defaults = {**CONNECT, "connect_timeout": int(TIMEOUT), "fallback_application_name": "pgjobs"}
    return make_conninfo(**{**defaults, **given, "client_encoding": CONNECT["client_encoding"]})
