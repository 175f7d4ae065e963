"""Many jobs: in order, in bounded statements, all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import pgjobs
import pgjobs.app
from pgjobs import Priority, Spec
from tests.client.conftest import Backends, Face

Connection = psycopg.Connection[Any]
Task = pgjobs.Task[..., Any]
Count = Callable[[], int]

REFUSED = Spec("t" * 201)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred jobs a statement, so that a few hundred take several."""
    monkeypatch.setattr(pgjobs.portions, "CHUNK", 100)


def test_ids_come_in_the_order_given(face: Face, app: pgjobs.App, task: Task) -> None:
    letters = [5, 3, 9, 1, 7]
    urgent = task.options(priority=Priority.CRITICAL, queue="a")
    ids = face.enqueue_many(app, [(urgent if letter == 9 else task).spec(letter_id=letter) for letter in letters])
    assert ids == sorted(ids)
    assert all(isinstance(id, pgjobs.JobId) and id.created for id in ids)
    assert [face.job(app, id).payload["letter_id"] for id in ids] == letters


def test_twelve_thousand_jobs_go_in_bounded_statements_and_keep_their_order(
    face: Face, app: pgjobs.App, task: Task, db: Connection
) -> None:
    ids = face.enqueue_many(app, (task.spec(letter_id=number) for number in range(12_000)))
    assert len(set(ids)) == 12_000
    rows = db.execute("select id, (payload->>'letter_id')::integer from pgjobs.jobs").fetchall()
    letters = dict(rows)
    assert [letters[id] for id in ids] == list(range(12_000))


def test_none_of_many_is_there_before_the_callers_commit_and_none_after_a_rollback(
    face: Face, app: pgjobs.App, task: Task, count: Count, small_chunks: None
) -> None:
    connection = face.connect()
    specs = [task.spec(letter_id=number) for number in range(250)]
    face.enqueue_many(app, specs, tx=connection)
    assert count() == 0
    face.do(connection.rollback())
    assert count() == 0
    face.enqueue_many(app, specs, tx=connection.cursor())
    face.do(connection.commit())
    assert count() == 250


@pytest.mark.parametrize("where", ["own", "autocommit", "transaction"])
def test_one_job_that_the_database_refuses_keeps_all_others_out(
    face: Face, app: pgjobs.App, count: Count, small_chunks: None, where: str
) -> None:
    tx: Any = None if where == "own" else face.connect(autocommit=where == "autocommit")
    with pytest.raises(pgjobs.InvalidJob, match="The name of a task must have 1 to 200 characters"):
        face.enqueue_many(app, [Spec("t")] * 250 + [REFUSED], tx=tx)
    if where == "transaction":
        face.do(tx.commit())
    assert count() == 0
    # And the connection is as good as before.
    if tx is not None:
        assert tx.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert len(face.enqueue_many(app, [Spec("t")] * 2, tx=tx)) == 2


def test_jobs_that_cannot_even_be_described_keep_all_others_out(
    face: Face, app: pgjobs.App, task: Task, count: Count, small_chunks: None
) -> None:
    def specs() -> Iterator[Spec]:
        for number in range(250):
            yield task.spec(letter_id=number)
        yield task.spec(letter_id=float("nan"))

    connection = face.connect()
    with pytest.raises(pgjobs.InvalidPayload):
        face.enqueue_many(app, specs(), tx=connection)
    face.do(connection.commit())
    with pytest.raises(pgjobs.InvalidPayload):
        face.enqueue_many(app, specs())
    assert count() == 0


def test_no_jobs_at_all_need_no_connection(face: Face, app: pgjobs.App, backends: Backends) -> None:
    assert face.enqueue_many(app, []) == []
    assert face.enqueue_many(app, iter([]), tx=None) == []
    assert backends("= 0") == []


def test_a_job_in_many_means_what_it_means_alone(face: Face, app: pgjobs.App, task: Task, db: Connection) -> None:
    at = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    specs = [
        task.spec(letter_id=1, language='"\\u0000'),
        task.options(queue='"q"\\ é', priority=-2, max_attempts=9, timeout=timedelta(seconds=90.5)).spec(letter_id=2),
        task.options(available_at=at, metadata={"a": [None, "\\"]}).spec(letter_id=3),
        task.options(delay=timedelta(days=400)).spec(letter_id=4),
        task.options(delay=-5).spec(letter_id=5),
    ]
    alone = [face.enqueue_spec(app, spec) for spec in specs]
    together = face.enqueue_many(app, specs)
    columns = "queue, task, payload, priority, rank, max_attempts, timeout, metadata, attempts, status"
    rows = dict(db.execute(f"select id, ({columns})::text from pgjobs.jobs").fetchall())
    assert [rows[id] for id in alone] == [rows[id] for id in together]
    for one, two in zip(alone, together, strict=True):
        waits = [job.available_at - job.enqueued_at for id in (one, two) if (job := face.job(app, id)).available_at]
        assert abs(waits[0] - waits[1]) < timedelta(minutes=1)
    assert face.job(app, together[2]).available_at == at


def test_one_job_that_must_not_be_announced_keeps_the_transaction_silent(
    face: Face, app: pgjobs.App, task: Task, db: Connection, small_chunks: None
) -> None:
    silent = task.options(notify=False).spec(letter_id=1)
    face.enqueue_many(app, [task.spec(letter_id=0)] * 250 + [silent])
    assert db.execute("select count(*) from pgjobs.jobs where wake").fetchone() == (0,)
    face.enqueue_many(app, [task.spec(letter_id=0)] * 2)
    assert db.execute("select count(*) from pgjobs.jobs where wake").fetchone() == (1,)


def test_a_statement_is_bounded_by_the_bytes_of_its_payloads_and_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgjobs.portions, "CHUNK_LENGTH", 1_000)
    for spec in Spec("t", "x" * 400), Spec("t", "é" * 200), Spec("t", "{}", metadata="é" * 199):
        chunks = pgjobs.portions.chunks([spec] * 5)
        assert [len(chunk) for chunk in chunks] == [2, 2, 1]
