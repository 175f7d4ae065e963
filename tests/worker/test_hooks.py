"""Hooks at work: what a worker tells, when it tells it, and what it does not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs import ConfigurationError, Event
from pgjobs.outcome import Done
from tests.conftest import Connection
from tests.worker import crashing

Drain = Callable[..., pgjobs.Worker]


def on_everything(app: pgjobs.App, hook: Callable[[Event], Any]) -> None:
    for register in app.on_start, app.on_success, app.on_retry, app.on_failure, app.on_error:
        register(hook)


def test_what_becomes_of_a_job_is_told_once_it_is_written(app: pgjobs.App, drain: Drain) -> None:
    heard: list[tuple[Any, ...]] = []

    @app.task(max_attempts=2, retry=[0])
    def play(part: str) -> str:
        if part == "fall":
            raise ValueError("no")
        if part == "cancel":
            raise pgjobs.Cancel("enough")
        if part == "fail":
            raise pgjobs.Fail("no use")
        return part

    def hear(event: Event) -> None:
        assert event.job is not None
        job = app.job(event.job.id)
        if event.kind in ("success", "failure", "retry"):
            assert event.seconds is not None
            heard.append((job.id, event.kind, event.job.attempt, event.error, str(job.status) in ("completed", "dead")))
        else:
            heard.append((job.id, event.kind, event.job.attempt, event.error))

    on_everything(app, hear)
    ids = {part: play.enqueue(part) for part in ("well", "fall", "cancel", "fail")}
    worker = drain(concurrency=1)
    told = {part: [entry[1:] for entry in heard if entry[0] == id] for part, id in ids.items()}
    assert told["well"] == [("start", 1, None), ("success", 1, None, True)]
    assert told["cancel"] == [("start", 1, None)]
    assert told["fail"] == [
        ("start", 1, None), ("error", 1, "Fail: no use"), ("failure", 1, "Fail: no use", True),
    ]  # fmt: skip
    assert [entry[:3] for entry in told["fall"]] == [
        ("start", 1, None), ("error", 1, "ValueError: no"), ("retry", 1, "ValueError: no"),
        ("start", 2, None), ("error", 2, "ValueError: no"), ("failure", 2, "ValueError: no"),
    ]  # fmt: skip
    assert worker.stats["done"] == 1


def test_a_job_in_a_child_process_is_told_of_in_the_worker(app: pgjobs.App, drain: Drain) -> None:
    app.tasks["add"], app.tasks["leave"] = crashing.add, crashing.leave
    heard: list[Event] = []
    on_everything(app, heard.append)
    app.enqueue_many([crashing.add.spec(1, 2)])
    app.enqueue_many([crashing.leave.spec(3)])
    drain(["children"], concurrency=1)
    assert [event.kind for event in heard] == ["start", "success", "start", "error", "failure"]
    assert heard[1].outcome == Done("3")
    assert heard[4].error == "ProcessDied: its process ended with exit status 3"


@pytest.mark.parametrize("max_attempts", [1, 2])
def test_a_failure_of_a_job_that_somebody_has_cancelled_is_told_as_no_retry_and_no_death(
    app: pgjobs.App, drain: Drain, max_attempts: int
) -> None:
    heard: list[str] = []

    @app.task(max_attempts=max_attempts)
    async def fall(job: pgjobs.JobContext) -> None:
        with app.client() as client:
            assert client.cancel([job.id], "enough").asked == [job.id]
        raise ValueError("no")

    on_everything(app, lambda event: heard.append(event.kind))
    id = fall.enqueue()
    drain()
    assert (app.job(id).status, app.job(id).reason) == (pgjobs.Status.CANCELLED, "enough")
    assert heard == ["start", "error"]


def test_an_outcome_that_is_void_is_not_told(app: pgjobs.App, drain: Drain, db: Connection) -> None:
    heard: list[str] = []

    @app.task
    async def lose() -> None:
        db.execute("update pgjobs.jobs set run = run + 1 where task = 'lose' and run = 1")

    on_everything(app, lambda event: heard.append(event.kind))
    lose.enqueue()
    worker = app.make_worker()
    fenced = asyncio.Event()
    forget = worker._claimer._forget

    def forgotten(*settled: Any) -> None:
        forget(*settled)
        if worker.stats["fenced"]:
            fenced.set()

    setattr(worker._claimer, "_forget", forgotten)  # noqa: B010

    async def main() -> None:
        running = asyncio.create_task(worker.run())
        await fenced.wait()
        worker.stop()
        await running

    asyncio.run(asyncio.wait_for(main(), 60))
    assert heard == ["start"]


def test_hooks_that_raise_and_hang_harm_no_job(
    app: pgjobs.App, drain: Drain, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pgjobs.worker.teller.AT_THE_END", 0.1)

    @app.on_success
    def raise_(event: Event) -> None:
        raise ValueError("no")

    @app.on_start
    async def hang(event: Event) -> None:
        await asyncio.Event().wait()

    @app.task
    async def work() -> None: ...

    ids = app.enqueue_many([work.spec() for _ in range(50)])
    drain()
    assert {str(app.job(id).status) for id in ids} == {"completed"}


def test_a_trouble_of_the_worker_is_told_without_a_job(app: pgjobs.App, connect: Callable[..., Connection]) -> None:
    async def main() -> None:
        heard, told = [], asyncio.Event()

        @app.on_error
        async def hear(event: Event) -> None:
            heard.append((event.job, event.error))
            told.set()

        @app.task
        async def work() -> None: ...

        async with app.worker():
            connect().execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'pgjobs worker' and datname = current_database()"
            )
            work.enqueue()
            await told.wait()
        [(job, error)] = heard
        assert job is None
        assert error is not None
        assert (
            error.startswith(f"{psycopg.errors.AdminShutdown.__module__}.AdminShutdown") or "OperationalError" in error
        )

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_hook_is_a_function(app: pgjobs.App) -> None:
    with pytest.raises(ConfigurationError, match="A hook is a function, not 5"):
        app.on_start(5)  # type: ignore[type-var]

    @app.on_start
    def hook(event: Event) -> int:
        return 5

    assert hook(Event("start", 1)) == 5  # it is still the function it was
