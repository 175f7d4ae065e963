"""Statements that are asked often on a connection of our own: prepared, and sent past the cursor, with the same results."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs.connections.own import MOST, OFTEN, OwnConnection, OwnRunner
from tests.client.conftest import Face

Task = pgjobs.Task[..., Any]

PARAMS = "select %s::text, %s::integer, %s::boolean, %s::interval, %s::text, %s::bigint"
NAMES = "select name, statement from pg_prepared_statements order by 1"


@pytest.fixture
def own(dsn: str) -> Iterator[OwnConnection]:
    with OwnConnection.connect(dsn, autocommit=True) as connection:
        yield connection


def prepared(connection: psycopg.Connection[Any]) -> list[str]:
    """What is prepared by us, past the cursor."""
    return [name for name, _ in connection.execute(NAMES).fetchall() if name.startswith("pgjobs_")]


def test_a_statement_that_is_asked_often_is_prepared_and_means_the_same(own: OwnConnection) -> None:
    runner = OwnRunner(own)
    lasts = timedelta(days=400, hours=-3, microseconds=1)
    params = ('é"\\\n\t', -7, True, lasts, None, 2**62)
    for number in range(OFTEN + 2):
        assert prepared(own) == ([] if number < OFTEN else ["pgjobs_0"])
        assert list(runner.rows(PARAMS, params)) == [params]
    assert list(runner.rows(PARAMS, ("", 0, False, timedelta(0), "x", -1))) == [("", 0, False, timedelta(0), "x", -1)]


def test_values_that_have_no_simple_text_go_by_a_cursor(own: OwnConnection) -> None:
    runner = OwnRunner(own)
    now = datetime.now().astimezone()
    for _ in range(OFTEN + 1):
        assert list(runner.rows("select %s::timestamptz", (now,))) == [(now,)]
        assert list(runner.rows("select %s::double precision", (0.1,))) == [(0.1,)]
        with pytest.raises(psycopg.DataError, match="NUL"):
            runner.rows("select %s::text", ("half\0half",))
    assert prepared(own) == []


def test_in_a_transaction_nothing_goes_past_the_cursor(own: OwnConnection) -> None:
    runner = OwnRunner(own)
    with own.transaction():
        for _ in range(OFTEN + 1):
            assert list(runner.rows("select %s::integer", (1,))) == [(1,)]
        assert prepared(own) == []


def test_what_the_database_refuses_is_raised_as_by_a_cursor_and_the_connection_goes_on(own: OwnConnection) -> None:
    runner = OwnRunner(own)
    for _ in range(OFTEN + 2):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            runner.rows("select %s::integer", ("seven",))
        with pytest.raises(psycopg.errors.UndefinedTable):
            runner.rows("select * from pgjobs.nothing where %s::integer = 1", (1,))
        assert list(runner.rows("select %s::integer", (7,))) == [(7,)]


def test_no_more_than_a_bounded_number_is_prepared(own: OwnConnection) -> None:
    runner = OwnRunner(own)
    for number in range(MOST + 5):
        for _ in range(OFTEN):
            runner.rows(f"select {number} + %s::integer", (1,))
    assert len(prepared(own)) == MOST


@pytest.mark.parametrize("done", ["deallocate all", "discard all", "prepare pgjobs_0 as select 1"])
def test_behind_a_pooler_that_knows_of_no_statements_all_goes_by_cursors(own: OwnConnection, done: str) -> None:
    """What a pooler does by giving us another server session between two transactions, done to ours."""
    runner = OwnRunner(own)
    for number in range(OFTEN + 3):
        assert list(runner.rows("select %s::integer", (number,))) == [(number,)]
        if number == (OFTEN if done.startswith("d") else 0):
            own.execute(done)
    assert own.statements.pooled
    assert own.statements.prepared == {}


def test_enqueues_of_the_app_are_prepared_and_its_errors_are_in_our_words(
    face: Face, app: pgjobs.App, task: Task
) -> None:
    ids = [face.enqueue(task, letter_id=number) for number in range(OFTEN + 2)]
    assert [face.job(app, id).payload["letter_id"] for id in ids] == list(range(OFTEN + 2))
    for _ in range(OFTEN + 1):
        with pytest.raises(pgjobs.InvalidJob, match="The name of a task must have 1 to 200 characters"):
            face.enqueue_spec(app, pgjobs.Spec("t" * 201))
    assert face.enqueue(task, letter_id=1).created
