"""`pgjobs migrate` and `pgjobs sql`."""

from __future__ import annotations

import psycopg

from tests.cli.conftest import Cli


def test_migrate_makes_the_schema_and_finds_nothing_to_do_the_second_time(cli: Cli, empty: str) -> None:
    due = cli("migrate", "--check", "--dsn", empty)
    assert due.exit_code == 1
    assert "A migration is due" in due.stdout
    made = cli("migrate", "--dsn", empty)
    assert made.exit_code == 0
    assert made.stdout.startswith("Made the schema pgjobs at revision ")
    again = cli("migrate", "--dsn", empty)
    assert again.exit_code == 0
    assert "up to date" in again.stdout
    checked = cli("migrate", "--check", "--dsn", empty)
    assert checked.exit_code == 0
    assert "up to date" in checked.stdout
    assert cli("enqueue", "x", "--dsn", empty).exit_code == 0


def test_check_changes_nothing(cli: Cli, empty: str) -> None:
    cli("migrate", "--check", "--dsn", empty)
    with psycopg.connect(empty) as connection:
        assert connection.execute("select to_regnamespace('pgjobs')").fetchone() == (None,)


def test_sql_is_a_script_that_needs_no_database_and_makes_one(cli: Cli, empty: str) -> None:
    result = cli("sql")
    assert (result.exit_code, result.stderr) == (0, "")
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(result.stdout)
    assert cli("status", "--dsn", empty).exit_code == 0
    assert cli("migrate", "--check", "--dsn", empty).exit_code == 0
