"""What people say to queues, tasks and jobs, workers obey at once: they poll once an hour in these tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import pgjobs
from pgjobs import Status
from tests.worker.conftest import run
from tests.worker.test_worker import idle

Drain = Callable[..., pgjobs.Worker]


def resume_task(app: pgjobs.App, id: int) -> None:
    app.resume(task="ring")


def resume_queue(app: pgjobs.App, id: int) -> None:
    app.resume("default")


def call_forward(app: pgjobs.App, id: int) -> None:
    app.edit(id, delay=0)


def move_in(app: pgjobs.App, id: int) -> None:
    app.move("elsewhere", "default")


def edit_in(app: pgjobs.App, id: int) -> None:
    app.edit(id, queue="default")


@pytest.mark.parametrize("steer", [resume_task, resume_queue, call_forward, move_in, edit_in], ids=lambda f: f.__name__)
def test_an_idle_worker_is_woken_by(app: pgjobs.App, steer: Callable[[pgjobs.App, int], None]) -> None:
    async def main() -> None:
        ran = asyncio.Event()

        @app.task
        async def ring() -> None:
            ran.set()

        @app.task
        async def sound() -> None: ...

        options = ring.options(
            queue="elsewhere" if steer in (move_in, edit_in) else None, delay=7200 if steer is call_forward else None
        )
        if steer is resume_task:
            app.pause(task="ring")
        elif steer is resume_queue:
            app.pause("default")
        id = options.enqueue()
        async with app.worker(["default"], poll=3600, concurrency=2) as worker:
            await idle(worker)
            assert not ran.is_set()
            steer(app, id)
            await ran.wait()

    run(main)


def test_a_worker_that_drains_ends_when_only_jobs_of_paused_tasks_are_left(app: pgjobs.App, drain: Drain) -> None:
    @app.task
    def held(n: int) -> None: ...

    @app.task(priority=pgjobs.Priority.LOW)
    def work(n: int) -> None: ...

    app.pause(task="held")
    # More than it claims at once, so that its first claims take nothing but what they park.
    held_ids = app.enqueue_many([held.spec(n) for n in range(10)])
    work_ids = app.enqueue_many([work.spec(n) for n in range(10)])
    worker = drain(concurrency=2)
    assert worker.stats["done"] == 10
    assert {app.job(id).status for id in work_ids} == {Status.COMPLETED}
    assert {app.job(id).status for id in held_ids} == {Status.WAITING}
    app.resume(task="held")
    assert drain(concurrency=2).stats["done"] == 10
    assert {app.job(id).status for id in held_ids} == {Status.COMPLETED}


def test_workers_go_on_with_a_resume_whose_caller_took_back_only_its_first_portion(app: pgjobs.App) -> None:
    async def main() -> None:
        left, done = 1_010, asyncio.Event()

        @app.task
        async def count() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        app.pause(task="count")
        app.enqueue_many([count.spec()] * left)
        async with app.worker(["default"], poll=3600, concurrency=200) as worker:
            await idle(worker)
            assert [task.waiting for task in app.paused_tasks()] == [left]
            app.resume(task="count")
            await done.wait()

    run(main)
