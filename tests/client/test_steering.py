"""What an app does to jobs, queues and tasks that are there already."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import pgjobs
from pgjobs import Spec, Status
from pgjobs.portions import PORTION
from tests.client.conftest import Face
from tests.conftest import Connection
from tests.sql.by_hand import Worker

Task = pgjobs.Task[..., Any]

HOUR = timedelta(hours=1)


def bury(db: Connection, *specs: Spec) -> list[int]:
    """Make dead letters; return their ids."""
    worker = Worker(db, [spec.queue for spec in specs])
    ids = [int(worker.client.enqueue(spec)) for spec in specs]
    for claimed in worker.claim():
        worker.settle(claimed, "fail", error="ValueError", message=f"no {claimed.task}")
    worker.client.resign(worker.id)
    return ids


def test_a_queue_is_paused_and_resumed(face: Face, app: pgjobs.App) -> None:
    face.steer(app, "pause", "ocr")
    (queue,) = face.steer(app, "queues")
    assert (queue.queue, queue.paused) == ("ocr", True)
    face.steer(app, "resume", "ocr")
    (queue,) = face.steer(app, "queues")
    assert not queue.paused


def test_a_task_is_paused_and_resumed(face: Face, app: pgjobs.App, task: Task, db: Connection) -> None:
    face.steer(app, "pause", task="read_letter")
    id = face.enqueue(task, 7)
    worker = Worker(db, ["ocr"])
    assert worker.claim() == []
    (paused,) = face.steer(app, "paused_tasks")
    assert (paused.task, paused.waiting) == ("read_letter", 1)
    job = face.job(app, id)
    assert (job.status, job.line) == (Status.WAITING, "task/read_letter")
    face.steer(app, "resume", task="read_letter")
    assert [claimed.id for claimed in worker.claim()] == [id]


def test_a_job_is_edited(face: Face, app: pgjobs.App, task: Task) -> None:
    id = face.enqueue(task, 7)
    at = datetime.now(UTC) + HOUR
    face.steer(
        app, "edit", id, priority=pgjobs.Priority.HIGH, queue="slow", available_at=at, payload={"letter_id": 8},
        metadata={"who": "ann"}, max_attempts=2, timeout=60,
    )  # fmt: skip
    job = face.job(app, id)
    assert (job.priority, job.queue, job.payload, job.max_attempts) == (-1, "slow", {"letter_id": 8}, 2)
    assert (job.metadata, job.available_at) == ({"who": "ann"}, at)
    face.steer(app, "edit", id, delay=0)
    called_forward = face.job(app, id).available_at
    assert called_forward is not None
    assert called_forward < at
    assert face.job(app, id).payload == {"letter_id": 8}


def test_what_would_not_fit_the_task_is_refused(face: Face, app: pgjobs.App, task: Task) -> None:
    id = face.enqueue(task, 7)
    stranger = face.enqueue_spec(app, Spec("of_another_app"))
    with pytest.raises(pgjobs.InvalidPayload, match="letter"):
        face.steer(app, "edit", id, payload={"letter": 8})
    with pytest.raises(pgjobs.InvalidPayload, match="'n'"):
        face.steer(app, "edit", stranger, payload={"n": object()})
    face.steer(app, "edit", stranger, payload={"anything": 1})
    assert face.job(app, stranger).payload == {"anything": 1}
    with pytest.raises(pgjobs.InvalidJob, match="time zone"):
        face.steer(app, "edit", id, available_at=datetime(2030, 1, 1))
    with pytest.raises(pgjobs.InvalidJob, match="delay must be seconds"):
        face.steer(app, "edit", id, delay="soon")
    with pytest.raises(pgjobs.InvalidJob, match="not both"):
        face.steer(app, "edit", id, delay=1, available_at=datetime.now(UTC))
    with pytest.raises(pgjobs.JobNotFound):
        face.steer(app, "edit", 4711, payload={"letter_id": 8})


@pytest.mark.parametrize("name", ["", "a\0b", "line\nline", "\ud800"])
def test_a_name_that_cannot_be_is_refused_wherever_one_is_given(
    face: Face, app: pgjobs.App, task: Task, name: str
) -> None:
    id = face.enqueue(task, 7)
    for verb, arguments, names in (
        ("pause", (), {"queue": name}), ("pause", (), {"task": name}),
        ("resume", (), {"queue": name}), ("resume", (), {"task": name}),
        ("move", ("ocr", name), {}), ("edit", (id,), {"queue": name}),
    ):  # fmt: skip
        with pytest.raises(pgjobs.InvalidJob, match=r"^The name of a (queue|task) "):
            face.steer(app, verb, *arguments, **names)
    assert face.steer(app, "paused_tasks") == []
    assert face.job(app, id).queue == "ocr"


def test_a_payload_is_of_the_present_version_of_its_task_when_it_is_edited(
    face: Face, app: pgjobs.App, db: Connection
) -> None:
    @app.task(queue="ocr", version=2)
    def read(letter_id: int) -> None: ...

    @read.upcast(from_version=1)
    def one(payload: dict[str, Any]) -> dict[str, Any]:
        return {"letter_id": payload["id"]}

    id = face.enqueue_spec(app, Spec("read", '{"id": 7}', queue="ocr"))
    assert face.job(app, id).version == 1
    face.steer(app, "edit", id, priority=1)
    assert face.job(app, id).version == 1
    face.steer(app, "edit", id, payload={"letter_id": 8})
    assert (face.job(app, id).version, face.job(app, id).payload) == (2, {"letter_id": 8})


def test_a_job_that_runs_cannot_be_edited(face: Face, app: pgjobs.App, task: Task, db: Connection) -> None:
    id = face.enqueue(task, 7)
    Worker(db, ["ocr"]).claim_one()
    with pytest.raises(pgjobs.JobNotWaiting, match="is running"):
        face.steer(app, "edit", id, priority=1)


def test_jobs_that_wait_are_cancelled_and_those_that_run_are_asked(
    face: Face, app: pgjobs.App, task: Task, db: Connection
) -> None:
    running = face.enqueue(task, 1)
    Worker(db, ["ocr"]).claim_one()
    waiting = face.enqueue(task, 2)
    done = face.steer(app, "cancel", running, waiting, 4711, reason="not needed")
    assert (done.cancelled, done.asked, done.locked) == ([waiting], [running], [])
    assert face.job(app, waiting).reason == "not needed"


def test_jobs_are_cancelled_by_conditions_however_many_they_are(face: Face, app: pgjobs.App, task: Task) -> None:
    spared = face.enqueue(task.options(queue="other"), 1)
    ids = face.enqueue_many(app, [task.spec(n) for n in range(PORTION + 10)])
    some = face.steer(app, "cancel_where", queue="ocr", limit=5)
    assert some.cancelled == ids[:5]
    rest = face.steer(app, "cancel_where", queue="ocr", task="read_letter", status="ready", newer_than=60)
    assert rest.cancelled == ids[5:]
    assert face.job(app, spared).status is Status.READY
    with pytest.raises(pgjobs.InvalidJob, match="Say which jobs"):
        face.steer(app, "cancel_where")


def test_what_runs_is_asked_by_conditions_only_when_that_is_said(
    face: Face, app: pgjobs.App, task: Task, db: Connection
) -> None:
    id = face.enqueue(task, 1)
    Worker(db, ["ocr"]).claim_one()
    assert face.steer(app, "cancel_where", queue="ocr").asked == []
    assert face.steer(app, "cancel_where", queue="ocr", status="running").asked == [id]


def test_jobs_are_moved_by_conditions(face: Face, app: pgjobs.App, task: Task) -> None:
    wanted = face.enqueue(task.options(metadata={"who": "ann", "n": 1}), 1)
    other = face.enqueue(task.options(metadata={"who": "bob"}), 2)
    assert face.steer(app, "move", "ocr", "slow", metadata={"who": "ann"}) == [wanted]
    assert (face.job(app, wanted).queue, face.job(app, other).queue) == ("slow", "ocr")
    assert face.steer(app, "move", "ocr", "slow", older_than=HOUR) == []


def test_steering_belongs_to_the_callers_transaction(face: Face, app: pgjobs.App, task: Task) -> None:
    id = face.enqueue(task, 1)
    connection = face.connect()
    face.steer(app, "cancel", id, tx=connection)
    face.steer(app, "pause", "ocr", tx=connection)
    face.do(connection.rollback())
    assert face.job(app, id).status is Status.READY
    assert not face.steer(app, "queues")[0].paused


def test_dead_letters_are_retried(face: Face, app: pgjobs.App, db: Connection) -> None:
    a, b, c = bury(db, Spec("a", queue="ocr"), Spec("b", queue="ocr"), Spec("c", queue="mail"))
    assert face.steer(app, "retry_failed", queue="ocr", error="NO A", since=60) == [a]
    assert face.steer(app, "retry_failed", b) == [b]
    with pytest.raises(pgjobs.JobNotFound):
        face.steer(app, "retry_failed", b, c)
    assert face.steer(app, "retry_failed") == [c]
    assert [job.id for job in face.steer(app, "jobs", status="ready", limit=2)] == [c, b]


def test_dead_letters_are_cleared(face: Face, app: pgjobs.App, db: Connection) -> None:
    a, b, c = bury(db, Spec("a", queue="ocr"), Spec("b", queue="ocr"), Spec("c", queue="mail"))
    assert face.steer(app, "clear_failed", task="c") == [c]
    with pytest.raises(pgjobs.JobNotFound):
        face.steer(app, "clear_failed", a, c)
    assert face.steer(app, "clear_failed", limit=1) == [a]
    assert face.steer(app, "clear_failed", b) == [b]
    assert face.steer(app, "jobs") == []


def test_the_history_is_pruned(face: Face, app: pgjobs.App, task: Task) -> None:
    ids = face.enqueue_many(app, [task.spec(n) for n in range(3)])
    face.steer(app, "cancel", *ids)
    assert face.steer(app, "prune", HOUR) == 0
    assert face.steer(app, "prune", 0) == 3
    assert face.steer(app, "jobs") == []


def test_jobs_and_workers_are_listed(face: Face, app: pgjobs.App, task: Task, db: Connection) -> None:
    first, second = face.enqueue(task, 1), face.enqueue(task.options(queue="mail"), 2)
    worker = Worker(db, ["ocr"])
    worker.claim()
    assert [job.id for job in face.steer(app, "jobs")] == [second, first]
    assert [job.id for job in face.steer(app, "jobs", status=Status.RUNNING, queue="ocr", task="read_letter")] == [
        first
    ]
    with pytest.raises(pgjobs.InvalidJob, match="not 'done'"):
        face.steer(app, "jobs", status="done")
    assert [found.id for found in face.steer(app, "workers")] == [worker.id]
