"""Troubles that a test can order: they happen as often as asked, for real, and nothing is left of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs import Fixed
from pgjobs.testing import Clock, break_connections, drain, failing, in_memory, inline, lose_worker, losing_replies
from tests.conftest import Connection


@pytest.mark.parametrize("coroutine", [False, True])
def test_a_task_fails_as_often_as_asked_and_then_works(app: pgjobs.App, coroutine: bool) -> None:
    def blocking(n: int) -> int:
        return n

    async def in_loop(n: int) -> int:
        return n

    task = app.task(name="work", retry=Fixed(0))(in_loop if coroutine else blocking)
    with in_memory(app), failing(task, times=2, error=ConnectionError("no route")) as trouble:
        id = task.enqueue(5)
        assert drain(app) == {"failed": 2, "done": 1}
        job = app.job(id)
        assert trouble.count == 2
    assert (job.result, job.attempts) == (5, 2)
    assert [(error.error, error.message) for error in job.errors] == [("ConnectionError", "no route")] * 2


def test_a_task_fails_always_without_a_number_and_works_again_after_the_block(app: pgjobs.App) -> None:
    @app.task(max_attempts=3, retry=Fixed(0))
    def work() -> int:
        return 1

    with in_memory(app):
        with failing(work, times=None, error=OSError) as trouble:
            work.enqueue()
            assert drain(app) == {"failed": 3}
            assert trouble.count == 3
        assert drain(app) == {}
        id = work.enqueue()
        drain(app)
        assert app.job(id).result == 1


def test_a_real_worker_meets_the_trouble_too(app: pgjobs.App) -> None:
    @app.task(retry=Fixed(0))
    def work() -> int:
        return 1

    id = work.enqueue()
    with failing(work, error=pgjobs.Retry(0, "busy")):
        assert drain(app) == {"failed": 1, "done": 1}
    assert [error.message for error in app.job(id).errors] == ["busy"]


def test_a_task_in_child_processes_cannot_be_made_to_fail(app: pgjobs.App) -> None:
    task = app.task(executor="process")(of_a_module)
    with pytest.raises(pgjobs.ConfigurationError, match="of_a_module runs in child processes"), failing(task):
        pass


def of_a_module() -> None: ...


def test_a_worker_whose_claim_was_not_heard_of_gives_the_job_back(app: pgjobs.App) -> None:
    @app.task
    async def work() -> int:
        return 1

    id = work.enqueue()
    with losing_replies("claim", when=lambda step, *asked: step.claimed) as trouble:
        assert drain(app) == {"done": 1}
    job = app.job(id)
    assert trouble.count == 1
    assert (job.run, job.attempts, job.crashes) == (2, 0, 0)


def test_connections_are_cut_by_name_and_their_worker_goes_on(app: pgjobs.App, db: Connection) -> None:
    cut: list[int] = []

    @app.task
    def work() -> None:
        cut.extend(break_connections(db, of) for of in ("pgjobs worker", "pgjobs listener", "pgjobs keeper"))

    id = work.enqueue()
    with losing_replies("claim", times=0) as trouble:
        drain(app)
    assert cut[0] == 1
    assert trouble.count == 0
    assert app.job(id).status == "completed"
    assert break_connections(db, "nobody") == 0


def test_cut_connections_leave_the_tests_own_alone(db: Connection, dsn: str) -> None:
    with psycopg.connect(dsn, application_name="pgjobs") as other:
        assert break_connections(db, "pgjobs") == 1
        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")
    assert db.execute("select 1").fetchone() == (1,)


def test_the_jobs_of_a_lost_worker_come_again_with_a_crash_and_the_third_time_are_dead(
    app: pgjobs.App, clock: Clock
) -> None:
    runs = []

    @app.task
    def work(job: pgjobs.JobContext) -> None:
        runs.append(job.run)

    id = work.enqueue()
    later = work.options(delay=3600).enqueue()
    assert lose_worker(app, clock) == [id]
    assert (app.job(id).status, app.job(id).crashes, app.job(id).run) == ("ready", 1, 1)
    assert drain(app) == {"done": 1}
    assert runs == [2]
    poison = work.enqueue()
    for _ in range(3):
        assert lose_worker(app, clock, lease=timedelta(seconds=5)) == [poison]
    assert app.job(poison).status == "dead"
    assert app.job(later).status == "ready"
    assert lose_worker(app, clock) == []


def test_troubles_in_an_event_loop_count_for_inline_jobs(app: pgjobs.App) -> None:
    @app.task
    async def work() -> int:
        return 1

    async def main() -> Any:
        id = await work.aenqueue()
        return (await app.ajob(id)).errors[0].error

    with inline(app), failing(work, error=TimeoutError):
        assert asyncio.run(main()) == "TimeoutError"
