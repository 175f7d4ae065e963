"""LISTEN -> wake-ups: a connection that hears what enqueuers announce, and proves that it still hears.

NOTIFY is a hint (I9): when this connection is broken or deaf, its owner is told and polls more widely meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import psycopg

from pgjobs import calls
from pgjobs.connections import AsyncPsycopgRunner, arun, reason
from pgjobs.errors import PgjobsError
from pgjobs.settings import CONNECT

log = logging.getLogger("pgjobs.listener")

CHANNEL = "pgjobs"
PROVE_EVERY = 30.0  # seconds of silence after which the connection must prove that it hears
PROVE_WITHIN = 5.0


class Listener:
    """Hears announcements until cancelled.

    Arguments: heard, called with each message; listening, called with True when it hears and False when in doubt.
    """

    def __init__(self, dsn: str, heard: Callable[[Mapping[str, Any]], None], listening: Callable[[bool], None]) -> None:
        self._dsn = dsn
        self._heard = heard
        self._listening = listening
        # A channel of our own for the proof, so that no other listener is woken by it.
        self._echo = f"{CHANNEL}_echo_{uuid.uuid4().hex[:16]}"

    async def run(self) -> None:
        """Listen, and listen again after every trouble, until cancelled."""
        pause = 0.1
        while True:
            try:
                async with await self._connect() as connection:
                    self._listening(True)
                    pause = 0.1
                    await self._listen(connection)
            except (psycopg.Error, OSError, PgjobsError, Deaf) as error:
                log.warning("not listening (%s): polling instead, and trying again", reason(error))
            self._listening(False)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=10, **CONNECT, application_name="pgjobs listener"
        )
        try:
            runner = AsyncPsycopgRunner(connection)
            await arun(runner, calls.session())
            await arun(runner, calls.listen(CHANNEL))
            await arun(runner, calls.listen(self._echo))
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Pass messages on; after a long silence ask for an echo. Raises Deaf when none comes."""
        runner = AsyncPsycopgRunner(connection)
        asked = False
        while True:
            silent = True
            async for message in connection.notifies(timeout=PROVE_WITHIN if asked else PROVE_EVERY):
                silent = False
                if message.channel == self._echo:
                    asked = False
                    break
                with suppress(ValueError, TypeError):  # anybody may NOTIFY; what is not ours is no wake-up
                    content = json.loads(message.payload)
                    if isinstance(content, dict):
                        self._heard(content)
            if silent and asked:
                raise Deaf(f"no echo within {PROVE_WITHIN:.0f} s")
            if silent:
                asked = True
                async with asyncio.timeout(PROVE_WITHIN):
                    await arun(runner, calls.notify(self._echo, ""))


class Deaf(Exception):
    """The connection is open, and nothing is heard on it."""
