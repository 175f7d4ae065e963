"""Tasks for child processes, which import this module by its name."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pgjobs

app = pgjobs.App()
in_process = {"executor": "process", "queue": "children"}


@app.task(executor="process", queue="children")
def add(a: int, b: int) -> int:
    return a + b


@app.task(executor="process", queue="children")
async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@app.task(executor="process", queue="children")
def pid() -> int:
    return os.getpid()


@app.task(executor="process", queue="children", max_attempts=1)
def crash(signal_name: str) -> None:
    os.kill(os.getpid(), signal.Signals[signal_name])
    signal.pause()


@app.task(executor="process", queue="children", max_attempts=1)
def leave(status: int) -> None:
    os._exit(status)


@app.task(executor="process", queue="children", max_attempts=1)
def say_exit() -> None:
    sys.exit("enough")


@app.task(executor="process", queue="children", max_attempts=1, timeout=0.5)
def spin() -> None:
    while True:
        pass


@app.task(executor="process", queue="children", max_attempts=1)
def spin_telling(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    while True:
        time.monotonic()


@app.task(executor="process", queue="children", max_attempts=3)
def attempt(context: pgjobs.JobContext) -> list[int]:
    return [context.attempt, context.max_attempts, context.id, context.run]


@app.task(executor="process", queue="children", max_attempts=1)
def snooze_once(context: pgjobs.JobContext) -> str:
    if context.run == 1:
        raise pgjobs.Snooze(0)
    return "rested"
