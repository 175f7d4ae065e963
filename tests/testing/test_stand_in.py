"""What stands in for a database: inline, where jobs run as they are enqueued, and in memory; and what both refuse."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest

import pgjobs
from pgjobs import Fixed
from pgjobs.testing import JobsFailed, NotSupported, drain, in_memory, inline
from tests.conftest import Connection


@pytest.fixture
def app() -> pgjobs.App:
    """An app without a database."""
    return pgjobs.App("postgresql://nobody@127.0.0.1:1/nothing")


# Inline


def test_a_job_runs_where_it_is_enqueued_in_the_callers_thread(app: pgjobs.App) -> None:
    ran = []

    @app.task
    def work(n: int) -> int:
        ran.append((n, threading.current_thread()))
        return n + 1

    with inline(app):
        id = work.enqueue(1)
        assert id.created
        assert ran == [(1, threading.current_thread())]
        assert (app.job(id).status, app.job(id).result) == ("completed", 2)
        work.options(priority=pgjobs.Priority.HIGH).enqueue(2)
        app.enqueue_many([work.spec(3), work.spec(4)])
    assert [n for n, _ in ran] == [1, 2, 3, 4]


def test_a_coroutine_runs_for_a_blocking_caller_too(app: pgjobs.App) -> None:
    @app.task
    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return n

    with inline(app):
        assert app.job(work.enqueue(7)).result == 7


def test_in_an_event_loop_each_kind_of_task_runs_from_each_kind_of_enqueue(app: pgjobs.App) -> None:
    @app.task
    async def in_loop(n: int) -> int:
        await asyncio.sleep(0)
        return n

    @app.task
    def blocking(n: int) -> int:
        return asyncio.run(asyncio.sleep(0, n)) if threading.current_thread() is not main_thread else n

    main_thread = threading.current_thread()

    async def main() -> list[int]:
        ids = [in_loop.enqueue(1), blocking.enqueue(2), await in_loop.aenqueue(3), await blocking.aenqueue(4)]
        ids += await app.aenqueue_many([in_loop.spec(5), blocking.spec(6)])
        return [(await app.ajob(id)).result for id in ids]

    with inline(app):
        assert asyncio.run(main()) == [1, 2, 3, 4, 5, 6]


def test_a_blocking_handler_may_start_an_event_loop(app: pgjobs.App) -> None:
    @app.task
    def work() -> int:
        return asyncio.run(asyncio.sleep(0, 5))

    with inline(app):
        assert app.job(work.enqueue()).result == 5


def test_the_payload_makes_the_way_through_json(app: pgjobs.App) -> None:
    @app.task
    def work(pair: Any) -> str:
        return type(pair).__name__

    with inline(app):
        assert app.job(work.enqueue((1, 2))).result == "list"
        with pytest.raises(pgjobs.InvalidPayload, match="'pair' of work"):
            work.enqueue(object())


def test_a_handler_that_enqueues_runs_that_job_inside(app: pgjobs.App) -> None:
    said = []

    @app.task
    def outer() -> None:
        said.append("begin")
        inner.enqueue()
        said.append("end")

    @app.task
    async def inner() -> None:
        said.append("inner")

    with inline(app):
        outer.enqueue()
    assert said == ["begin", "inner", "end"]


def test_a_failed_run_does_not_reach_the_caller_but_is_recorded(app: pgjobs.App) -> None:
    @app.task(max_attempts=2, retry=Fixed(60))
    def work() -> None:
        raise ValueError("broken")

    with inline(app) as jobs:
        id = work.enqueue()
        job = app.job(id)
        assert (job.status, job.attempts, job.errors[0].message) == ("ready", 1, "broken")
        jobs.clock.advance(60)
        assert drain(app) == {"failed": 1}
        assert app.job(id).status == "dead"


def test_who_is_to_be_told_of_a_death_is_told_at_once(app: pgjobs.App) -> None:
    told = []

    @app.task
    async def tell(failed: pgjobs.FailedJob) -> None:
        told.append(failed["job_id"])

    @app.task(on_failure=tell, max_attempts=1)
    def die() -> None:
        raise ValueError

    with inline(app):
        id = die.enqueue()
        assert told == [id]


def test_failures_are_raised_at_the_end_of_the_block_if_asked(app: pgjobs.App) -> None:
    @app.task
    def work(n: int) -> None:
        if n % 2:
            raise ValueError(f"odd {n}")

    reached = False
    with pytest.raises(JobsFailed) as caught, inline(app, raise_on_failure=True):  # noqa: PT012
        for n in range(4):
            work.enqueue(n)
        reached = True
    assert reached
    assert [(one.id, one.task, one.message) for one in caught.value.failures] == [
        (2, "work", "odd 1"),
        (4, "work", "odd 3"),
    ]
    assert "2 attempts of jobs failed:\n  job 2, work, attempt 1: ValueError: odd 1\n" in str(caught.value)
    assert 'raise ValueError(f"odd {n}")' in str(caught.value)


def test_a_job_with_a_delay_waits_for_the_clock(app: pgjobs.App) -> None:
    ran = []

    @app.task
    def remind() -> None:
        ran.append(1)
        if len(ran) < 3:
            remind.options(delay=86_400).enqueue()

    with inline(app) as jobs:
        remind.enqueue()
        assert drain(app) == {}
        jobs.clock.advance(86_400)
        assert drain(app) == {"done": 1}
    assert len(ran) == 2


def test_inline_minds_no_transaction(app: pgjobs.App) -> None:
    @app.task
    def work() -> int:
        return 1

    with inline(app):
        assert app.job(work.options(tx=object()).enqueue()).result == 1
        with app.using(object()):
            assert app.job(work.enqueue()).result == 1


def test_a_task_for_child_processes_runs_here(app: pgjobs.App) -> None:
    with inline(app):
        work = app.task(executor="process")(of_a_module)
        assert app.job(work.enqueue(2)).result == 4
        slow = app.task(executor="process", name="slow")(coroutine_of_a_module)
        assert app.job(slow.enqueue(2)).result == 4


def of_a_module(n: int) -> int:
    return n * 2


async def coroutine_of_a_module(n: int) -> int:
    return n * 2


def test_a_handler_that_was_interrupted_says_so(app: pgjobs.App) -> None:
    @app.task(timeout=0.000_001)
    def work(job: pgjobs.JobContext) -> None:
        while True:
            job.check()

    with inline(app):
        job = app.job(work.enqueue())
    assert job.errors[0].error == "JobTimeout"


# Both


def test_afterwards_the_app_is_as_it_was(app: pgjobs.App, dsn: str) -> None:
    app = pgjobs.App(dsn)

    @app.task
    def work() -> None: ...

    before = work.enqueue()
    with in_memory(app):
        inside = work.enqueue()
        with inline(app):
            work.enqueue()
        assert app.job(inside).status == "ready"
    assert app.job(before).status == "ready"
    with app.client() as client:
        assert len(client.jobs()) == 1
    app.close()


def test_two_apps_do_not_share_what_stands_in(app: pgjobs.App) -> None:
    other = pgjobs.App("postgresql://nobody@127.0.0.1:1/nothing")
    app.task(of_a_module)
    task = other.task(of_a_module)
    with in_memory(app), in_memory(other):
        id = task.enqueue(1)
        assert other.job(id).task == "of_a_module"
        with pytest.raises(pgjobs.JobNotFound):
            app.job(id)


def test_threads_enqueue_into_the_same_memory(app: pgjobs.App) -> None:
    task = app.task(of_a_module)
    with in_memory(app):
        threads = [threading.Thread(target=lambda: [task.enqueue(n) for n in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert drain(app) == {"done": 200}


def test_many_jobs_go_into_memory_in_more_than_one_portion(app: pgjobs.App) -> None:
    task = app.task(of_a_module)
    with in_memory(app):
        ids = app.enqueue_many(task.spec(n) for n in range(5001))
        assert app.job(ids[-1]).payload == {"n": 5000}
        assert asyncio.run(app.aenqueue_many(task.spec(n) for n in range(5001)))[0] == 5002


def test_testing_without_a_database_brings_neither_alembic_nor_sqlalchemy() -> None:
    code = "import json, sys, pgjobs.testing; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert not {"alembic", "sqlalchemy", "click", "pytest", "pgjobs.embedded"} & set(json.loads(done.stdout))


# What is refused


def test_a_transaction_in_memory_is_refused(app: pgjobs.App, db: Connection) -> None:
    task = app.task(of_a_module)
    with in_memory(app):
        with pytest.raises(NotSupported, match="know no transactions"):
            task.options(tx=db).enqueue(1)
        with app.using(db), pytest.raises(NotSupported, match="know no transactions"):
            task.enqueue(1)
        with app.using(db), pytest.raises(NotSupported, match="know no transactions"):
            asyncio.run(task.aenqueue(1))


def test_a_worker_is_refused(app: pgjobs.App) -> None:
    app.task(of_a_module)
    with in_memory(app), pytest.raises(pgjobs.ConfigurationError, match=r"run jobs by its drain\(app\)"):
        app.run_worker(drain=True)


def test_a_verb_that_memory_does_not_know_is_refused(app: pgjobs.App) -> None:
    with in_memory(app), app.client() as client:
        with pytest.raises(NotSupported, match="know no worker_overview"):
            client.worker_overview()
        with pytest.raises(AttributeError):
            client.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_a_verb_that_memory_does_not_know_is_refused_in_an_event_loop(app: pgjobs.App) -> None:
    async def main() -> None:
        async with app.aclient() as client:
            await client.rescue(1)

    with in_memory(app), pytest.raises(NotSupported, match="know no rescue"):
        asyncio.run(main())


def test_to_ask_a_running_job_to_stop_is_refused(app: pgjobs.App) -> None:
    @app.task(max_attempts=1)
    def stop(job: pgjobs.JobContext) -> None:
        app.cancel(job.id)

    with in_memory(app):
        id = stop.enqueue()
        drain(app)
        (error,) = app.job(id).errors
    assert error.error.endswith("NotSupported")
    assert error.message == "Jobs in memory cannot be asked to stop while they run: test this on a real database."


def test_a_setting_that_memory_does_not_know_is_refused(app: pgjobs.App) -> None:
    @dataclass(frozen=True)
    class NewerSpec(pgjobs.Spec):
        colour: str | None = None

    spec = NewerSpec(task="work")
    with in_memory(app):
        app.enqueue_spec(spec)
        with pytest.raises(NotSupported, match="know no colour"):
            app.enqueue_spec(replace(spec, colour="red"))
