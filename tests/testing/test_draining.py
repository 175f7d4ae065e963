"""Draining: by a real worker in this process, bounded, and failing the test if asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pgjobs
from pgjobs.testing import JobsFailed, adrain, drain, in_memory
from tests.conftest import Connection


@pytest.fixture(params=["in memory", "real"])
def app(request: pytest.FixtureRequest) -> Iterator[pgjobs.App]:
    """An app in memory, and one on a database."""
    if request.param == "real":
        app = pgjobs.App(request.getfixturevalue("dsn"))
        yield app
        app.close()
        return
    app = pgjobs.App()
    with in_memory(app):
        yield app


def test_a_drain_of_nothing_does_nothing(app: pgjobs.App) -> None:
    assert drain(app) == {}


def test_failed_attempts_are_raised_if_asked(app: pgjobs.App) -> None:
    @app.task(retry=pgjobs.Fixed(60))
    def work(n: int) -> None:
        if n:
            raise ValueError(f"broken {n}")

    app.enqueue_many(work.spec(n) for n in range(3))
    with pytest.raises(JobsFailed) as caught:
        drain(app, raise_on_failure=True)
    assert {(one.task, one.attempt, one.error, one.message) for one in caught.value.failures} == {
        ("work", 1, "ValueError", "broken 1"), ("work", 1, "ValueError", "broken 2"),
    }  # fmt: skip
    assert "2 attempts of jobs failed:" in str(caught.value)
    assert 'raise ValueError(f"broken {n}")' in str(caught.value)


def test_an_event_loop_is_not_blocked_but_told_what_to_do(app: pgjobs.App) -> None:
    async def main() -> None:
        drain(app)

    with pytest.raises(pgjobs.ConfigurationError, match=r"use `await adrain\(app\)`"):
        asyncio.run(main())


def test_in_an_event_loop_jobs_run_in_that_loop(app: pgjobs.App) -> None:
    async def main() -> None:
        mine = asyncio.get_running_loop()

        @app.task
        async def work() -> bool:
            return asyncio.get_running_loop() is mine

        id = await work.aenqueue()
        assert await adrain(app, raise_on_failure=True) == {"done": 1}
        assert (await app.ajob(id)).result is True
        await app.aclose()

    asyncio.run(main())


def test_a_drain_that_takes_too_long_gives_up_and_the_job_goes_back(app: pgjobs.App) -> None:
    cut = threading.Event()

    @app.task
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    id = hang.enqueue()
    with pytest.raises(TimeoutError, match="give the drain a longer timeout"):
        drain(app, timeout=0.5)
    assert cut.is_set()
    assert (app.job(id).status, app.job(id).attempts) == ("ready", 0)


def test_a_job_that_comes_back_for_ever_ends_at_the_timeout(app: pgjobs.App) -> None:
    @app.task
    async def again() -> None:
        raise pgjobs.Snooze(0)

    again.enqueue()
    with pytest.raises(TimeoutError):
        drain(app, timeout=0.5)


def test_a_paused_queue_is_left_alone(dsn: str, db: Connection) -> None:
    with on(dsn) as app:
        id = work_on(app).enqueue()
        db.execute("select pgjobs.pause('default')")
        assert drain(app) == {}
        assert app.job(id).status == "ready"


def test_a_job_that_somebody_has_locked_does_not_keep_the_drain(dsn: str, connect: Any) -> None:
    with on(dsn) as app:
        id = work_on(app).enqueue()
        other = connect(autocommit=False)
        other.execute("select from pgjobs.jobs for update")
        assert drain(app) == {}
        other.rollback()
        assert drain(app) == {"done": 1}
        assert app.job(id).status == "completed"


def test_jobs_are_run_as_a_worker_does_at_the_concurrency_asked_for(dsn: str) -> None:
    with on(dsn) as app:
        together = threading.Barrier(3)

        @app.task
        def meet() -> None:
            together.wait(30)

        app.enqueue_many([meet.spec()] * 3)
        assert drain(app, concurrency=3, raise_on_failure=True) == {"done": 3}


@contextmanager
def on(dsn: str) -> Iterator[pgjobs.App]:
    app = pgjobs.App(dsn)
    yield app
    app.close()


def work_on(app: pgjobs.App) -> pgjobs.Task[[], None]:
    @app.task
    def work() -> None: ...

    return work
