"""One database for all tests of a file: to make one for each test takes ten times as long as the test.

A file that wants it, or a conftest.py for all files beside it, says `database, dsn = one_database()`. Between two tests the
tables are emptied, ids begin at 1 again, the clock runs as it should, and nobody else is connected; invariants are checked as
everywhere. A test that changes the schema asks for a database of its own: @pytest.mark.usefixtures("own_database").
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pytest_postgresql.janitor import DatabaseJanitor

from tests.sql.by_hand import empty, until

SQL = Path(__file__).parents[2] / "sql"


def one_database() -> tuple[Any, Any]:
    """Return two fixtures: the database, for the tests of a file, and `dsn`, which stands in for that of tests/conftest.py."""

    @pytest.fixture(scope="module")
    def database(server: Any) -> Iterator[str]:
        where = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
        name = f"{server.dbname}_file"
        with DatabaseJanitor(
            **where, dbname=name, template_dbname=server.template_dbname, maintenance_dbname=server.maintenance_dbname
        ):
            yield make_conninfo(**where, dbname=name)

    @pytest.fixture
    def dsn(request: pytest.FixtureRequest) -> Iterator[str]:
        if "own_database" in request.fixturenames:
            own = request.getfixturevalue("own_database")
            yield own
            with psycopg.connect(own, autocommit=True) as connection:
                assert connection.execute("select * from pgjobs.violations").fetchall() == []
            return
        database = request.getfixturevalue("database")
        yield database
        with psycopg.connect(database, autocommit=True) as connection:
            # A session that is closed goes a moment later, and its locks with it.
            until(
                connection,
                "not exists (select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                " and backend_type = 'client backend')",
            )
            violations = connection.execute("select * from pgjobs.violations").fetchall()
            empty(connection)
            connection.execute((SQL / "functions" / "now.sql").read_bytes())
            connection.execute("drop table if exists pgjobs.test_clock")
            assert violations == []

    return database, dsn
