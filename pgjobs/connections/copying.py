"""COPY by the driver's own connection, of each driver that is known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg

from pgjobs.calls import Copy


def by_psycopg(connection: psycopg.Connection[Any], copy: Copy) -> None:
    """Send it by psycopg."""
    with psycopg.Cursor(connection) as cursor, cursor.copy(copy.sql) as stream:
        for block in copy.blocks:
            stream.write(block)


async def by_async_psycopg(connection: psycopg.AsyncConnection[Any], copy: Copy) -> None:
    """Send it by psycopg in an event loop."""
    async with psycopg.AsyncCursor(connection) as cursor, cursor.copy(copy.sql) as stream:
        for block in copy.blocks:
            await stream.write(block)


def by_psycopg2(connection: Any, copy: Copy) -> None:
    """Send it by psycopg2."""
    with connection.cursor() as cursor:
        cursor.copy_expert(copy.sql, _File(copy.blocks))


async def by_asyncpg(connection: Any, copy: Copy) -> None:
    """Send it by asyncpg."""

    async def blocks() -> AsyncIterator[bytes]:
        for block in copy.blocks:
            yield block

    await connection.copy_to_table(
        copy.table, schema_name=copy.schema, columns=copy.columns, source=blocks(), format="text", encoding="UTF8"
    )


class _File:
    """Blocks as a file that is read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        part = self._rest or next(self._blocks, b"")
        self._rest = part[size:]
        return part[:size]
