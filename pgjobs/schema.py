"""Makes and checks the pgjobs schema: `migrate`, `check`, `render`. The one user of Alembic and of SQLAlchemy.

The order is always the same: the frozen revisions in `migrations/versions`, then every function and view in `sql/`,
whole. So a function has one current text, in one file, and a database that was migrated step by step is the same as
one made at once.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from pgjobs.connections import connecting, reason
from pgjobs.errors import ConnectionFailed, PgjobsError, SchemaError, SchemaTooNew
from pgjobs.version import __version__

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
    Raises ConnectionFailed when the database cannot be reached; SchemaTooNew when a newer pgjobs made the schema;
    SchemaError when it is somebody else's, or the role may not change it. Then nothing was changed.
    """
    with _transaction(dsn, read_only=False) as connection:
        [(encoding,)] = connection.exec_driver_sql("show server_encoding").all()
        if encoding != "UTF8":
            raise SchemaError(
                f"The database is encoded in {encoding}, and jobs are JSON, which is UTF-8: use a database made with"
                " encoding 'UTF8'."
            )
        _take_turn(connection)
        before = _revision(connection)
        for statement in PREAMBLE:
            connection.exec_driver_sql(statement)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        for name, statement in _live_sql():
            try:
                # No parameters: a percent sign in a function body is a percent sign.
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
            except sqlalchemy.exc.DBAPIError as error:
                raise _in_words(error, f" (sql/{name})") from error
        after = _revision(connection)
        assert after is not None
        return Migration(before, after)


def check(dsn: str) -> Migration:
    """Tell which revision the database is at and which one it would be migrated to, and change nothing.

    Raises as `migrate` does, but a role that may only read is enough.
    """
    with _transaction(dsn, read_only=True) as connection:
        return Migration(_revision(connection), head())


def render() -> str:
    """Return the whole schema as one SQL script for psql, which makes the same database as `migrate`."""
    buffer = io.StringIO()
    command.upgrade(_config(buffer), "head", sql=True)
    before, begin, rest = buffer.getvalue().partition("BEGIN;\n")
    tables, commit, after = rest.rpartition("COMMIT;\n")
    preamble = "".join(f"{statement};\n" for statement in PREAMBLE)
    live = "".join(f"-- {name}\n{statement}\n" for name, statement in _live_sql())
    return f"{before}{begin}\n{preamble}{tables}{live}{commit}{after}"


# Said first on both roads, so that what they make does not depend on the defaults of a session. A schema that is there is
# left to whoever made it: `create schema if not exists` asks for a right that the owner of only the schema lacks.
PREAMBLE = (
    "set local search_path = pg_catalog",
    "set local standard_conforming_strings = on",
    "set local check_function_bodies = on",
    "do $$ begin if to_regnamespace('pgjobs') is null then create schema pgjobs; end if; end $$",
)


def head() -> str:
    """Return the newest revision this version knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def _config(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    # Alembic's configuration interpolates: a folder may well have a percent sign in its name.
    config.set_main_option("script_location", str(_folder("migrations")).replace("%", "%%"))
    return config


def _take_turn(connection: sqlalchemy.Connection) -> None:
    """Wait until no other migration is under way; before anything is read, to see what that one did."""
    # However long it takes. Other locks wait no longer than the role is meant to wait: a migration in line for a table
    # makes everybody behind it wait as well.
    connection.exec_driver_sql(
        "select set_config(name, '0', true) from pg_settings where name in ('lock_timeout', 'statement_timeout',"
        " 'idle_in_transaction_session_timeout', 'transaction_timeout')"
    )
    connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (LOCK_KEY,))
    connection.exec_driver_sql("set local lock_timeout to default")


def _revision(connection: sqlalchemy.Connection) -> str | None:
    """Return the revision of the schema; None where there is none yet. Raises SchemaError for one that is not ours."""
    context = MigrationContext.configure(
        connection, opts={"version_table": "schema_revision", "version_table_schema": "pgjobs"}
    )
    revisions = context.get_current_heads()
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if unknown := set(revisions) - known:
        raise SchemaTooNew(
            f"The pgjobs schema in this database is at revision {min(unknown)}, which pgjobs {__version__} does not know:"
            " it was made by a newer pgjobs, so install that."
        )
    if not revisions and (stranger := connection.exec_driver_sql(_STRANGER).scalar()):
        raise SchemaError(
            f"This database has a schema pgjobs with a {stranger} that pgjobs did not make: rename that schema, or choose"
            " another database."
        )
    (revision,) = revisions or (None,)
    return revision


_STRANGER = """
    select case c.relkind when 'v' then 'view ' when 'S' then 'sequence ' else 'table ' end || c.relname
    from pg_catalog.pg_class c
    where c.relnamespace = to_regnamespace('pgjobs') and c.relkind in ('r', 'p', 'f', 'v', 'm', 'S')
      and c.relname <> 'schema_revision'
    union all
    select 'function ' || p.proname from pg_catalog.pg_proc p where p.pronamespace = to_regnamespace('pgjobs')
    limit 1
"""


@contextmanager
def _transaction(dsn: str, read_only: bool) -> Iterator[sqlalchemy.Connection]:
    """Lend one connection in one READ COMMITTED transaction, whatever the role's defaults are."""

    def connect() -> psycopg.Connection:
        with connecting():
            connection = psycopg.connect(dsn, application_name="pgjobs migrate")
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = read_only
        connection.deferrable = False
        return connection

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=connect, poolclass=sqlalchemy.NullPool)
    try:
        with engine.begin() as connection:
            yield connection
    except sqlalchemy.exc.DBAPIError as error:
        raise _in_words(error) from error
    finally:
        engine.dispose()


def _in_words(error: sqlalchemy.exc.DBAPIError, where: str = "") -> PgjobsError:
    """Return what the database refused as a sentence that says what to do."""
    assert isinstance(error.orig, psycopg.Error)
    told = reason(error.orig)
    if error.connection_invalidated:
        return ConnectionFailed(f"The connection broke before the migration was done: {told}. Run it again.")
    if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
        return SchemaError(
            f"This role has not the rights that a migration needs ({told}): migrate as the owner of the schema pgjobs; a new"
            " one an administrator can make with `create schema pgjobs authorization ROLE`."
        )
    return SchemaError(f"The database refused the migration and nothing was changed{where}: {told}.")


def _live_sql() -> Iterator[tuple[str, str]]:
    """The files in sql/ in an order in which each finds what it names: functions need only be there when called, but
    those in `language sql` and views are checked when they are made."""
    folder = _folder("sql")
    files = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in sorted(folder.glob("*/*.sql"))
    }
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
