"""The tasks of the measured workers, for one executor and one retention, which the environment names.

The environment and not an argument, since the processes that run a task import this module by its name as well.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any, cast

import common
import pgjobs
from pgjobs.task import ExecutorName, Keep

EXECUTOR = cast(ExecutorName, os.environ.get("BENCH_EXECUTOR", "async"))
KEEP = cast(Keep, os.environ.get("BENCH_KEEP", "history"))

app = pgjobs.App(os.environ.get("BENCH_URL"))
starts: common.Counter | None = None  # where handlers count themselves; None: nobody counts
if path := os.environ.get("BENCH_STARTS"):
    starts = common.SharedStarts(path)


async def in_loop(n: int, text: str, ms: float = 0) -> None:
    """Count, and wait if asked to."""
    if starts is not None:
        starts.started(n)
    if ms:
        await asyncio.sleep(ms / 1000)


def blocking(n: int, text: str, ms: float = 0) -> None:
    """The same for threads and processes."""
    if starts is not None:
        starts.started(n)
    if ms:
        time.sleep(ms / 1000)


decorate = app.task(name="noop", queue=common.QUEUE, executor=EXECUTOR, keep=KEEP)
handler: Callable[..., Any] = in_loop if EXECUTOR == "async" else blocking
handler.__qualname__ = "noop"  # child processes find a task by its module and the name it has there
noop: pgjobs.Task[..., Any] = decorate(handler)


@app.task(queue=common.QUEUE, keep=KEEP, retry=[0.05])
async def second_time(context: pgjobs.JobContext, n: int, text: str) -> None:
    """Fail at the first attempt, so that it is tried again."""
    if starts is not None:
        starts.started(n)
    if context.attempt == 1:
        raise RuntimeError("as asked for")


@app.task(queue=common.QUEUE)
async def sleep() -> None:
    """Until its worker is killed."""
    await asyncio.sleep(3600)
