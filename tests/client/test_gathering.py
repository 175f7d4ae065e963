"""Many jobs from an iterable: while the database writes a portion, the next one is gathered, on a connection of our own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs import Spec
from pgjobs.gathering import Gathering
from pgjobs.pools import MAX_SIZE
from tests.client.conftest import Face
from tests.sql.by_hand import one

Connection = psycopg.Connection[Any]
Task = pgjobs.Task[..., Any]
Count = Callable[[], int]

REFUSED = Spec("t" * 201)
IN_TRANSACTION = """
select count(*) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
"""


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred jobs in the first portion, 150 in later ones, in blocks of twenty; ten are copied."""
    monkeypatch.setattr(pgjobs.gathering, "PORTION", 100)
    monkeypatch.setattr(pgjobs.gathering, "LARGEST", 150)
    monkeypatch.setattr(pgjobs.gathering, "FEW", 30)
    monkeypatch.setattr(pgjobs.gathering, "QUICK", 60)
    monkeypatch.setattr(pgjobs.portions, "COPY_FROM", 10)
    monkeypatch.setattr(pgjobs.calls.copying, "BLOCK", 20)


class Watched:
    """Specs, and for each how many transactions were open when it was asked for."""

    def __init__(self, task: Task, db: Connection, count: int) -> None:
        self._task, self._db, self._count = task, db, count
        self.open: list[int] = []

    def __iter__(self) -> Iterator[Spec]:
        for number in range(self._count):
            self.open.append(one(self._db, IN_TRANSACTION))
            yield self._task.spec(letter_id=number)


@pytest.mark.parametrize("many", [1, 99, 100, 101, 250, 255, 395])
def test_all_get_in_with_their_ids_in_order_whatever_portions_they_come_in(
    face: Face, app: pgjobs.App, task: Task, db: Connection, many: int
) -> None:
    ids = face.enqueue_many(app, (task.spec(letter_id=number) for number in range(many)))
    rows = dict(db.execute("select id, (payload->>'letter_id')::integer from pgjobs.jobs").fetchall())
    assert [rows[id] for id in ids] == list(range(many))
    assert one(db, "select count(*) from pgjobs.jobs where wake") == 1


def test_the_second_portion_is_gathered_while_the_first_is_written_and_that_before_any_transaction(
    face: Face, app: pgjobs.App, task: Task, db: Connection
) -> None:
    watched = Watched(task, db, 250)
    face.enqueue_many(app, watched)
    assert watched.open == [0] * 100 + [1] * 150
    assert one(db, "select count(*) from pgjobs.jobs") == 250


def test_what_comes_slowly_keeps_no_transaction_open(
    face: Face, app: pgjobs.App, task: Task, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgjobs.gathering, "QUICK", 0)
    watched = Watched(task, db, 250)
    face.enqueue_many(app, watched)
    assert watched.open == [0] * 250
    assert one(db, "select count(*) from pgjobs.jobs") == 250


def test_what_brings_the_jobs_may_use_the_connection_that_they_are_enqueued_on(
    dsn: str, app: pgjobs.App, task: Task, count: Count
) -> None:
    with psycopg.connect(dsn) as connection:

        def asked() -> Iterator[Spec]:
            for number in range(250):
                yield task.spec(letter_id=one(connection, "select %s::integer", number))

        assert len(app.enqueue_many(asked(), tx=connection)) == 250
    assert count() == 250


def test_what_brings_the_jobs_may_enqueue_by_itself(app: pgjobs.App, task: Task, count: Count) -> None:
    def enqueuing() -> Iterator[Spec]:
        for number in range(250):
            task.enqueue(letter_id=-number)
            yield task.spec(letter_id=number)

    app.enqueue_many(enqueuing())
    assert count() == 500
    app.close()


@pytest.mark.parametrize("place", [0, 99, 100, 150, 249])
def test_an_iterable_that_raises_keeps_all_others_out(
    face: Face, app: pgjobs.App, task: Task, count: Count, place: int
) -> None:
    def specs() -> Iterator[Spec]:
        for number in range(250):
            yield task.spec(letter_id=float("nan") if number == place else number)

    with pytest.raises(pgjobs.InvalidPayload):
        face.enqueue_many(app, specs())
    assert count() == 0
    assert len(face.enqueue_many(app, [task.spec(letter_id=1)] * 250)) == 250


@pytest.mark.parametrize("place", [0, 99, 100, 150, 249])
def test_a_job_that_the_database_refuses_keeps_all_others_out(
    face: Face, app: pgjobs.App, task: Task, count: Count, place: int
) -> None:
    specs = [task.spec(letter_id=number) for number in range(250)]
    specs[place] = REFUSED
    with pytest.raises(pgjobs.InvalidJob, match="The name of a task must have 1 to 200 characters"):
        face.enqueue_many(app, iter(specs))
    assert count() == 0
    assert len(face.enqueue_many(app, [task.spec(letter_id=1)] * 250)) == 250


@pytest.mark.parametrize(
    "error",
    [
        psycopg.Rollback(),
        psycopg.errors.InsufficientPrivilege("of a table of the caller's"),
        psycopg.errors.InFailedSqlTransaction("of a transaction of the caller's"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("place", [50, 150, 249])
def test_what_an_iterable_raises_is_the_callers_whatever_it_is(
    face: Face, app: pgjobs.App, task: Task, count: Count, error: BaseException, place: int
) -> None:
    def specs() -> Iterator[Spec]:
        for number in range(250):
            if number == place:
                raise error
            yield task.spec(letter_id=number)

    with pytest.raises(type(error)) as raised:
        face.enqueue_many(app, specs())
    assert raised.value is error
    assert count() == 0


def test_iterables_that_need_connections_do_not_wait_for_each_others(app: pgjobs.App, task: Task, count: Count) -> None:
    """As many as there are connections: would each hold one while it is read, none could get another."""
    together = threading.Barrier(MAX_SIZE)

    def enqueuing() -> Iterator[Spec]:
        for number in range(250):
            if number == 150:
                together.wait(10)
                task.enqueue(letter_id=-1)
            yield task.spec(letter_id=number)

    with ThreadPoolExecutor(MAX_SIZE) as threads:
        done = [threads.submit(app.enqueue_many, enqueuing()) for _ in range(MAX_SIZE)]
        assert [len(each.result(9)) for each in done] == [250] * MAX_SIZE
    assert count() == 251 * MAX_SIZE
    app.close()


def test_one_in_another_in_another(app: pgjobs.App, task: Task, count: Count) -> None:
    def nested(depth: int) -> Iterator[Spec]:
        for number in range(210):
            if number == 150 and depth:
                app.enqueue_many(nested(depth - 1))
            yield task.spec(letter_id=number)

    app.enqueue_many(nested(2 * MAX_SIZE))
    assert count() == 210 * (2 * MAX_SIZE + 1)
    app.close()


def test_portions_come_in_order_and_end(task: Task) -> None:
    gathering = Gathering(task.spec(letter_id=number) for number in range(430))
    with gathering.in_turn():
        assert gathering.goes_on
        assert len(gathering.portion()) == 100
        assert not gathering
        gathering.few()
        gathering.few()
        assert gathering
        assert [len(gathering.portion()) for _ in range(5)] == [100, 100, 100, 30, 0]
    assert not Gathering(iter([]))


def test_whose_turn_it_is_not_gathers_all_of_them_before(task: Task) -> None:
    turn, specs = threading.Lock(), [task.spec(letter_id=1)] * 250
    first, second, few = Gathering(specs), Gathering(specs), Gathering(specs[:99])
    with few.in_turn(turn), first.in_turn(turn), second.in_turn(turn):
        assert [each.goes_on for each in (few, first, second)] == [False, True, False]
        assert [len(list(each)) for each in (few, first, second)] == [99, 250, 250]
    assert turn.acquire(blocking=False)
