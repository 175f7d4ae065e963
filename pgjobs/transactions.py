"""On which connection a call is run: on the caller's, in whose transaction its jobs then are, or on one of our own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pgjobs import settings
from pgjobs.ambient import Ambient
from pgjobs.async_client import AsyncClient
from pgjobs.client import Client
from pgjobs.connections import (
    AsyncOwnConnection,
    AsyncOwnRunner,
    AsyncRunner,
    OwnConnection,
    OwnRunner,
    Runner,
    async_runner_for,
    runner_for,
)
from pgjobs.errors import TransactionRequired

# When they are first needed: a worker whose handlers enqueue nothing does without.
if TYPE_CHECKING:
    from pgjobs.pools import Pools
    from pgjobs.waiting import Waiting

log = logging.getLogger("pgjobs")


class Transactions:
    """Finds the connection: what the call names, else what `using` does, else Django's atomic, else one of our own.

    Arguments: dsn, as the app was given it; required, whether to refuse enqueues outside of a transaction.
    """

    def __init__(self, dsn: str | None, required: bool) -> None:
        self._dsn = dsn
        self._required = required
        self._made_pools: Pools | None = None
        self._made_waiting: Waiting | None = None
        self._making = threading.Lock()
        self.turn = threading.Lock()  # of whoever gathers jobs while it writes others; see pgjobs.gathering
        self._ambient = Ambient()
        self._told_that_it_blocks = False
        # One variable per app: two apps in a process do not share a transaction.
        self._using: ContextVar[Any] = ContextVar("pgjobs_using", default=_NOTHING_SAID)

    def on(self, dsn: str) -> Transactions:
        """Return the same on another database."""
        return Transactions(dsn, self._required)

    @property
    def dsn(self) -> str:
        """The DSN in use. Raises ConfigurationError when nobody named one."""
        return settings.dsn(self._dsn)

    @contextmanager
    def using(self, tx: Any) -> Iterator[None]:
        """Take this connection inside; None: one of our own."""
        token = self._using.set(tx)
        try:
            yield
        finally:
            self._using.reset(token)

    def client(self, tx: Any, *, enqueues: bool = False) -> AbstractContextManager[Client]:
        """Lend a client on such a connection. Raises TransactionRequired if it `enqueues` and may not."""
        return _Lent(self, tx, enqueues)

    def async_client(self, tx: Any, *, enqueues: bool = False) -> AbstractAsyncContextManager[AsyncClient]:
        """The same as `client`, in an event loop."""
        return _AsyncLent(self, tx, enqueues)

    def _runner(self, tx: Any, enqueues: bool) -> Runner | None:
        """Return the runner for the connection that is meant, None for one of our own."""
        tx = tx if tx is not None else self._using.get()
        if tx is _NOTHING_SAID and (ambient := self._ambient.runner(self.pools)) is not None:
            return ambient
        runner = None if tx is None or tx is _NOTHING_SAID else runner_for(tx)
        self._check(enqueues, runner)
        if runner is None:
            self._tell_that_it_blocks()
        return runner

    async def _async_runner(self, tx: Any, enqueues: bool) -> AsyncRunner | None:
        """The same as `_runner`, in an event loop, where Django has no transactions."""
        tx = tx if tx is not None else self._using.get()
        runner = None if tx is None or tx is _NOTHING_SAID else await async_runner_for(tx)
        self._check(enqueues, runner)
        return runner

    @property
    def pools(self) -> Pools:
        """Our own connections. Raises ConfigurationError when nobody named a database."""
        if (made := self._made_pools) is not None:
            return made
        with self._making:
            if self._made_pools is None:
                from pgjobs.pools import Pools

                self._made_pools = Pools(self.dsn)
            return self._made_pools

    @property
    def waiting(self) -> Waiting:
        """Who waits for jobs in this process."""
        pools = self.pools
        with self._making:
            if self._made_waiting is None:
                from pgjobs.waiting import Waiting

                self._made_waiting = Waiting(pools)
            return self._made_waiting

    def close(self) -> None:
        """Close the connections for blocking callers, and that of those who wait."""
        if self._made_waiting is not None:
            self._made_waiting.close()
        if self._made_pools is not None:
            self._made_pools.close()

    async def aclose(self) -> None:
        """Close these, and the connections of this event loop."""
        if self._made_waiting is not None:
            await asyncio.to_thread(self._made_waiting.close)
        if self._made_pools is not None:
            await self._made_pools.aclose()

    def _tell_that_it_blocks(self) -> None:
        """Say, once, when a call that blocks is made in an event loop."""
        if self._told_that_it_blocks or asyncio._get_running_loop() is None:
            return
        self._told_that_it_blocks = True
        log.warning(
            "a blocking call in an event loop stops everything else there: use the one with an a, like `await task.aenqueue(...)`"
        )

    def _check(self, enqueues: bool, runner: Runner | AsyncRunner | None) -> None:
        if enqueues and self._required and (runner is None or not runner.in_transaction()):
            raise TransactionRequired(
                "This app enqueues only inside a transaction (require_tx=True): pass yours as tx=, or enqueue inside"
                " app.using(...), and begin it first if the connection is in autocommit mode."
            )


class _Lent:
    """A client for the time of a block. No generator: what is here is most of what an enqueue costs outside of the driver."""

    __slots__ = ("_enqueues", "_own", "_transactions", "_tx")

    def __init__(self, transactions: Transactions, tx: Any, enqueues: bool) -> None:
        self._transactions, self._tx, self._enqueues = transactions, tx, enqueues
        self._own: AbstractContextManager[OwnConnection] | None = None

    def __enter__(self) -> Client:
        runner = self._transactions._runner(self._tx, self._enqueues)
        if runner is not None:
            return Client(runner)
        self._own = self._transactions.pools.connection()
        return Client(OwnRunner(self._own.__enter__()), ours=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._own is not None:
            self._own.__exit__(kind, error, traceback)


class _AsyncLent:
    """The same in an event loop."""

    __slots__ = ("_enqueues", "_own", "_transactions", "_tx")

    def __init__(self, transactions: Transactions, tx: Any, enqueues: bool) -> None:
        self._transactions, self._tx, self._enqueues = transactions, tx, enqueues
        self._own: AbstractAsyncContextManager[AsyncOwnConnection] | None = None

    async def __aenter__(self) -> AsyncClient:
        runner = await self._transactions._async_runner(self._tx, self._enqueues)
        if runner is not None:
            return AsyncClient(runner)
        self._own = self._transactions.pools.async_connection()
        return AsyncClient(AsyncOwnRunner(await self._own.__aenter__()), ours=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._own is not None:
            await self._own.__aexit__(kind, error, traceback)


_NOTHING_SAID = object()
