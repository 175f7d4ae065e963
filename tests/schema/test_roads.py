"""Two roads, one database: `pgjobs sql` through psql, and `pgjobs migrate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import psycopg
import pytest

from pgjobs import schema
from pgjobs.schema import Migration

NewDatabase = Callable[[], str]
Dump = Callable[[str], str]
Tool = Callable[..., str]

PSQL = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-")


def test_the_script_makes_the_same_database_as_migrate(new_database: NewDatabase, dump: Dump, tool: Tool) -> None:
    by_migrate, by_psql, by_driver = new_database(), new_database(), new_database()
    schema.migrate(by_migrate)
    tool("psql", *PSQL, by_psql, input=schema.render())
    with psycopg.connect(by_driver, autocommit=True) as connection:
        connection.execute(schema.render())
    assert dump(by_psql) == dump(by_migrate)
    assert dump(by_driver) == dump(by_migrate)
    # And each road can go on where the other ended.
    assert schema.migrate(by_psql) == Migration(schema.head(), schema.head())
    assert dump(by_psql) == dump(by_migrate)


def test_the_dump_that_the_roads_are_compared_by_shows_what_matters(empty: str, dump: Dump) -> None:
    schema.migrate(empty)
    changes = [
        "alter table pgjobs.jobs alter column wake set default false",
        "alter table pgjobs.jobs add column more text",
        "alter table pgjobs.jobs alter column more type integer using 1",
        "alter table pgjobs.jobs drop constraint jobs_queue_named",
        "alter table pgjobs.jobs set (fillfactor = 77)",
        "alter table pgjobs.jobs set (toast.autovacuum_vacuum_threshold = 77)",
        "alter table pgjobs.job_history_07 set (fillfactor = 77)",
        "alter function pgjobs.claim_v1 set work_mem = '77kB'",
        "create or replace view pgjobs.running_jobs as select 1::bigint as id",
        "comment on column pgjobs.jobs.run is 'changed'",
        "comment on function pgjobs.now() is 'changed'",
        "drop index pgjobs.jobs_running",
        "drop trigger announce on pgjobs.jobs",
        "update pgjobs.schema_revision set version_num = '0000'",
    ]
    before = dump(empty)
    with psycopg.connect(empty, autocommit=True) as connection:
        for change in changes:
            if "view" in change:
                connection.execute("drop view pgjobs.running_jobs")
            connection.execute(change)
            after = dump(empty)
            assert after != before, change
            before = after


def test_the_script_changes_nothing_where_the_schema_is_already(empty: str, dump: Dump, tool: Tool) -> None:
    schema.migrate(empty)
    with psycopg.connect(empty) as connection:
        connection.execute("select pgjobs.enqueue('t')")
    before = dump(empty)
    tool("psql", "--no-psqlrc", "--quiet", "--file=-", empty, input=schema.render())  # goes on after errors
    assert dump(empty) == before
    with psycopg.connect(empty) as connection:
        assert connection.execute("select count(*) from pgjobs.jobs").fetchone() == (1,)


# What drivers, Alembic and psql each take for something else when it stands in a function.
TRAPS = r"""
create or replace function pgjobs.traps(p_name text) returns text
language plpgsql
as $body$
begin
    -- 100% of :names, %s and %(name)s, ${var}, \set and {braces}; don't mind the quote; COMMIT;
    return format('%s is 50%% of :name, :"name", :''name'' and %%(name)s at 12:30:45', p_name)
        || E'\ttab' || '\not an escape' || (array['a', 'b', 'c'])[1:2]::text || '?' || $$BEGIN;$$;
end
$body$;

comment on function pgjobs.traps(text) is 'takes 10% :of \it';
"""


def test_percent_signs_colons_and_backslashes_in_functions_survive_both_roads(
    new_database: NewDatabase, dump: Dump, tool: Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("migrations", "sql"):
        copytree(schema._folder(name), tmp_path / "50% off: x" / name)
    (tmp_path / "50% off: x" / "sql" / "functions" / "traps.sql").write_text(TRAPS)
    monkeypatch.setattr(schema, "_folder", lambda name: tmp_path / "50% off: x" / name)
    by_migrate, by_psql = new_database(), new_database()
    schema.migrate(by_migrate)
    tool("psql", *PSQL, by_psql, input=schema.render())
    assert dump(by_psql) == dump(by_migrate)
    for dsn in (by_migrate, by_psql):
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "select pgjobs.traps('half'), prosrc, obj_description(oid) from pg_proc where proname = 'traps'"
            ).fetchone()
        assert row == (
            "half is 50% of :name, :\"name\", :'name' and %(name)s at 12:30:45\ttab\\not an escape{a,b}?BEGIN;",
            TRAPS.split("$body$")[1],
            r"takes 10% :of \it",
        )
