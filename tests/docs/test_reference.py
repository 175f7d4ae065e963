"""The generated reference says all that there is."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import click
import pytest

import pgjobs
from pgjobs.cli import COMMANDS
from tests.conftest import Connection
from tests.docs.blocks import ROOT


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_everything_that_is_exported_is_in_the_reference_and_has_a_docstring(reference: ModuleType) -> None:
    text = reference.python_reference()
    for name in pgjobs.__all__:
        if not name.startswith("_"):
            assert f":: pgjobs.{name}\n" in text
            assert getattr(pgjobs, name).__doc__, name


def test_every_command_is_in_the_reference_with_its_help(reference: ModuleType) -> None:
    text = reference.cli_reference()
    for section in COMMANDS.values():
        for name in section:
            assert f"### pgjobs {name}\n" in text
            assert f"Usage: pgjobs {name} " in text
    assert text == click.unstyle(text)


def test_every_function_table_and_view_is_in_the_reference_with_its_comment(
    reference: ModuleType, db: Connection
) -> None:
    text = reference.sql_reference_of(db)
    names = db.execute(
        "select proname from pg_proc where pronamespace = 'pgjobs'::regnamespace and prorettype <> 'trigger'::regtype"
        " union select relname from pg_class where relnamespace = 'pgjobs'::regnamespace and relkind in ('r', 'p', 'v')"
        " and not relispartition and relname <> 'schema_revision'"
    ).fetchall()
    assert len(names) > 30
    assert [name for (name,) in names if f"### pgjobs.{name}\n" not in text] == []
    assert "The fence: rises by one at every claim and never falls (I4)" in text


def test_what_people_call_stands_first_with_names_they_can_write_out(reference: ModuleType, db: Connection) -> None:
    for_people, _, others = reference.sql_reference_of(db).partition("## Views\n")
    assert "pgjobs.enqueue(\n    task text,\n    payload jsonb" in for_people
    assert "p_" not in for_people.replace("pg_", "")
    assert "### pgjobs.enqueue\\_v1" in others or "### pgjobs.enqueue_v1" in others
