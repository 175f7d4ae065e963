"""A folder with the tutorial's application in it, where people make their slips."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgjobs
from tests.cli.conftest import cli, empty, nowhere
from tests.docs.blocks import ROOT, blocks

__all__ = ["cli", "empty", "nowhere"]

MODULES = ("jobs", "models", "shop")


def url(dsn: str) -> str:
    """Return a DSN as people write it in an environment."""
    part = conninfo_to_dict(dsn)
    return f"postgresql://{part['user']}:{part.get('password') or ''}@{part['host']}:{part['port']}/{part['dbname']}"


@pytest.fixture(scope="session")
def other_database() -> Iterator[str]:
    """A second database, made once, for `empty`."""
    server = os.environ["PGJOBS_TEST_DSN"]
    name = f"pgjobs_{os.getpid()}_slips"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
        yield make_conninfo(server, dbname=name)
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def tutorial(nowhere: None, tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the tutorial's files are, as they are at its end, with DATABASE_URL set."""
    for block in blocks(ROOT / "docs" / "tutorial.md"):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text.replace("time.sleep(3)", "pass"), encoding="utf-8")
    monkeypatch.setenv("DATABASE_URL", url(dsn).replace("postgresql", "postgresql+psycopg", 1))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in MODULES:
        module = sys.modules.pop(name, None)
        if (engine := getattr(module, "engine", None)) is not None:
            engine.dispose()
        if isinstance(app := getattr(module, "app", None), pgjobs.App):
            app.close()
