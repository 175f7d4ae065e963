"""Makes and checks the pgjobs schema: `migrate`, `check`, `render`. The one user of Alembic and of SQLAlchemy.

The order is always the same: the frozen revisions in `migrations/versions`, then every function and view in `sql/`,
whole. So a function has one current text, in one file, and a database that was migrated step by step is the same as
one made at once.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from pgjobs.errors import ConnectionFailed

LOCK_KEY = 5_072_161_103  # any number that is ours: one migration at a time in a database


@dataclass(frozen=True)
class Migration:
    """What a migration did: the revision before (None: there was no schema) and the one now."""

    before: str | None
    after: str

    @property
    def changed(self) -> bool:
        """Whether tables changed; functions and views are re-applied in any case."""
        return self.before != self.after


def migrate(dsn: str) -> Migration:
    """Bring the schema to this version: all revisions not yet applied, then functions and views, in one transaction.

    Several may call it at once: they take turns, and those after the first find nothing to do.
    Raises ConnectionFailed when the database cannot be reached.
    """
    with _connection(dsn) as connection:
        # Before anything is read: who waited here must see what the one before did.
        connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        connection.exec_driver_sql("create schema if not exists pgjobs")
        before = _revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        for _, statement in _live_sql():
            # No parameters: a percent sign in a function body is a percent sign.
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        after = _revision(connection)
        assert after is not None
        return Migration(before, after)


def check(dsn: str) -> Migration:
    """Tell which revision the database is at and which one it would be migrated to, and change nothing.

    Raises ConnectionFailed when the database cannot be reached.
    """
    with _connection(dsn) as connection:
        return Migration(_revision(connection), head())


def render() -> str:
    """Return the whole schema as one SQL script for psql, which makes the same database as `migrate`."""
    buffer = io.StringIO()
    command.upgrade(_config(buffer), "head", sql=True)
    ddl = buffer.getvalue()
    ddl = ddl.replace("BEGIN;\n", "BEGIN;\n\ncreate schema if not exists pgjobs;\n", 1)
    live = "\n".join(f"-- {name}\n{statement}" for name, statement in _live_sql())
    head_, commit, tail = ddl.rpartition("COMMIT;")
    return f"{head_}{live}\n{commit}{tail}"


def head() -> str:
    """Return the newest revision this version knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def _config(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(_folder("migrations")))
    return config


def _revision(connection: sqlalchemy.Connection) -> str | None:
    context = MigrationContext.configure(
        connection, opts={"version_table": "schema_revision", "version_table_schema": "pgjobs"}
    )
    return context.get_current_revision()


def _connection(dsn: str) -> _Transaction:
    return _Transaction(dsn)


class _Transaction:
    """One connection in one READ COMMITTED transaction, whatever the role's defaults are."""

    def __init__(self, dsn: str) -> None:
        import psycopg

        self._engine = sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(dsn, application_name="pgjobs migrate"),
            poolclass=sqlalchemy.NullPool,
            isolation_level="READ COMMITTED",
        )

    def __enter__(self) -> sqlalchemy.Connection:
        try:
            self._connection = self._engine.connect()
        except sqlalchemy.exc.OperationalError as error:
            raise ConnectionFailed(f"The database cannot be reached: {str(error.orig).strip()}") from error
        self._transaction = self._connection.begin()
        return self._connection

    def __exit__(self, *exc: Any) -> None:
        try:
            self._transaction.__exit__(*exc)
        finally:
            self._connection.close()
            self._engine.dispose()


def _live_sql() -> Iterator[tuple[str, str]]:
    """The files in sql/ in an order in which each finds what it names: functions need only be there when called, but
    those in `language sql` and views are checked when they are made."""
    folder = _folder("sql")
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.glob("*/*.sql"))}
    makes = {
        name: set(re.findall(r"create or replace (?:function|view) pgjobs\.(\w+)", text))
        for name, text in files.items()
    }
    done: set[str] = set()

    def visit(name: str) -> Iterator[tuple[str, str]]:
        if name in done:
            return
        done.add(name)
        for other, made in makes.items():
            if other != name and any(re.search(rf"pgjobs\.{thing}\b", files[name]) for thing in made):
                yield from visit(other)
        yield name, files[name]

    for name in files:
        yield from visit(name)


def _folder(name: str) -> Path:
    """Find sql/ or migrations/: inside the package when installed, beside it in a checkout."""
    inside = Path(__file__).parent / f"_{name}"
    return inside if inside.is_dir() else Path(__file__).parent.parent / name
