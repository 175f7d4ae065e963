"""Tasks with policies and middleware for child processes, which import this module by its name."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pgjobs

app = pgjobs.App()


@app.around_run
def mark(job: pgjobs.JobContext) -> Generator[None, Any, None]:
    """Write down what happens around the run, where the handler can read it."""
    marks.append(f"before {job.task}")
    try:
        yield
    except KeyError:
        raise pgjobs.Cancel("a KeyError, and " + ", ".join(marks)) from None
    finally:
        marks.clear()


marks: list[str] = []


@app.task(executor="process", queue="children")
def read_marks() -> list[str]:
    return list(marks)


@app.task(executor="process", queue="children")
def raise_key_error() -> None:
    raise KeyError


@app.task(executor="process", queue="children", retry_on=OSError, fail_on=FileNotFoundError, max_attempts=2, retry=[0])
def fail_with(name: str) -> None:
    raise getattr(__import__("builtins"), name)(name)


@app.task(executor="process", queue="children", max_attempts=3, retry=lambda attempt, error: 100 * attempt)
def wait_as_computed() -> None:
    raise ValueError("no")


@app.task(executor="process", queue="children", retry_on=OSError, timeout=0.3, retry=[0])
def take_too_long() -> None:
    while True:
        pass


@app.task(executor="process", queue="children", max_attempts=2, retry=[0])
def say(what: str) -> None:
    raise outcome(what)


@app.task(executor="process", queue="children", max_attempts=2, retry=[0])
async def say_in_a_group(what: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(say_so(what))
        await asyncio.Event().wait()


async def say_so(what: str) -> None:
    raise outcome(what)


def outcome(what: str) -> BaseException:
    """What handlers raise to say more."""
    said: dict[str, BaseException] = {
        "snooze": pgjobs.Snooze(3600),
        "retry": pgjobs.Retry(0, "again"),
        "cancel": pgjobs.Cancel("enough"),
        "fail": pgjobs.Fail("no use"),
    }
    return said[what]
