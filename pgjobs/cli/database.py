"""The database a command is about: which one it is, and one connection to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from pgjobs import calls, settings
from pgjobs.cli.apps import find_app
from pgjobs.cli.target import Target
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner, connecting, run
from pgjobs.errors import ConfigurationError


def dsn_of(target: Target) -> str:
    """Return the DSN: --dsn, else the app's own, else what the environment or pyproject.toml say.

    The app is asked whenever one is named, so that every command looks at the database that its workers work on.
    """
    if target.dsn is not None:
        return settings.dsn(target.dsn)
    try:
        app = find_app(target)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} With --dsn this command does without the app.") from error
    return settings.dsn() if app is None else app.dsn


@contextmanager
def connected(target: Target) -> Iterator[Client]:
    """Lend a client in autocommit mode. Raises ConnectionFailed, or a SchemaError when the schema does not fit."""
    with connection_to(target) as connection:
        yield Client(PsycopgRunner(connection))


@contextmanager
def connection_to(target: Target) -> Iterator[psycopg.Connection]:
    """Lend the connection itself, in autocommit mode. Raises as `connected` does."""
    dsn = dsn_of(target)
    with connecting():
        connection = psycopg.connect(
            dsn, autocommit=True, connect_timeout=10, client_encoding="UTF8", application_name="pgjobs"
        )
    with closing(connection):
        runner = PsycopgRunner(connection)
        run(runner, calls.session())
        run(runner, calls.check_schema())
        yield connection
