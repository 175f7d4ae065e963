"""The generated parts of the reference, as Markdown: from docstrings, from click, and from the comments in the schema."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import psycopg

import pgjobs
from pgjobs import schema
from pgjobs.cli import COMMANDS, main
from pgjobs.embedded import EmbeddedPostgres

# What a relation is, and its comment; partitions are shown by their parent only.
RELATIONS = """
select c.oid, c.relname, case c.relkind when 'v' then 'view' else 'table' end, obj_description(c.oid, 'pg_class')
from pg_class c
where c.relnamespace = 'pgjobs'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
  and c.relname <> 'schema_revision'
order by c.relname
"""
COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       coalesce(col_description(a.attrelid, a.attnum), col_description('pgjobs.jobs'::regclass, j.attnum), '')
from pg_attribute a
left join pg_attribute j on j.attrelid = 'pgjobs.jobs'::regclass and j.attname = a.attname and not j.attisdropped
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
FUNCTIONS = """
select p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), obj_description(p.oid, 'pg_proc')
from pg_proc p
where p.pronamespace = 'pgjobs'::regnamespace and pg_get_function_result(p.oid) <> 'trigger'
order by p.proname, 2
"""


def python_reference() -> str:
    """Return everything that pgjobs exports: classes and values first, then errors."""
    exported = [(name, getattr(pgjobs, name)) for name in sorted(pgjobs.__all__) if not name.startswith("_")]
    errors = [name for name, value in exported if isinstance(value, type) and issubclass(value, pgjobs.PgjobsError)]
    parts = ["## Classes and functions\n"]
    parts += [_autodoc(name, value) for name, value in exported if name not in errors]
    parts += ["## Errors\n", "All of them are `PgjobsError`s, whose text is a sentence for a person.\n"]
    parts += [_autodoc(name, getattr(pgjobs, name)) for name in errors]
    return "\n".join(parts)


def _autodoc(name: str, value: Any) -> str:
    if not isinstance(value, type):
        kind, options = ("autofunction" if callable(value) else "autodata"), ""
    elif issubclass(value, Exception):
        kind, options = "autoexception", "\n   :show-inheritance:"
    else:
        kind, options = "autoclass", "\n   :members:\n   :exclude-members: __init__, __new__"
    return f"```{{eval-rst}}\n.. {kind}:: pgjobs.{name}{options}\n```\n"


def cli_reference() -> str:
    """Return the help of every command, by section, as `pgjobs COMMAND --help` prints it."""
    parts = []
    for section, commands in COMMANDS.items():
        parts.append(f"## {section}\n")
        for name, (_, what) in commands.items():
            parts.append(f"### pgjobs {name}\n\n{what}\n")
            parts += [f"```text\n{text}\n```\n" for text in helps_of(name)]
    return "\n".join(parts)


def helps_of(name: str) -> list[str]:
    """Return what a command prints for --help, and after it its own commands."""
    root = _context(main, None, "pgjobs")
    command = main.get_command(root, name)
    assert command is not None
    return list(_helps(_context(command, root, name)))


def _helps(context: click.Context) -> Iterator[str]:
    command = context.command
    yield click.unstyle(command.get_help(context)).rstrip()
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _helps(_context(inner, context, name))


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    return click.Context(command, parent, info_name=name, max_content_width=100, terminal_width=100)


def sql_reference() -> str:
    """Return tables, views and functions with their comments, read from a migrated database."""
    with _database() as connection:
        return sql_reference_of(connection)


def sql_reference_of(connection: psycopg.Connection[Any]) -> str:
    """Return tables, views and functions of this database with their comments."""
    functions = connection.execute(FUNCTIONS).fetchall()
    for_people = [function for function in functions if _is_for_people(*function[:2])]
    parts = ["## Functions for people\n", *(_function(*function) for function in for_people)]
    relations = connection.execute(RELATIONS).fetchall()
    for kind, title in (("view", "## Views\n"), ("table", "## Tables\n")):
        parts.append(title)
        for oid, name, its_kind, comment in relations:
            if its_kind == kind:
                parts.append(f"### pgjobs.{name}\n\n{_prose(comment)}\n")
                parts.append(_columns(connection.execute(COLUMNS, (oid,)).fetchall()))
    parts.append("## Functions that clients call, and their helpers\n")
    parts.append("Those with a version live for two releases, so that old and new workers can share a schema.\n")
    parts += [_function(*function) for function in functions if function not in for_people]
    return "\n".join(parts)


def _is_for_people(name: str, arguments: str) -> bool:
    """Whether it has a plain name and its arguments have, too, since people write them out: queue => 'ocr'."""
    return re.search(r"_v\d+$", name) is None and not re.search(r"\bp_", arguments)


def _function(name: str, arguments: str, result: str, comment: str | None) -> str:
    arguments = "".join(f"\n    {argument}," for argument in _split(arguments)).rstrip(",")
    return f"### pgjobs.{name}\n\n{_prose(comment)}\n\n```text\npgjobs.{name}({arguments})\nreturns {result}\n```\n"


def _split(arguments: str) -> list[str]:
    """Split at the commas that stand between arguments, not at those inside a type or a default."""
    return [part.strip() for part in re.split(r",\s*(?=(?:OUT )?\"?[a-z_]+\"? )(?![^(]*\))", arguments) if part.strip()]


def _columns(columns: list[tuple[str, str, bool, str]]) -> str:
    lines = ["| column | type | |", "| --- | --- | --- |"]
    for name, type, not_null, comment in columns:
        lines.append(
            f"| `{name}` | {type}{'' if not_null else ', may be null'} | {_prose(comment).replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines) + "\n"


def _prose(comment: str | None) -> str:
    """Return a comment as Markdown that shows it letter for letter."""
    return re.sub(r"([\\`*_{}\[\]<>#$])", r"\\\1", comment or "").strip()


@contextmanager
def _database() -> Iterator[psycopg.Connection[Any]]:
    """Lend a migrated database: on the server that PGJOBS_TEST_DSN names, or on an embedded one."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    server = None if os.environ.get("PGJOBS_TEST_DSN") else EmbeddedPostgres(settings={"fsync": "off"})
    admin = server.start() if server else os.environ["PGJOBS_TEST_DSN"]
    name = f"pgjobs_docs_{os.getpid()}"
    try:
        with psycopg.connect(admin, autocommit=True) as outer:
            outer.execute(f"create database {name} encoding 'UTF8' template template0")
            try:
                dsn = psycopg.conninfo.make_conninfo(admin, dbname=name)
                schema.migrate(dsn)
                with psycopg.connect(dsn, autocommit=True) as connection:
                    yield connection
            finally:
                outer.execute(f"drop database {name} with (force)")
    finally:
        if server:
            server.stop(immediate=True)
