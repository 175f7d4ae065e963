"""Middleware at work: around runs in every executor, and around every way to enqueue."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

import pgjobs
from pgjobs import JobId, Spec
from tests.conftest import Connection
from tests.worker import policing

Drain = Callable[..., pgjobs.Worker]


def test_the_same_middleware_is_around_coroutines_and_threads(app: pgjobs.App, drain: Drain) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    seen: list[Any] = []

    @app.around_run
    def set_tenant(job: pgjobs.JobContext) -> Generator[None, Any, None]:
        assert job.metadata is not None
        tenant.set(job.metadata["tenant"])
        result = yield
        seen.append((job.task, result, threading.current_thread() is threading.main_thread()))

    @app.task
    async def in_loop() -> str:
        await asyncio.sleep(0)
        return tenant.get()

    @app.task(timeout=60)
    async def in_time() -> str:
        return tenant.get()

    @app.task
    def in_thread() -> str:
        return tenant.get()

    ids = [task.options(metadata={"tenant": task.name}).enqueue() for task in (in_loop, in_time, in_thread)]
    drain()
    assert [app.job(id).result for id in ids] == ["in_loop", "in_time", "in_thread"]
    assert sorted(seen) == [
        ("in_loop", "in_loop", True),
        ("in_thread", "in_thread", False),
        ("in_time", "in_time", True),
    ]


def test_in_a_child_process_it_is_around_the_run_in_the_child(app: pgjobs.App, drain: Drain) -> None:
    app.tasks.update(policing.app.tasks)
    ids = app.enqueue_many([policing.read_marks.spec(), policing.raise_key_error.spec(), policing.read_marks.spec()])
    drain(concurrency=1)
    assert app.job(ids[0]).result == ["before read_marks"]
    assert app.job(ids[1]).reason == "a KeyError, and before raise_key_error"
    assert app.job(ids[2]).result == ["before read_marks"]


def test_one_registered_after_the_task_is_around_it_too(app: pgjobs.App, drain: Drain) -> None:
    @app.task
    async def work() -> None: ...

    @app.around_run
    def refuse(job: pgjobs.JobContext) -> Generator[None, Any, None]:
        if job.task == "work":
            raise pgjobs.Cancel("not here")
        yield

    id = work.enqueue()
    drain()
    assert (app.job(id).status, app.job(id).reason) == ("cancelled", "not here")


def test_a_broken_middleware_is_a_failed_attempt(app: pgjobs.App, drain: Drain) -> None:
    @app.task(max_attempts=1)
    async def work() -> str:
        return "done"

    @app.around_run
    def broken(job: pgjobs.JobContext) -> Generator[None, Any, None]:
        yield
        yield

    id = work.enqueue()
    drain()
    assert app.job(id).reason == "exhausted: RuntimeError: The middleware broken yielded more than once."


def test_a_timeout_passes_through_it(app: pgjobs.App, drain: Drain) -> None:
    seen: list[str] = []

    @app.around_run
    def watch(job: pgjobs.JobContext) -> Generator[None, Any, None]:
        try:
            yield
        except BaseException as error:
            seen.append(type(error).__name__)  # and swallows it, in vain

    @app.task(max_attempts=1, timeout=0.05)
    async def wait() -> None:
        await asyncio.Event().wait()

    id = wait.enqueue()
    drain()
    assert seen == ["CancelledError"]
    assert (app.job(id).reason or "").startswith("exhausted: JobTimeout")


# Around an enqueue


@pytest.mark.parametrize("way", ["enqueue", "aenqueue", "enqueue_many", "aenqueue_many", "transaction"])
def test_every_way_to_enqueue_goes_through_it(app: pgjobs.App, connect: Callable[..., Connection], way: str) -> None:
    told: list[JobId] = []

    @app.around_enqueue
    def tag(spec: Spec) -> Generator[Spec, JobId, None]:
        id = yield pgjobs.with_metadata(pgjobs.with_arguments(spec, y=2), tagged=True)
        told.append(id)

    @app.task
    def work(x: int, y: int = 0) -> None: ...

    bound = work.options(metadata={"by": way})

    async def later() -> list[JobId]:
        try:
            return [await bound.aenqueue(1)] if way == "aenqueue" else await app.aenqueue_many([bound.spec(1)] * 3)
        finally:
            await app.aclose()

    if way == "transaction":
        with connect(autocommit=False) as connection:
            ids = [work.options(tx=connection, metadata={"by": way}).enqueue(1)]
    elif way == "enqueue":
        ids = [bound.enqueue(1)]
    elif way == "enqueue_many":
        ids = app.enqueue_many([bound.spec(1)] * 3)
    else:
        ids = asyncio.run(later())
    for id in ids:
        job = app.job(id)
        assert (job.payload, job.metadata) == ({"x": 1, "y": 2}, {"by": way, "tagged": True})
    assert sorted(told) == sorted(ids)


def test_one_that_refuses_keeps_the_job_out(app: pgjobs.App, db: Connection) -> None:
    @app.around_enqueue
    def refuse(spec: Spec) -> Generator[Spec, JobId, None]:
        raise pgjobs.InvalidJob("The queues are closed.")
        yield spec

    @app.task
    def work() -> None: ...

    with pytest.raises(pgjobs.InvalidJob, match="The queues are closed"):
        work.enqueue()
    with pytest.raises(pgjobs.InvalidJob, match="The queues are closed"):
        app.enqueue_many([work.spec()])
    assert app.enqueue_many([]) == []
    assert db.execute("select count(*) from pgjobs.jobs").fetchone() == (0,)


# Our own


def test_at_debug_level_a_worker_logs_each_run_with_the_job_as_fields(
    app: pgjobs.App, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(max_attempts=1)
    async def work(well: bool) -> None:
        assert well, "not well"

    ids = [work.enqueue(True), work.enqueue(False)]
    caplog.set_level(logging.DEBUG, "pgjobs")
    drain()
    for id, ending in zip(ids, ("finished after ", "ended by AssertionError after "), strict=True):
        records = [record for record in caplog.records if getattr(record, "job", None) == id]
        started, ended = (record for record in records if record.name == "pgjobs.task.work")
        assert started.getMessage() == "started, attempt 1 of 1"
        assert ended.getMessage().startswith(ending)
        for record in records:
            assert [getattr(record, name) for name in ("run", "queue", "task")] == [1, "default", "work"]
    assert len([record for record in caplog.records if "attempt 1 failed" in record.getMessage()]) == 1
