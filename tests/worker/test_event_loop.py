"""run_worker uses uvloop where it is installed, and Python's own loop where it is not."""

from __future__ import annotations

import asyncio
import builtins
import os
import signal
import sys
from typing import Any

import pytest

import pgjobs
from tests.worker import crashing


def loop_of_a_handler(app: pgjobs.App) -> str:
    @app.task
    async def which() -> str:
        return type(asyncio.get_running_loop()).__module__

    id = which.enqueue()
    app.run_worker(["default"], drain=True)
    result: str = app.job(id).result
    return result


def test_uvloop_is_used_where_it_is_installed(app: pgjobs.App) -> None:
    pytest.importorskip("uvloop")
    assert loop_of_a_handler(app).startswith("uvloop")


def test_without_it_the_loop_is_pythons_own(app: pgjobs.App, without_uvloop: None) -> None:
    assert loop_of_a_handler(app).startswith("asyncio")


@pytest.fixture
def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "uvloop":
            raise ImportError
        return really(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.fixture(params=["uvloop", "asyncio"])
def either(request: pytest.FixtureRequest) -> None:
    """With uvloop and without."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    else:
        request.getfixturevalue("without_uvloop")


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt])
def test_what_a_task_of_a_handlers_raises_ends_neither_the_loop_nor_other_jobs(
    app: pgjobs.App, how: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    begun, failed = asyncio.Event(), asyncio.Event()

    async def leave() -> None:
        raise how("enough")

    @app.task(max_attempts=1)
    async def wait_for_it() -> None:
        await begun.wait()
        try:
            await asyncio.create_task(leave())
        finally:
            failed.set()

    @app.task(max_attempts=1)
    async def gather() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())
            group.create_task(leave())

    @app.task
    async def other() -> str:
        begun.set()
        await failed.wait()
        await asyncio.sleep(0)
        return "finished"

    @app.task
    async def forget() -> str:
        asyncio.get_running_loop().call_soon(sys.exit, 1)
        await asyncio.sleep(0.01)
        return "finished"

    ids = app.enqueue_many([wait_for_it.spec(), gather.spec(), other.spec(), forget.spec()])
    app.run_worker(["default"], drain=True)
    jobs = [app.job(id) for id in ids]
    assert [job.reason for job in jobs[:2]] == [f"exhausted: {how.__name__}: enough"] * 2
    assert [job.result for job in jobs[2:]] == ["finished"] * 2
    assert "escape into the event loop, which would have ended; it goes on" in caplog.text


def test_nor_does_it_reach_the_next_job_of_a_child(app: pgjobs.App) -> None:
    app.tasks.update(crashing.app.tasks)
    ids = app.enqueue_many([crashing.leave_in_a_task.spec(), crashing.add_later.spec(1, 2)])
    app.run_worker(["children"], drain=True, concurrency=1)
    jobs = [app.job(id) for id in ids]
    assert (jobs[0].reason, jobs[1].result, jobs[1].errors) == ("exhausted: SystemExit: enough", 3, ())


def test_a_signal_still_stops_a_worker_whose_loop_was_entered_again(app: pgjobs.App) -> None:
    @app.task
    async def leave() -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 1)
        await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    id = leave.enqueue()
    app.run_worker(["default"])
    assert app.job(id).status is pgjobs.Status.COMPLETED


def test_children_are_run_replaced_and_read_by_uvloop_too(app: pgjobs.App, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("uvloop")
    app.tasks.update(crashing.app.tasks)
    tasks = (crashing.print_and.spec(end="crash"), crashing.spin.spec(), crashing.add.spec(1, 2))
    ids = app.enqueue_many(tasks)
    app.run_worker(["children"], drain=True, concurrency=1)
    jobs = [app.job(id) for id in ids]
    assert [error.error for job in jobs for error in job.errors] == ["ProcessDied", "JobTimeout"]
    assert jobs[2].result == 3
    assert "a warning" in caplog.messages
