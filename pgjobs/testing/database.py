"""Throwaway databases with the schema in them, each a copy of a template that is migrated once."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgjobs.app import App
from pgjobs.connections import connecting
from pgjobs.testing.stand_in import swapped


class Databases:
    """Databases for tests on one server.

    Arguments: dsn, of any database there, as a role that may create others; prepare, called once with the DSN of the
    template after it was migrated, to put tables of your own into every database. Several processes may use one server
    at once. Raises ConnectionFailed.
    """

    def __init__(self, dsn: str, prepare: Callable[[str], Any] | None = None) -> None:
        from pgjobs import schema  # and with it Alembic, which is nothing for those who test in memory

        self._dsn = dsn
        self._prefix = f"pgjobs_test_{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        with connecting():
            self._admin = psycopg.connect(dsn, autocommit=True)
        self._template = f"{self._prefix}_template"
        # From template0, so that it is UTF-8 whatever the server's own template is.
        self._do("create database {} template template0 encoding 'UTF8' locale 'C'", self._template)
        try:
            schema.migrate(self._of(self._template))
            if prepare is not None:
                prepare(self._of(self._template))
        except BaseException:
            self.close()
            raise

    @contextmanager
    def database(self) -> Iterator[str]:
        """Lend the DSN of a new database, which is dropped after the block, whoever is still connected to it."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self._do("create database {} template {}", name, self._template)
        try:
            yield self._of(name)
        finally:
            self._drop(name)

    def close(self) -> None:
        """Drop the template."""
        self._drop(self._template)
        self._admin.close()

    def _of(self, name: str) -> str:
        return make_conninfo(self._dsn, dbname=name)

    def _drop(self, name: str) -> None:
        self._do("drop database if exists {} with (force)", name)

    def _do(self, statement: Any, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def on_database(app: App, dsn: str) -> Iterator[App]:
    """Put an app on another database for the time of the block."""
    with swapped(app, app._transactions.on(dsn)):
        yield app
