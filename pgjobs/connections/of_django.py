"""Django's connections, on psycopg and psycopg2. Nothing imports Django: who has a connection of it has done so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg

from pgjobs.calls import Copy, Rows
from pgjobs.connections.copying import by_psycopg, by_psycopg2
from pgjobs.connections.runner import Runner
from pgjobs.errors import ConfigurationError, TransactionFailed


class DjangoRunner:
    """A DatabaseWrapper, or the proxy `django.db.connection` of one."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        if self.connection.needs_rollback:
            raise TransactionFailed(TransactionFailed.WHAT_TO_DO)
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description is not None else ()

    def in_transaction(self) -> bool:
        return bool(self.connection.in_atomic_block or not self.connection.get_autocommit())

    def place(self) -> tuple[str, str, str]:
        """Return host, port and name of the database, as its open connection knows them."""
        info = self.connection.connection.info
        return str(info.host), str(info.port), str(info.dbname)

    def transaction(self) -> AbstractContextManager[Any]:
        block: AbstractContextManager[Any] = sys.modules["django.db.transaction"].atomic(using=self.connection.alias)
        return block

    def is_alone(self) -> bool:
        return not self.in_transaction()

    def can_copy(self) -> bool:
        return True

    def copy(self, copy: Copy) -> None:
        # What Django's cursors do around a statement: raise its own errors.
        driver = self.connection.connection
        with self.connection.wrap_database_errors:
            if isinstance(driver, psycopg.Connection):
                by_psycopg(driver, copy)
            else:
                by_psycopg2(driver, copy)


def runner(tx: Any) -> Runner | None:
    """Return the runner for a connection of Django's, or None for anything else."""
    if not _is_connection(tx):
        return None
    if tx.vendor != "postgresql":
        raise ConfigurationError(f"A Django connection to {tx.vendor} cannot carry jobs: they live in PostgreSQL.")
    return DjangoRunner(tx)


def refuse(tx: Any) -> None:
    """Raise ConfigurationError for a connection of Django's in an event loop."""
    if _is_connection(tx):
        raise ConfigurationError(
            "A Django connection would block the event loop: enqueue in a function that `sync_to_async` runs."
        )


def open_transactions() -> Iterator[DjangoRunner]:
    """Return the transactions that `atomic` has open on PostgreSQL in this thread."""
    django, conf = sys.modules.get("django.db"), sys.modules.get("django.conf")
    if django is None or conf is None or not conf.settings.configured:
        return
    for connection in django.connections.all(initialized_only=True):
        if connection.in_atomic_block and connection.vendor == "postgresql":
            yield DjangoRunner(connection)


def _is_connection(tx: Any) -> bool:
    return "django.db" in sys.modules and all(
        hasattr(tx, name) for name in ("vendor", "in_atomic_block", "settings_dict")
    )
