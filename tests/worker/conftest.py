"""What the worker's tests share: run one to its end, and tasks whose handlers tell the test what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import pgjobs
from tests.sql.one_database import one_database

database, dsn = one_database()


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a test's coroutine; a minute is for ever."""

    async def bounded() -> Any:
        return await asyncio.wait_for(main(), 60)

    return asyncio.run(bounded())


@pytest.fixture
def drain(app: pgjobs.App) -> Callable[..., pgjobs.Worker]:
    """Run a worker on all queues of the app until nothing runnable is left, and return it."""

    def drain(queues: list[str] | None = None, **options: Any) -> pgjobs.Worker:
        worker = app.make_worker(queues, drain=True, **options)
        run(worker.run)
        return worker

    return drain
