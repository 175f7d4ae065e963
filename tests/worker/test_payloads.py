"""Arguments and results on their way through a real database and every executor; payloads of other versions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest

import pgjobs
from pgjobs import Fixed, InvalidJob, JobContext, calls
from tests.conftest import Clock, Connection
from tests.sql.by_hand import Worker

Drain = Callable[..., pgjobs.Worker]

ID = UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Color(StrEnum):
    RED = "red"


@dataclass
class Page:
    number: int
    seen: datetime | None = None


@dataclass
class Reading:
    pages: list[Page]
    price: Decimal


def describe(job: JobContext, id: UUID, pages: list[Page], color: Color, wait: timedelta) -> Reading:
    """Return what only the right types can give."""
    assert (type(id), type(color), type(wait)) == (UUID, Color, timedelta)
    return Reading([Page(page.number + job.run, page.seen) for page in pages], Decimal(f"{wait.total_seconds():.2f}"))


children = pgjobs.App("host=nowhere.invalid")  # a module's app, as child processes find it


@children.task(executor="process")
def in_child(job: JobContext, id: UUID, pages: list[Page], color: Color, wait: timedelta) -> Reading:
    """The same in a child process."""
    return describe(job, id, pages, color, wait)


async def describe_later(job: JobContext, id: UUID, pages: list[Page], color: Color, wait: timedelta) -> Reading:
    """The same as a coroutine."""
    return describe(job, id, pages, color, wait)


def test_a_task_gets_what_its_annotations_say_in_every_executor(app: pgjobs.App, drain: Drain) -> None:
    app.tasks["in_child"] = in_child
    arguments = (ID, [Page(1, NOON), Page(2)], Color.RED, timedelta(seconds=5))
    ids = app.enqueue_many(
        [
            app.task(name="in_thread")(describe).spec(*arguments),
            app.task(name="in_loop")(describe_later).spec(*arguments),
            in_child.spec(*arguments),
        ]
    )
    drain()
    for id in ids:
        job = app.job(id)
        assert (job.errors, job.status) == ((), "completed")
        assert job.payload["pages"] == [{"number": 1, "seen": "2026-03-01T12:00:00+00:00"}, {"number": 2, "seen": None}]
        assert job.result == {
            "pages": [{"number": 2, "seen": "2026-03-01T12:00:00+00:00"}, {"number": 3, "seen": None}], "price": "5.00",
        }  # fmt: skip


def test_json_from_plain_sql_is_converted_alike_and_what_does_not_fit_is_a_failed_attempt(
    app: pgjobs.App, drain: Drain, db: Connection
) -> None:
    @app.task(max_attempts=2, retry=Fixed(0))
    async def remind(job: JobContext, when: datetime) -> str:
        return when.isoformat()

    db.execute("""select pgjobs.enqueue('remind', jsonb_build_object('when', timestamptz '2026-03-01 12:00+00'))""")
    db.execute("""select pgjobs.enqueue('remind', '{"when": "2026-13-01"}')""")
    drain()
    fine, wrong = app.job(1), app.job(2)
    assert fine.result == "2026-03-01T12:00:00+00:00"
    assert (wrong.status, len(wrong.errors)) == ("dead", 2)
    assert wrong.errors[0].error == "pgjobs.errors.InvalidPayload"
    assert wrong.errors[0].message == (
        "remind: the argument 'when' must be a datetime with a time zone, not '2026-13-01'."
    )


def test_a_job_of_an_old_version_runs_through_the_upcasters_whoever_enqueued_it(
    app: pgjobs.App, drain: Drain, db: Connection
) -> None:
    before = app.task(name="read")(lambda id: id)
    old = before.enqueue(id=7)
    del app.tasks["read"]

    @app.task(name="read", version=2)
    def read(letter_id: int, language: str) -> list[Any]:
        return [letter_id, language]

    @read.upcast(from_version=1)
    def with_language(payload: dict[str, Any]) -> dict[str, Any]:
        return {"letter_id": payload["id"], "language": "en"}

    new, many = read.enqueue(8, "de"), app.enqueue_many([read.spec(9, "fr")])
    [(by_sql,)] = db.execute("""select pgjobs.enqueue('read', '{"id": 10}')""").fetchall()
    [(by_new_sql,)] = db.execute(
        """select pgjobs.enqueue('read', '{"letter_id": 11, "language": "it"}', version => 2)"""
    ).fetchall()
    drain()
    ids = [old, new, *many, by_sql, by_new_sql]
    assert [app.job(id).result for id in ids] == [[7, "en"], [8, "de"], [9, "fr"], [10, "en"], [11, "it"]]
    assert [app.job(id).version for id in ids] == [1, 2, 2, 1, 2]


def test_a_task_that_is_told_of_a_death_is_told_in_its_present_version(app: pgjobs.App, drain: Drain) -> None:
    heard: list[str] = []

    @app.task(version=2)
    async def tell(failed: pgjobs.FailedJob) -> None:
        heard.append(failed["task"])

    @tell.upcast(from_version=1)
    def never(payload: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("it is not old")

    @app.task(max_attempts=1, on_failure=tell)
    async def fall() -> None:
        raise ValueError

    fall.enqueue()
    drain()
    assert heard == ["fall"]


def test_an_upcaster_that_raises_is_a_failed_attempt(app: pgjobs.App, drain: Drain) -> None:
    @app.task(name="read", version=2, max_attempts=1)
    def read(letter_id: int) -> None: ...

    @read.upcast(from_version=1)
    def too_old(payload: dict[str, Any]) -> dict[str, Any]:
        raise LookupError("nobody remembers")

    id = app.enqueue_spec(pgjobs.Spec("read"))
    drain()
    assert app.job(id).reason == "exhausted: LookupError: nobody remembers"


def test_a_job_newer_than_the_code_of_this_worker_is_left_uncounted_for_another(
    app: pgjobs.App, drain: Drain, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    read = app.task(name="read")(lambda letter_id: letter_id)
    id = app.enqueue_spec(pgjobs.Spec("read", '{"document": 7}', version=2))
    with caplog.at_level(logging.WARNING, "pgjobs.worker"):
        drain()
    assert (
        f"job {id} is left for 0:00:05: this worker has read at version 1, and its payload is of version 2"
        in caplog.text
    )
    job = app.job(id)
    assert (job.status, job.attempts, job.run, job.version) == ("ready", 0, 1, 2)

    del app.tasks["read"]
    newer = app.task(name="read", version=2)(lambda document: document)
    newer.upcast(from_version=1)(lambda payload: {"document": payload["letter_id"]})
    old = read.enqueue(8)
    clock.advance(timedelta(seconds=5))
    drain()
    assert [app.job(each).result for each in (id, old)] == [7, 8]


@pytest.mark.parametrize("outcome", ["complete", "fail", "cancel", "crash", "cancel while waiting"])
def test_the_version_of_a_payload_stays_with_its_job(
    app: pgjobs.App, db: Connection, clock: Clock, outcome: str
) -> None:
    id = app.enqueue_spec(pgjobs.Spec("read", version=3))
    worker = Worker(db)
    match outcome:
        case "cancel while waiting":
            app_cancel(db, id)
        case "crash":
            for _ in range(3):
                assert worker.claim_one().version == 3
                clock.advance(timedelta(minutes=2))
                worker.client.rescue(10)
                worker = Worker(db)
        case "complete":
            worker.complete(worker.claim_one())
        case other:
            worker.settle(worker.claim_one(), other, reason="r")
    assert app.job(id).status in ("completed", "cancelled", "dead")
    assert app.job(id).version == 3
    if app.job(id).status == "dead":
        db.execute("select pgjobs.retry_failed(%s)", (id,))
        assert app.job(id).version == 3
        assert worker.claim_one().version == 3


def app_cancel(db: Connection, id: int) -> None:
    call = calls.cancel([id], "r")
    assert call.read(db.execute(call.sql, call.params).fetchall()).cancelled == [id]


@pytest.mark.parametrize("version", [0, -1, 32_768])
def test_a_version_that_is_none_is_refused(app: pgjobs.App, version: int) -> None:
    spec = pgjobs.Spec("read", version=version)
    for enqueue in (app.enqueue_spec, lambda spec: app.enqueue_many([spec])):
        with pytest.raises(InvalidJob, match=f"The version of a payload must be from 1 to 32767, not {version}"):
            enqueue(spec)


def test_a_payload_of_20_megabytes_arrives_and_one_too_large_is_refused_in_the_caller(
    app: pgjobs.App, drain: Drain
) -> None:
    @app.task
    async def measure(text: str) -> int:
        return len(text)

    id = measure.enqueue("x" * (20 << 20))
    with pytest.raises(
        pgjobs.InvalidPayload, match=r"The argument 'text' of measure .* 40 MiB of JSON, and a job carries 32"
    ):
        measure.enqueue("x" * (40 << 20))
    drain()
    assert app.job(id).result == 20 << 20


def test_what_plain_sql_writes_is_what_the_client_writes(app: pgjobs.App, db: Connection) -> None:
    read = app.task(name="read", version=2)(lambda when: when)
    read.upcast(from_version=1)(lambda payload: payload)
    read.enqueue(when=1)
    db.execute("select pgjobs.enqueue('read', %s, version => 2)", (json.dumps({"when": 1}),))
    one, two = db.execute("select task, payload, queue, version from pgjobs.jobs").fetchall()
    assert one == two
