"""run_worker uses uvloop where it is installed, and Python's own loop where it is not."""

from __future__ import annotations

import asyncio
import builtins
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


def test_without_it_the_loop_is_pythons_own(app: pgjobs.App, monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "uvloop":
            raise ImportError
        return really(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert loop_of_a_handler(app).startswith("asyncio")


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
