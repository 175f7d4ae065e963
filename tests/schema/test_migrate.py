"""pgjobs.schema.migrate and check: from nothing, again, all at once, and in sessions with odd defaults."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import copytree

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgjobs import schema
from pgjobs.errors import ConnectionFailed, SchemaError, SchemaTooNew
from pgjobs.schema import Migration
from tests.conftest import Connection

Dump = Callable[[str], str]

HEAD = schema.head()


def test_an_empty_database_gets_the_schema_and_can_be_used(empty: str, db: Connection) -> None:
    done = schema.migrate(empty)
    assert done == Migration(None, HEAD)
    assert done.changed
    assert db.execute("select pgjobs.enqueue('t')").fetchone() == (1,)
    assert db.execute("select * from pgjobs.violations").fetchall() == []
    assert db.execute("select version_num from pgjobs.schema_revision").fetchall() == [(HEAD,)]


def test_nothing_is_made_outside_the_schema(empty: str, db: Connection) -> None:
    objects = (
        "select relname from pg_class where relnamespace <> 'pg_toast'::regnamespace"
        " and relnamespace <> coalesce(to_regnamespace('pgjobs'), 0) order by 1"
    )
    before = db.execute(objects).fetchall()
    schema.migrate(empty)
    assert db.execute(objects).fetchall() == before


def test_a_second_migration_finds_nothing_to_do(empty: str, dump: Dump) -> None:
    schema.migrate(empty)
    before = dump(empty)
    again = schema.migrate(empty)
    assert again == Migration(HEAD, HEAD)
    assert not again.changed
    assert dump(empty) == before


def test_jobs_survive_a_migration(empty: str, db: Connection) -> None:
    schema.migrate(empty)
    db.execute("select pgjobs.enqueue('t', queue => 'kept')")
    before = db.execute("select * from pgjobs.jobs").fetchall()
    schema.migrate(empty)
    assert db.execute("select * from pgjobs.jobs").fetchall() == before


def test_of_five_at_once_one_makes_the_schema_and_the_others_find_it(empty: str) -> None:
    start = threading.Barrier(5)

    def migrate() -> Migration:
        start.wait()
        return schema.migrate(empty)

    with ThreadPoolExecutor(5) as threads:
        done = [each.result() for each in [threads.submit(migrate) for _ in range(5)]]
    assert sorted(done, key=str) == [Migration(HEAD, HEAD)] * 4 + [Migration(None, HEAD)]


def test_who_waits_for_another_migration_outlasts_the_timeouts_of_its_role(empty: str, db: Connection) -> None:
    for setting in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
        set_default(db, setting, "20ms")
    with psycopg.connect(empty) as other, ThreadPoolExecutor(1) as thread:
        other.execute("set local idle_in_transaction_session_timeout = 0")
        other.execute("select pg_advisory_xact_lock(%s)", (schema.LOCK_KEY,))
        done = thread.submit(schema.migrate, empty)
        while not db.execute("select from pg_locks where locktype = 'advisory' and not granted").rowcount:
            assert not done.done()
        db.execute("set statement_timeout = 0")
        db.execute("select pg_sleep(0.1)")  # not to meet somebody, but to let the timeouts pass
        other.rollback()
        assert done.result() == Migration(None, HEAD)


def set_default(db: Connection, setting: str, value: str) -> None:
    """Set what new sessions of this database begin with, as one would for a role."""
    database = sql.Identifier(db.info.dbname)
    db.execute(sql.SQL("alter database {} set {} = {}").format(database, sql.Identifier(setting), sql.Literal(value)))


def test_odd_defaults_of_a_role_make_no_difference(new_database: Callable[[], str], dump: Dump) -> None:
    plain, odd = new_database(), new_database()
    with psycopg.connect(odd, autocommit=True) as db:
        for setting, value in {
            "default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
            "default_transaction_deferrable": "on", "search_path": "", "standard_conforming_strings": "off",
            "escape_string_warning": "off", "check_function_bodies": "off", "DateStyle": "German", "TimeZone": "Asia/Kathmandu",
            "IntervalStyle": "sql_standard", "client_encoding": "LATIN1", "quote_all_identifiers": "on", "jit_above_cost": "0",
        }.items():  # fmt: skip
            set_default(db, setting, value)
    schema.migrate(plain)
    assert schema.check(odd) == Migration(None, HEAD)
    assert schema.migrate(odd) == Migration(None, HEAD)
    assert schema.migrate(odd) == Migration(HEAD, HEAD)
    with psycopg.connect(odd, autocommit=True) as db:
        db.execute("set default_transaction_read_only = off")
        db.execute(sql.SQL("alter database {} reset all").format(sql.Identifier(db.info.dbname)))
    assert dump(odd) == dump(plain)


def test_a_function_of_the_users_own_does_not_stand_in_for_one_of_postgres(empty: str, db: Connection) -> None:
    """A search path may put a schema before the built-in functions."""
    db.execute("create schema mine")
    db.execute("create function mine.length(text) returns integer immutable language sql as 'select 0'")
    db.execute(
        "create function mine.clock_timestamp() returns timestamptz language sql as $$select 'epoch'::timestamptz$$"
    )
    set_default_path(db, "mine, pg_catalog")
    schema.migrate(empty)
    row = db.execute("select pgjobs.enqueue('t'), pgjobs.now() > '2020-01-01'").fetchone()
    assert row == (1, True)


def set_default_path(db: Connection, path: str) -> None:
    db.execute(sql.SQL("alter database {} set search_path = {}").format(sql.Identifier(db.info.dbname), sql.SQL(path)))


def test_a_check_tells_what_is_due_and_changes_nothing(empty: str, db: Connection, dump: Dump) -> None:
    assert schema.check(empty) == Migration(None, HEAD)
    assert schema.check(empty).changed
    assert db.execute("select to_regnamespace('pgjobs')").fetchone() == (None,)

    schema.migrate(empty)
    db.execute("drop view pgjobs.violations")
    before = dump(empty)
    assert schema.check(empty) == Migration(HEAD, HEAD)
    assert not schema.check(empty).changed
    assert dump(empty) == before


def test_functions_and_views_that_somebody_changed_or_dropped_are_as_they_were(
    empty: str, db: Connection, dump: Dump
) -> None:
    schema.migrate(empty)
    before = dump(empty)
    db.execute("create or replace function pgjobs.now() returns timestamptz language sql as 'select now()'")
    db.execute("comment on function pgjobs.now() is 'changed'")
    db.execute("alter function pgjobs.renew_v1 reset all")
    db.execute("drop function pgjobs.prune_v1, pgjobs.waits")
    db.execute("drop view pgjobs.queue_overview")
    db.execute("drop trigger announce on pgjobs.jobs")
    assert dump(empty) != before
    schema.migrate(empty)
    assert dump(empty) == before


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """Be a version to come: with newer(). It has a revision more, which adds a column, and a function that reads it."""
    for name in ("migrations", "sql"):
        copytree(schema._folder(name), tmp_path / name)
    (tmp_path / "migrations" / "versions" / "9999_more.py").write_text(
        f"from alembic import op\nrevision = '9999'\ndown_revision = '{HEAD}'\n"
        "def upgrade() -> None:\n    op.execute('alter table pgjobs.jobs add column more text')\n"
    )
    (tmp_path / "sql" / "functions" / "more.sql").write_text(
        "create or replace function pgjobs.more(bigint) returns text language sql stable\n"
        "as 'select more from pgjobs.jobs where id = $1';\n"
    )

    @contextmanager
    def newer() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(schema, "_folder", lambda name: tmp_path / name)
            yield

    return newer


def test_a_schema_that_is_behind_becomes_what_one_made_anew_is(
    new_database: Callable[[], str], dump: Dump, newer: Callable[[], AbstractContextManager[None]]
) -> None:
    step_by_step, at_once = new_database(), new_database()
    schema.migrate(step_by_step)
    with psycopg.connect(step_by_step) as connection:
        connection.execute("select pgjobs.enqueue('t')")
    with newer():
        assert schema.check(step_by_step) == Migration(HEAD, "9999")
        assert schema.migrate(step_by_step) == Migration(HEAD, "9999")
        assert schema.migrate(at_once) == Migration(None, "9999")
    assert dump(step_by_step) == dump(at_once)
    with psycopg.connect(step_by_step) as connection:
        assert connection.execute("select id, pgjobs.more(id) from pgjobs.jobs").fetchall() == [(1, None)]


def test_a_schema_that_a_newer_pgjobs_made_is_refused_and_left_alone(
    empty: str, dump: Dump, newer: Callable[[], AbstractContextManager[None]]
) -> None:
    with newer():
        schema.migrate(empty)
    before = dump(empty)
    for verb in (schema.migrate, schema.check):
        with pytest.raises(SchemaTooNew, match=r"is at revision 9999, which pgjobs .* does not know: .*\.$"):
            verb(empty)
    assert dump(empty) == before


def test_what_fails_half_way_leaves_nothing_behind(
    empty: str, db: Connection, newer: Callable[[], AbstractContextManager[None]], tmp_path: Path
) -> None:
    (tmp_path / "sql" / "functions" / "zero.sql").write_text("create function pgjobs.zero() returns int as 'nonsense';")
    with newer(), pytest.raises(SchemaError, match=r"nothing was changed \(sql/functions/zero\.sql\): no language"):
        schema.migrate(empty)
    assert db.execute("select to_regnamespace('pgjobs')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("stranger", "named"),
    [
        ("create table pgjobs.jobs (n integer)", "table jobs"),
        ("create table pgjobs.schema_revision (version_num text); create table pgjobs.jobs (n integer)", "table jobs"),
        ("create view pgjobs.overview as select 1 as one", "view overview"),
        ("create function pgjobs.now() returns timestamptz language sql as 'select clock_timestamp()'", "function now"),
    ],
    ids=["table", "empty schema_revision", "view", "function"],
)
def test_a_schema_of_this_name_that_is_not_ours_is_refused_and_left_alone(
    stranger: str, named: str, empty: str, db: Connection, tool: Callable[..., str]
) -> None:
    db.execute("create schema pgjobs")
    db.execute(stranger)
    before = db.execute(EVERYTHING).fetchall()
    for verb in (schema.migrate, schema.check):
        with pytest.raises(SchemaError, match=rf"a {named} that pgjobs did not make: .*\.$") as caught:
            verb(empty)
        assert type(caught.value) is SchemaError
    assert db.execute(EVERYTHING).fetchall() == before


EVERYTHING = (
    "select relname::text from pg_class where relnamespace = 'pgjobs'::regnamespace"
    " union all select prosrc from pg_proc where pronamespace = 'pgjobs'::regnamespace order by 1"
)


def test_an_empty_schema_that_is_there_is_used(empty: str, db: Connection) -> None:
    db.execute("create schema pgjobs")
    assert schema.check(empty) == Migration(None, HEAD)
    assert schema.migrate(empty) == Migration(None, HEAD)


# Rights


def test_a_role_that_may_not_make_a_schema_is_told_what_to_ask_for(stranger: str, db: Connection) -> None:
    told = r"permission denied for database \S+\): migrate as the owner .*`create schema pgjobs authorization ROLE`\.$"
    with pytest.raises(SchemaError, match=told):
        schema.migrate(stranger)
    assert db.execute("select to_regnamespace('pgjobs')").fetchone() == (None,)


def test_a_role_that_was_given_the_schema_needs_no_other_right(stranger: str, db: Connection, dump: Dump) -> None:
    db.execute(sql.SQL("create schema pgjobs authorization {}").format(sql.Identifier(role_of(stranger))))
    assert schema.migrate(stranger) == Migration(None, HEAD)
    by_migrate = dump(stranger)
    db.execute("drop schema pgjobs cascade")
    db.execute(sql.SQL("create schema pgjobs authorization {}").format(sql.Identifier(role_of(stranger))))
    with psycopg.connect(stranger, autocommit=True) as connection:
        connection.execute(schema.render())
    assert dump(stranger) == by_migrate


def role_of(dsn: str) -> str:
    return str(conninfo_to_dict(dsn)["user"])


def test_a_role_that_does_not_own_the_schema_may_check_but_not_migrate(
    stranger: str, empty: str, db: Connection, dump: Dump
) -> None:
    schema.migrate(empty)
    with pytest.raises(SchemaError, match=r"permission denied for schema pgjobs\): .*\.$"):
        schema.check(stranger)
    role = sql.Identifier(role_of(stranger))
    db.execute(sql.SQL("grant usage on schema pgjobs to {}").format(role))
    db.execute(sql.SQL("grant select on pgjobs.schema_revision to {}").format(role))
    before = dump(empty)
    assert schema.check(stranger) == Migration(HEAD, HEAD)
    with pytest.raises(SchemaError, match=r"must be owner of function \w+\)|permission denied for schema pgjobs\)"):
        schema.migrate(stranger)
    assert dump(empty) == before


# The connection


def test_a_server_that_does_not_answer_is_reported_in_one_sentence() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and nobody listens
        dsn = f"host=127.0.0.1 port={nobody.getsockname()[1]} user=postgres"
        for verb in (schema.migrate, schema.check):
            with pytest.raises(ConnectionFailed) as caught:
                verb(dsn)
            assert re.fullmatch(r"The database cannot be reached: [^\n]*Connection refused[^\n]*\.", str(caught.value))


@pytest.mark.parametrize("dsn", ["nonsense", "postgresql://[", "host=127.0.0.1 colour=blue"])
def test_a_dsn_that_is_none_is_reported_in_one_sentence(dsn: str) -> None:
    with pytest.raises(ConnectionFailed, match=r"^The DSN cannot be read[^\n]*\.$"):
        schema.migrate(dsn)


def test_a_database_that_does_not_exist_is_reported_in_one_sentence(empty: str) -> None:
    with pytest.raises(ConnectionFailed, match=r'^The database cannot be reached: [^\n]*"nowhere" does not exist\.$'):
        schema.migrate(make_conninfo(empty, dbname="nowhere"))


def test_a_connection_that_breaks_is_reported_and_leaves_nothing_behind(empty: str, db: Connection) -> None:
    waiting = "select pid from pg_locks where locktype = 'advisory' and not granted"
    with psycopg.connect(empty) as other, ThreadPoolExecutor(1) as thread:
        other.execute("select pg_advisory_xact_lock(%s)", (schema.LOCK_KEY,))
        done = thread.submit(schema.migrate, empty)
        while not db.execute(waiting).rowcount:
            assert not done.done()
        db.execute(f"select pg_terminate_backend(pid) from ({waiting}) w")
        with pytest.raises(ConnectionFailed, match=r"^The connection broke before the migration was done: [^\n]*\.$"):
            done.result()
    assert db.execute("select to_regnamespace('pgjobs')").fetchone() == (None,)
    assert schema.migrate(empty) == Migration(None, HEAD)


def test_a_database_that_is_not_utf_8_is_refused(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("create database latin template template0 encoding 'LATIN1' locale 'C' locale_provider libc")
        try:
            with pytest.raises(SchemaError, match="encoded in LATIN1"):
                schema.migrate(make_conninfo(empty, dbname="latin"))
        finally:
            connection.execute("drop database latin")
