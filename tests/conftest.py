"""A real PostgreSQL for every test: its own database, made from a template that is migrated once.

The server is the embedded one, or the one that PGJOBS_TEST_DSN names (its role must be allowed to create databases).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pytest_postgresql import factories

import pgjobs
from pgjobs import schema
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.testing import Clock as Clock

Connection = psycopg.Connection[tuple[Any, ...]]

_server: EmbeddedPostgres | None = None


def pytest_configure(config: pytest.Config) -> None:
    global _server
    if sys.dont_write_bytecode and config.pluginmanager.has_plugin("cacheprovider"):
        # Programs that tests start would compile all they import, each time. They share what the first ones compile, in
        # pytest's own cache, since beside the sources nothing is to be written.
        assert config.cache is not None
        os.environ["PYTHONPYCACHEPREFIX"] = str(config.cache.mkdir("compiled"))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        # Children by multiprocessing inherit that they write nothing: what they import is there before.
        needed = (
            "pgjobs.public, pgjobs.supervised, pgjobs.schema, pgjobs.cli.worker, pgjobs.testing, multiprocessing.spawn"
        )
        subprocess.run([sys.executable, "-c", f"import {needed}"], check=True, cwd=config.rootpath)
    if not os.environ.get("PGJOBS_TEST_DSN"):
        # Tests lose nothing when the machine does: no fsync. Everything else as in production.
        settings = {"fsync": "off", "max_connections": "200", "max_prepared_transactions": "10"}
        _server = EmbeddedPostgres(settings=settings)
        os.environ["PGJOBS_TEST_DSN"] = _server.start()
    server = conninfo_to_dict(os.environ["PGJOBS_TEST_DSN"])
    config.option.postgresql_host = server.get("host", "127.0.0.1")
    config.option.postgresql_port = str(server.get("port", 5432))
    config.option.postgresql_user = server.get("user", "postgres")
    config.option.postgresql_password = server.get("password")
    config.option.postgresql_dbname = f"pgjobs_{os.getpid()}"


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server is not None:
        _server.stop(immediate=True)
        del os.environ["PGJOBS_TEST_DSN"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.markexpr:
        short = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = short


def _load(host: str, port: int, user: str, dbname: str, password: str | None, **_: Any) -> None:
    schema.migrate(make_conninfo(host=host, port=port, user=user, dbname=dbname, password=password))


server = factories.postgresql_noproc(load=[_load])
postgresql = factories.postgresql("server")


@pytest.fixture
def dsn(own_database: str) -> Iterator[str]:
    """A database of this test's own with the schema in it. At the end no invariant may be broken."""
    yield own_database
    with psycopg.connect(own_database, autocommit=True) as connection:
        assert connection.execute("select * from pgjobs.violations").fetchall() == []


@pytest.fixture
def own_database(postgresql: Connection) -> str:
    """A database that no other test sees, where those of a file share one; see tests/sql/one_database.py."""
    info = postgresql.info
    return make_conninfo(host=info.host, port=info.port, user=info.user, dbname=info.dbname, password=info.password)


@pytest.fixture
def connect(dsn: str) -> Iterator[Callable[..., Connection]]:
    """Open a connection to the test's database: connect() in autocommit mode, or connect(autocommit=False)."""
    with ExitStack() as stack:

        def connect(autocommit: bool = True) -> Connection:
            connection: Connection = psycopg.connect(dsn, autocommit=autocommit)
            stack.callback(connection.close)
            return connection

        yield connect


@pytest.fixture
def db(connect: Callable[..., Connection]) -> Connection:
    """A connection in autocommit mode."""
    return connect()


@pytest.fixture
def clock(db: Connection) -> Clock:
    """A clock that the test moves: clock.advance(timedelta(minutes=5))."""
    return Clock(db)


@pytest.fixture
def app(dsn: str) -> Iterator[pgjobs.App]:
    """An app on the test's database."""
    app = pgjobs.App(dsn)
    yield app
    app.close()
