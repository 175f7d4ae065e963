"""Statements that are asked often on a connection of our own: prepared, and sent past the cursor, with the same results."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs.connections.own import MOST, OFTEN, OWN, OwnConnection, OwnRunner, _name
from tests.client.conftest import Face

Task = pgjobs.Task[..., Any]

PARAMS = (
    "select %s::text, %s::integer, %s::boolean, %s::interval, %s::text, %s::bigint, %s::double precision,"
    " %s::timestamptz, %s::timestamptz = '2026-11-26 05:06:07'::timestamptz"
)
NAMES = "select name, statement from pg_prepared_statements order by 1"


@pytest.fixture
def own(dsn: str) -> Iterator[OwnConnection]:
    with OwnConnection.connect(dsn, **OWN) as connection:
        yield connection


def prepared(connection: psycopg.Connection[Any]) -> list[str]:
    """The names of what is prepared, by whomever."""
    return [name for name, _ in connection.execute(NAMES).fetchall()]


def test_a_statement_that_is_asked_often_is_prepared_and_means_the_same(own: OwnConnection) -> None:
    runner = OwnRunner(own)
    at, there = datetime.now().astimezone(), datetime(2026, 11, 26, 5, 6, 7)
    lasts = timedelta(days=400, hours=-3, microseconds=1)
    values: tuple[Any, ...] = ('é"\\\n\t', -7, True, lasts, None, 2**62, 0.1, at)
    for number in range(OFTEN + 2):
        assert len(prepared(own)) == (number >= OFTEN)
        assert list(runner.rows(PARAMS, (*values, there))) == [(*values, True)]
    values = ("", 0, False, timedelta(0), "x", -1, float("-inf"), at - timedelta(days=3000))
    assert list(runner.rows(PARAMS, (*values, there))) == [(*values, True)]
    assert prepared(own) == [name for name in prepared(own) if name.startswith("pgjobs_")]


def test_a_statement_has_the_same_name_on_every_connection_and_no_other_has_it(dsn: str, own: OwnConnection) -> None:
    """A pooler may send it to a session where somebody else has prepared his."""
    with OwnConnection.connect(dsn, **OWN) as other:
        first, second = "select 1 + %s::integer", "select 2 + %s::integer"
        for connection, statements in ((own, (first, second)), (other, (second, first))):
            for sql in statements:
                for _ in range(OFTEN):
                    OwnRunner(connection).rows(sql, (1,))
        assert own.execute(NAMES).fetchall() == other.execute(NAMES).fetchall()
        assert len(prepared(own)) == 2


def test_values_that_have_no_simple_text_go_by_a_cursor(own: OwnConnection) -> None:
    runner = OwnRunner(own)
    day = date(2026, 11, 26)
    for _ in range(OFTEN + 3):
        assert list(runner.rows("select %s::date", (day,))) == [(day,)]
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


@pytest.mark.parametrize("done", ["deallocate all", "discard all", "prepare {} as select 1"])
def test_behind_a_pooler_that_knows_of_no_statements_nothing_is_prepared(own: OwnConnection, done: str) -> None:
    """What a pooler does by giving us another server session between two transactions, done to ours."""
    runner, sql = OwnRunner(own), "select %s::integer"
    for number in range(OFTEN + 10):
        assert list(runner.rows(sql, (number,))) == [(number,)]
        if number == (OFTEN if done.startswith("d") else 0):
            own.execute(done.format(_name(sql).decode()).encode())
    assert own.statements.pooled
    assert own.statements.prepared == {}
    assert len(prepared(own)) == done.startswith("prepare")


def test_enqueues_of_the_app_are_prepared_and_its_errors_are_in_our_words(
    face: Face, app: pgjobs.App, task: Task
) -> None:
    ids = [face.enqueue(task, letter_id=number) for number in range(OFTEN + 2)]
    assert [face.job(app, id).payload["letter_id"] for id in ids] == list(range(OFTEN + 2))
    for _ in range(OFTEN + 1):
        with pytest.raises(pgjobs.InvalidJob, match="The name of a task must have 1 to 200 characters"):
            face.enqueue_spec(app, pgjobs.Spec("t" * 201))
    assert face.enqueue(task, letter_id=1).created
