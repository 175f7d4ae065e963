"""Clocks that tests move: the one that pgjobs decides by in a database, and that of jobs in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from pgjobs.checks import as_timedelta
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner

_MAKE = """
    create table if not exists pgjobs.test_clock (stands_at timestamptz, shift interval not null);
    delete from pgjobs.test_clock;
    insert into pgjobs.test_clock values (null, '0');
    create or replace function pgjobs.now() returns timestamptz language sql volatile
    as 'select coalesce(stands_at, clock_timestamp()) + shift from pgjobs.test_clock'
"""


class Clock:
    """Moves the clock of a throwaway database, for all its sessions; it runs on from where it was moved to.

    Argument: a psycopg connection. In autocommit mode all sessions see the clock move; inside a transaction only that
    transaction does, until it commits. The function pgjobs.now() is replaced, so never do this to a database you keep.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        connection.execute(_MAKE)

    def advance(self, by: timedelta | float) -> None:
        """Move time forward, or back, by seconds or a timedelta."""
        self._connection.execute("update pgjobs.test_clock set shift = shift + %s", (as_timedelta(by),))

    def stop(self, at: datetime | None = None) -> None:
        """Let time stand still, now or at a moment, until it is moved: for what depends on fractions of a second."""
        self._connection.execute(
            "update pgjobs.test_clock set stands_at = coalesce(%s, pgjobs.now()), shift = '0'", (at,)
        )

    def now(self) -> datetime:
        """Return what time it is by this clock."""
        return Client(PsycopgRunner(self._connection)).now()


class MemoryClock:
    """The clock of jobs in memory, with the verbs of `Clock`."""

    def __init__(self) -> None:
        self._stands_at: datetime | None = None
        self._shift = timedelta(0)

    def advance(self, by: timedelta | float) -> None:
        """Move time forward, or back, by seconds or a timedelta."""
        self._shift += as_timedelta(by)

    def stop(self, at: datetime | None = None) -> None:
        """Let time stand still, now or at a moment, until it is moved."""
        self._stands_at, self._shift = at or self.now(), timedelta(0)

    def now(self) -> datetime:
        """Return what time it is by this clock."""
        return (self._stands_at or datetime.now(UTC)) + self._shift
