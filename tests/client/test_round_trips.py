"""What a call costs: round trips to the server, counted in libpq's own trace of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy

import pgjobs
from pgjobs.portions import CHUNK, COPY_FROM
from tests.client.between import Between
from tests.client.conftest import Backends, Face
from tests.client.kinds import KINDS, Kind

Task = pgjobs.Task[..., Any]


class Trips:
    """Counts how often the server was asked and the client waited for it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "trace"

    @contextmanager
    def of(self, connection: Any) -> Iterator[list[str]]:
        """Collect, at the end of the block, one entry per round trip: what was sent."""
        sent: list[str] = []
        with self._file.open("w+") as file:
            connection.pgconn.trace(file.fileno())
            yield sent
            connection.pgconn.untrace()
            file.seek(0)
            now = ""
            for line in file:
                # A message: who sent it (F: we, B: the server), its length, its kind, its contents.
                who, _, message = line.partition("\t")[2].split("\t", 2) if line[:4].isdigit() else line.split("\t", 2)
                kind = message.split("\t")[0].split()[0]
                if who == "F" and kind in ("Query", "Parse", "Bind"):
                    now += message.strip() + "; "
                elif who == "B" and kind == "ReadyForQuery":
                    sent.append(now)
                    now = ""


@pytest.fixture
def trips(tmp_path: Path) -> Trips:
    return Trips(tmp_path)


def test_an_enqueue_in_the_callers_transaction_is_one_statement_and_one_round_trip(
    face: Face, app: pgjobs.App, task: Task, trips: Trips
) -> None:
    connection = face.connect()
    face.do(connection.execute("select 1"))  # the transaction has begun
    costs = []
    for _ in range(8):
        with trips.of(connection) as sent:
            face.enqueue(task.options(tx=connection), letter_id=7)
        costs.append(sent)
    assert [len(sent) for sent in costs[:5]] == [1] * 5
    assert costs[0][0].count("pgjobs.enqueue") == 1
    # psycopg prepares a statement at its sixth time, which is a round trip once and spares the server work from then on.
    assert [len(sent) for sent in costs[5:]] == [2, 1, 1]
    face.do(connection.commit())


def test_an_enqueue_that_begins_the_transaction_costs_the_begin_besides(face: Face, task: Task, trips: Trips) -> None:
    connection = face.connect()
    with trips.of(connection) as sent:
        face.enqueue(task.options(tx=connection), letter_id=7)
    assert len(sent) == 2
    assert "BEGIN" in sent[0]


def test_an_enqueue_on_a_connection_of_our_own_is_one_round_trip(
    face: Face, app: pgjobs.App, task: Task, trips: Trips
) -> None:
    with face.client(app) as client:
        connection = client._runner.connection
    with trips.of(connection) as sent:
        id = face.enqueue(task, letter_id=7)
        face.job(app, id)
        face.enqueue_many(app, [task.spec(letter_id=7)] * 10)
    assert len(sent) == 3


def test_many_jobs_cost_a_round_trip_for_each_statements_worth(
    face: Face, app: pgjobs.App, task: Task, trips: Trips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgjobs.portions, "COPY_FROM", 20_000)
    connection = face.connect()
    face.do(connection.execute("select 1"))
    with trips.of(connection) as sent:
        face.enqueue_many(app, [task.spec(letter_id=7)] * 12_000, tx=connection)
    assert len(sent) == -(-12_000 // CHUNK) == 3
    face.do(connection.rollback())


def test_jobs_that_are_copied_cost_the_same_few_round_trips_however_many_they_are(
    face: Face, app: pgjobs.App, task: Task, trips: Trips
) -> None:
    connection = face.connect()
    face.do(connection.execute("select 1"))
    for count in COPY_FROM, 12_000:
        with trips.of(connection) as sent:
            face.enqueue_many(app, [task.spec(letter_id=7)] * count, tx=connection)
        assert len(sent) == 2
        assert "reserve_v1" in sent[0]
        assert "copy pgjobs.jobs" in sent[1]
    face.do(connection.rollback())
    # On a connection of our own too: what is one statement needs no begin and no commit.
    with face.client(app) as client:
        connection = client._runner.connection
    with trips.of(connection) as sent:
        face.enqueue_many(app, [task.spec(letter_id=7)] * COPY_FROM)
    assert len(sent) == 2


def test_enqueues_that_are_made_at_once_in_a_pipeline_are_sent_at_once(dsn: str, task: Task) -> None:
    between = Between(dsn)

    async def enqueue() -> list[pgjobs.JobId]:
        async with (
            await psycopg.AsyncConnection.connect(between.dsn) as connection,
            connection.pipeline() as pipeline,
        ):
            await connection.execute("select 1")
            await pipeline.sync()
            before = between.trips
            bound = task.options(tx=connection)
            ids = await asyncio.gather(*(bound.aenqueue(letter_id=number) for number in range(50)))
            assert between.trips - before <= 3  # they can be told from 50, and the network may cut them
            return ids

    ids = asyncio.run(enqueue())
    between.down()
    assert ids == sorted(ids)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select id, (payload ->> 'letter_id')::integer from pgjobs.jobs order by id"
        ).fetchall()
    assert rows == list(zip(ids, range(50), strict=True))


def test_an_enqueue_through_sqlalchemy_is_one_round_trip_besides_its_begin(dsn: str, task: Task, trips: Trips) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select 1"))
        with trips.of(connection.connection.driver_connection) as sent:
            task.options(tx=connection).enqueue(letter_id=7)
        assert len(sent) == 1
    engine.dispose()


@pytest.mark.parametrize("kind_type", KINDS, ids=lambda kind: kind.__name__)
def test_on_every_kind_of_connection_a_call_is_one_round_trip(
    kind_type: type[Kind], dsn: str, app: pgjobs.App, task: Task
) -> None:
    between = Between(dsn)
    face = kind_type.face_kind(dsn)
    face._dsn = between.dsn
    kind = kind_type(face, between.dsn)
    with kind.stack:
        kind.open()
        kind.begin()
        kind.execute("select 1")  # the transaction has begun
        costs = []
        for _ in range(3):  # at first a library may prepare a statement, and we may ask which database this is
            for call in (
                lambda: kind.enqueue(task, letter_id=7),
                lambda: kind.enqueue_many(app, [task.spec(letter_id=7)] * 10),
            ):
                before = between.trips
                call()
                costs.append(between.trips - before)
        id = kind.enqueue(task, letter_id=7)
        kind.job(app, id)
        before = between.trips
        kind.job(app, id)
        costs.append(between.trips - before)
        kind.rollback()
    face.close_app(app)
    face.close()
    between.down()
    assert costs[-3:] == [1, 1, 1], costs


def test_looking_at_arguments_and_options_costs_nothing(task: Task, backends: Backends) -> None:
    task.options(queue="slow", delay=5).spec(letter_id=7)
    with pytest.raises(pgjobs.InvalidPayload):
        task.enqueue(letter=7)
    assert backends("= 0") == []
