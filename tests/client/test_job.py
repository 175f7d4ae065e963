"""Looking a job up: live, running, finished, dead, or nowhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs import Status, calls
from pgjobs.calls import Scan, Settlement
from pgjobs.job import Claimed
from tests.client.conftest import Face

Connection = psycopg.Connection[Any]
Task = pgjobs.Task[..., Any]


class Hands:
    """A worker by hand: claims one job, settles it."""

    def __init__(self, face: Face, app: pgjobs.App) -> None:
        self._face, self._app = face, app
        with face.client(app) as client:
            self.id = face.do(client.register("w", "host", 1, "0", ["ocr"], 10, timedelta(seconds=60)))

    def claim(self) -> Claimed:
        scan = Scan(["ocr"], [0], ["-infinity"], [0], timedelta(seconds=0.2))
        with self._face.client(self._app) as client:
            [claimed] = self._face.do(client.claim(self.id, 1, scan)).claimed
        assert isinstance(claimed, Claimed)
        return claimed

    def settle(self, job: Claimed, **outcome: Any) -> None:
        settlement = (
            Settlement([job.id], [job.run], [outcome["result"]])
            if "result" in outcome
            else Settlement(others=[{"id": job.id, "run": job.run, **outcome}])
        )
        with self._face.client(self._app) as client:
            step = self._face.do(client.settle(self.id, settlement))
        assert (step.fenced, step.locked) == ([], [])


@pytest.fixture
def hands(face: Face, app: pgjobs.App) -> Hands:
    return Hands(face, app)


def test_a_job_that_waits(face: Face, app: pgjobs.App, task: Task) -> None:
    id = face.enqueue(task.options(metadata={"tenant": 3}), letter_id=7)
    job = face.job(app, id)
    assert (job.id, job.queue, job.task, job.status) == (id, "ocr", "read_letter", Status.READY)
    assert (job.payload, job.metadata, job.result, job.reason) == ({"letter_id": 7}, {"tenant": 3}, None, None)
    assert (job.attempts, job.crashes, job.run, job.worker, job.errors) == (0, 0, 0, None, ())
    assert (job.claimed_at, job.finished_at) == (None, None)
    assert job.available_at == job.enqueued_at


def test_a_job_that_runs(face: Face, app: pgjobs.App, task: Task, hands: Hands) -> None:
    id = face.enqueue(task, letter_id=7)
    hands.claim()
    job = face.job(app, id)
    assert (job.status, job.run, job.worker) == (Status.RUNNING, 1, hands.id)
    assert job.claimed_at is not None
    assert job.claimed_at >= job.enqueued_at


def test_a_job_that_completed(face: Face, app: pgjobs.App, task: Task, hands: Hands) -> None:
    id = face.enqueue(task, letter_id=7)
    hands.settle(hands.claim(), result='{"text":"Dear"}')
    job = face.job(app, id)
    assert (job.status, job.result, job.payload) == (Status.COMPLETED, {"text": "Dear"}, {"letter_id": 7})
    assert job.finished_at is not None
    assert job.available_at is None


def test_a_job_that_failed_and_goes_on_tells_its_errors_in_order(
    face: Face, app: pgjobs.App, task: Task, hands: Hands
) -> None:
    id = face.enqueue(task, letter_id=7)
    for number in (1, 2):
        hands.settle(
            hands.claim(), outcome="retry", delay=0, error="ValueError", message=f"no {number}", traceback="Traceback",
            max_attempts=5,
        )  # fmt: skip
    job = face.job(app, id)
    assert (job.status, job.attempts) == (Status.READY, 2)
    assert [(error.run, error.attempt, error.error, error.message) for error in job.errors] == [
        (1, 1, "ValueError", "no 1"),
        (2, 2, "ValueError", "no 2"),
    ]
    assert all(error.worker == hands.id and error.failed_at >= error.started_at for error in job.errors)
    assert job.errors[0].failed_at.tzinfo is not None

    hands.settle(hands.claim(), result="1")
    finished = face.job(app, id)
    assert (finished.status, finished.result, finished.errors) == (Status.COMPLETED, 1, job.errors)


def test_a_job_that_is_dead(face: Face, app: pgjobs.App, task: Task, hands: Hands) -> None:
    id = face.enqueue(task, letter_id=7)
    hands.settle(hands.claim(), outcome="fail", error="Fail", message="no such letter")
    job = face.job(app, id)
    assert (job.status, job.reason, job.attempts) == (Status.DEAD, "failed: Fail: no such letter", 1)
    assert [error.message for error in job.errors] == ["no such letter"]
    assert job.finished_at is not None


def test_a_job_that_was_cancelled(face: Face, app: pgjobs.App, task: Task) -> None:
    id = face.enqueue(task, letter_id=7)
    with face.client(app) as client:
        assert face.do(client.cancel([id], "not needed")).cancelled == [id]
    job = face.job(app, id)
    assert (job.status, job.reason, job.result) == (Status.CANCELLED, "not needed", None)


@pytest.mark.parametrize("id", [2**62, 0, -1])
def test_a_job_that_is_nowhere(face: Face, app: pgjobs.App, id: int) -> None:
    for tx in (None, face.connect()):
        with pytest.raises(pgjobs.JobNotFound) as missing:
            face.job(app, id, tx)
        assert str(missing.value) == f"There is no job with the id {id}: it never was, or it was pruned."


def test_a_job_is_seen_as_the_transaction_sees_it(face: Face, app: pgjobs.App, task: Task) -> None:
    connection = face.connect()
    id = face.enqueue(task.options(tx=connection), letter_id=7)
    assert face.job(app, id, tx=connection).id == id
    with app.using(connection):
        assert face.job(app, id).id == id
    with pytest.raises(pgjobs.JobNotFound):
        face.job(app, id)


def test_any_json_comes_back_as_it_was(face: Face, app: pgjobs.App, task: Task, hands: Hands) -> None:
    value = {"é\n\\u0000": [1e23, 10**40, -1.5e-7, None, True, {"": "🏔"}]}
    id = face.enqueue(task, letter_id=value)
    assert face.job(app, id).payload == {"letter_id": value}
    hands.settle(hands.claim(), result="[null]")
    assert face.job(app, id).result == [None]


def test_the_other_verbs_answer_on_every_connection(face: Face, app: pgjobs.App, task: Task, hands: Hands) -> None:
    ids = face.enqueue_many(app, [task.spec(letter_id=number) for number in range(3)])
    for tx in (None, face.connect(autocommit=True)):
        with face.client(app, tx) as client:
            assert [job.id for job in face.do(client.jobs(Status.READY, "ocr", "read_letter", 2))] == [ids[2], ids[1]]
            [queue] = face.do(client.queue_overview())
            assert (queue.queue, queue.ready, queue.paused) == ("ocr", 3, False)
            assert queue.waiting_for > timedelta(0)
            [worker] = face.do(client.worker_overview())
            assert (worker.id, worker.queues, worker.concurrency) == (hands.id, ["ocr"], 10)
            face.do(client.check_schema())
            assert face.do(client.failed(calls.Filter(), 10)) == []
            with pytest.raises(pgjobs.JobNotFound):
                face.do(client.retry_failed(calls.Filter(ids=[2**40]), 10))


@pytest.mark.parametrize("payload", ['{"a": ' + "[" * 3000 + "]" * 3000 + "}", '{"a": 1' + "0" * 20_000 + "}"])
def test_a_payload_that_python_would_refuse_to_read_does_not_hide_its_job(
    app: pgjobs.App, db: psycopg.Connection[Any], payload: str
) -> None:
    [(id,)] = db.execute("select pgjobs.enqueue('odd', %s::jsonb)", (payload,)).fetchall()
    assert app.job(id).task == "odd"
    with app.client() as client:
        assert [job.id for job in client.jobs()] == [id]
