"""On which connection a call is run: on the caller's, in whose transaction its jobs then are, or on one of our own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

from pgjobs import settings
from pgjobs.ambient import Ambient
from pgjobs.connections import AsyncPsycopgRunner, AsyncRunner, PsycopgRunner, Runner, async_runner_for, runner_for
from pgjobs.errors import TransactionRequired
from pgjobs.pools import Pools
from pgjobs.waiting import Waiting


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
        self._ambient = Ambient()
        # One variable per app: two apps in a process do not share a transaction.
        self._using: ContextVar[Any] = ContextVar("pgjobs_using", default=_NOTHING_SAID)

    @contextmanager
    def using(self, tx: Any) -> Iterator[None]:
        """Take this connection inside; None: one of our own."""
        token = self._using.set(tx)
        try:
            yield
        finally:
            self._using.reset(token)

    @contextmanager
    def runner(self, tx: Any, enqueues: bool = False) -> Iterator[Runner]:
        """Lend a runner. Raises TransactionRequired if it `enqueues` and may not."""
        tx = tx if tx is not None else self._using.get()
        if tx is _NOTHING_SAID and (ambient := self._ambient.runner(self.pools)) is not None:
            yield ambient
        elif tx is None or tx is _NOTHING_SAID:
            self._check(enqueues, None)
            with self.pools.connection() as connection:
                yield PsycopgRunner(connection)
        else:
            runner = runner_for(tx)
            self._check(enqueues, runner)
            yield runner

    @asynccontextmanager
    async def async_runner(self, tx: Any, enqueues: bool = False) -> AsyncIterator[AsyncRunner]:
        """The same as `runner`, in an event loop, where Django has no transactions."""
        tx = tx if tx is not None else self._using.get()
        if tx is None or tx is _NOTHING_SAID:
            self._check(enqueues, None)
            async with self.pools.async_connection() as connection:
                yield AsyncPsycopgRunner(connection)
        else:
            runner = await async_runner_for(tx)
            self._check(enqueues, runner)
            yield runner

    @property
    def pools(self) -> Pools:
        """Our own connections. Raises ConfigurationError when nobody named a database."""
        with self._making:
            if self._made_pools is None:
                self._made_pools = Pools(settings.dsn(self._dsn))
            return self._made_pools

    @property
    def waiting(self) -> Waiting:
        """Who waits for jobs in this process."""
        pools = self.pools
        with self._making:
            if self._made_waiting is None:
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

    def _check(self, enqueues: bool, runner: Runner | AsyncRunner | None) -> None:
        if enqueues and self._required and (runner is None or not runner.in_transaction()):
            raise TransactionRequired(
                "This app enqueues only inside a transaction (require_tx=True): pass yours as tx=, or enqueue inside"
                " app.using(...), and begin it first if the connection is in autocommit mode."
            )


_NOTHING_SAID = object()
