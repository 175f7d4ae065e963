"""The schema is readable from psql alone: what it consists of says what it is."""

from __future__ import annotations

from tests.conftest import Connection
from tests.sql.one_database import one_database

database, dsn = one_database()

# Columns whose name says it all, wherever they occur.
SELF_EVIDENT = {
    "id", "job_id", "name", "host", "pid", "version", "queues", "concurrency", "lease", "gen", "attempt", "message", "traceback",
    "started_at", "failed_at", "finished_at", "renewed_at",
}  # fmt: skip


def uncommented(connection: Connection, sql: str) -> list[str]:
    return [name for (name,) in connection.execute(sql.encode())]


def test_every_table_and_view_has_a_comment(db: Connection) -> None:
    assert (
        uncommented(
            db,
            "select c.relname from pg_class c where c.relnamespace = 'pgjobs'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')"
            " and not c.relispartition and obj_description(c.oid, 'pg_class') is null order by 1",
        )
        == []
    )


def test_every_function_has_a_comment(db: Connection) -> None:
    assert (
        uncommented(
            db,
            "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'pgjobs'::regnamespace"
            " and obj_description(p.oid, 'pg_proc') is null order by 1",
        )
        == []
    )


def test_every_column_that_does_not_explain_itself_has_a_comment(db: Connection) -> None:
    """A column of a finished or dead job means what it means in jobs, if it has the same name."""
    columns = db.execute(
        "select c.relname, a.attname, col_description(c.oid, a.attnum) is not null from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = 'pgjobs'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition"
        " and c.relname <> 'schema_revision'"  # Alembic's
    ).fetchall()
    in_jobs = {column for table, column, commented in columns if table == "jobs" and commented}
    unclear = [
        f"{table}.{column}"
        for table, column, commented in columns
        if not commented
        and column not in SELF_EVIDENT
        and not (table in ("job_history", "dead_letters", "attempts") and column in in_jobs)
    ]
    assert unclear == []


def test_the_schema_itself_has_a_comment(db: Connection) -> None:
    assert (
        uncommented(db, "select 'pgjobs' where obj_description('pgjobs'::regnamespace, 'pg_namespace') is null") == []
    )
