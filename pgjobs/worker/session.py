"""A worker's session: the one connection it claims and settles on, made anew when it breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import psycopg

from pgjobs import calls
from pgjobs.async_client import AsyncClient
from pgjobs.connections import OWN, AsyncOwnConnection, AsyncOwnRunner, arun, reason
from pgjobs.settings import CONNECT
from pgjobs.worker.stop import Stop

log = logging.getLogger("pgjobs.worker")

FIRST_PAUSE = 0.1  # seconds between two tries to connect; doubles
LONGEST_PAUSE = 5.0
PAUSE_AT_STOP = 0.2


class Session:
    """Connects and connects again."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: AsyncOwnConnection | None = None

    async def connect(self, check: bool = False) -> AsyncClient:
        """Connect, and return the client for that connection. Raises psycopg.Error; with check, SchemaError."""
        self._connection = await AsyncOwnConnection.connect(
            self._dsn, connect_timeout=10, **OWN, **CONNECT, application_name="pgjobs worker"
        )
        runner = AsyncOwnRunner(self._connection)
        await arun(runner, calls.checked_session() if check else calls.session())
        self.client = AsyncClient(runner)
        return self.client

    async def come_back(
        self, error: Exception, stop: Stop, running: Callable[[], int], unsettled: Callable[[], int],
        meanwhile: Callable[[], None],
    ) -> AsyncClient | None:  # fmt: skip
        """Connect again after this error, and return the new client. Jobs run on meanwhile, their outcomes wait.

        None if there is nothing left that would need one at a stop; the error is raised when its grace is over.
        Arguments: running and unsettled, how many jobs are; meanwhile, called between two tries.
        """
        log.warning("the connection broke (%s); reconnecting", reason(error))
        pause = FIRST_PAUSE
        while True:
            await self.close()
            try:
                return await self.connect()
            except psycopg.Error as again:
                log.warning("no connection yet: %s", reason(again))
            if stop:
                if not running() and not unsettled():
                    return None
                stop.begin(running())
                pause = min(pause, PAUSE_AT_STOP)
            if stop.is_over():
                raise error
            meanwhile()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (asyncio.sleep(pause) if stop else stop.asked.wait())
            pause = min(pause * 2, LONGEST_PAUSE)

    async def close(self) -> None:
        """End the connection, if there is one."""
        if self._connection is not None:
            await self._connection.close()

    async def resign(self, worker: int) -> None:
        """Say goodbye, so that nobody has to wait for the lease to lapse; what is still held is given back."""
        try:
            for _ in range(10):
                if not await self.client.resign(worker):
                    break
        except Exception as error:
            log.warning("could not sign off (%s); the lease will lapse by itself", reason(error))
        log.info("worker %d has left", worker)
