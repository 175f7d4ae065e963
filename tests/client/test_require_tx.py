"""An app that requires a transaction refuses every enqueue outside of one, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pgjobs
from tests.client.conftest import Face

Task = pgjobs.Task[..., Any]
Count = Callable[[], int]

TOLD = r"^This app enqueues only inside a transaction \(require_tx=True\): pass yours as tx=, .* autocommit mode\.$"


@pytest.fixture
def app(dsn: str) -> Iterator[pgjobs.App]:
    """An app that requires a transaction."""
    app = pgjobs.App(dsn, require_tx=True)
    yield app
    app.close()


def test_outside_of_a_transaction_every_enqueue_is_refused(
    face: Face, app: pgjobs.App, task: Task, count: Count
) -> None:
    for refused in (
        lambda: face.enqueue(task, letter_id=7),
        lambda: face.enqueue(task.options(delay=5), letter_id=7),
        lambda: face.enqueue_spec(app, task.spec(letter_id=7)),
        lambda: face.enqueue_many(app, [task.spec(letter_id=7)]),
    ):
        with pytest.raises(pgjobs.TransactionRequired, match=TOLD):
            refused()
    assert count() == 0


def test_inside_one_all_is_as_ever(face: Face, app: pgjobs.App, task: Task, count: Count) -> None:
    connection = face.connect()
    face.enqueue(task.options(tx=connection), letter_id=1)
    with app.using(connection):
        face.enqueue(task, letter_id=2)
        face.enqueue_many(app, [task.spec(letter_id=3)])
    face.do(connection.commit())
    assert count() == 3


def test_an_autocommit_connection_needs_a_block(face: Face, app: pgjobs.App, task: Task, count: Count) -> None:
    connection = face.connect(autocommit=True)
    with pytest.raises(pgjobs.TransactionRequired, match=TOLD):
        face.enqueue(task.options(tx=connection), letter_id=1)
    with face.block(connection.transaction()):
        face.enqueue(task.options(tx=connection), letter_id=2)
        assert count() == 0
    assert count() == 1


def test_looking_and_waiting_need_no_transaction(face: Face, app: pgjobs.App, task: Task) -> None:
    connection = face.connect()
    id = face.enqueue(task.options(tx=connection), letter_id=7)
    face.do(connection.commit())
    assert face.job(app, id).payload == {"letter_id": 7}
    with face.client(app) as client:
        assert face.do(client.cancel([id])).cancelled == [id]
    with pytest.raises(pgjobs.JobCancelled):
        app.wait_for(id)
