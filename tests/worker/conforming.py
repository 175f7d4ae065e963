"""Tasks that every executor must treat alike, each once for the loop, for threads and for child processes.

NAME_async, NAME_thread and NAME_process; a child finds them in this module by these names.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psycopg

import pgjobs

app = pgjobs.App()
KINDS = ("async", "thread", "process")
variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def task(function: Callable[..., Any], *executors: pgjobs.task.ExecutorName, **options: Any) -> None:
    """Make a function a task of each executor, under a name of its own."""
    for executor in executors:
        name = f"{function.__name__.removeprefix('a_')}_{executor}"
        copy = types.FunctionType(function.__code__, globals(), name, function.__defaults__, function.__closure__)
        copy.__annotations__, copy.__qualname__ = function.__annotations__, name
        copy.__kwdefaults__ = function.__kwdefaults__
        options = {"queue": "conforming", "max_attempts": 1, **options}
        globals()[name] = app.task(name=name, executor=executor, **options)(copy)


def both(blocking: Callable[..., Any], waiting: Callable[..., Any], **options: Any) -> None:
    """Make tasks of a function and of its twin that is a coroutine function."""
    task(blocking, "thread", "process", **options)
    task(waiting, "async", **options)


def tell(path: str) -> None:
    """Let the test know, which waits for it at the other end of a named pipe."""
    Path(path).write_text("here")


# What they do


def describe(job: pgjobs.JobContext, x: int = 2) -> list[Any]:
    return [job.id, job.run, job.attempt, job.queue, 21 * x, variable.get()]


async def a_describe(job: pgjobs.JobContext, x: int = 2) -> list[Any]:
    return describe(job, x)


def remember() -> int:
    variable.set(variable.get() + 1)
    return variable.get()


async def a_remember() -> int:
    return remember()


def end(how: str, job: pgjobs.JobContext) -> str:
    if job.run > 1:
        return "again"
    match how:
        case "raise":
            raise ValueError("broken")
        case "retry":
            raise pgjobs.Retry(0, "once more")
        case "snooze":
            raise pgjobs.Snooze(0)
        case "cancel":
            raise pgjobs.Cancel("pointless")
        case "fail":
            raise pgjobs.Fail("no use")
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "recurse":
            return end(how, job)
        case "deadlock":
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        case "object":
            return object()  # type: ignore[return-value]
        case "huge":
            return "x" * (33 * 2**20)
        case "noise":
            print("noise\n" * 200_000)
            return "quiet"
    raise AssertionError(how)


async def a_end(how: str, job: pgjobs.JobContext) -> str:
    return end(how, job)


def go_on(path: str, job: pgjobs.JobContext) -> None:
    tell(path)
    while True:
        job.check()


async def a_go_on(path: str) -> None:
    tell(path)
    await asyncio.Event().wait()


def steps(path: str | None = None) -> Generator[Any, None, str]:
    yield 1
    yield 2, 4
    yield 3, 4, "page 3"
    if path is not None:
        tell(path)
        while True:
            yield None
    yield "the last page"
    return "read"


async def a_steps(path: str | None = None) -> AsyncIterator[Any]:
    yield 1
    yield 2, 4
    yield 3, 4, "page 3"
    if path is not None:
        tell(path)
        while True:
            await asyncio.sleep(0)
            yield None
    yield "the last page"


def yield_nonsense() -> Iterator[Any]:
    yield {"done": 1}


async def a_yield_nonsense() -> AsyncIterator[Any]:
    yield {"done": 1}


def say(job: pgjobs.JobContext, path: str | None = None) -> None:
    for done in range(1001):
        job.progress(done, 1000, "counting")
    if path is not None:
        tell(path)
        while True:
            job.check()


async def a_say(job: pgjobs.JobContext, path: str | None = None) -> None:
    say(job)
    if path is not None:
        tell(path)
        await asyncio.Event().wait()


def say_nonsense(job: pgjobs.JobContext) -> None:
    job.progress(float("nan"))


async def a_say_nonsense(job: pgjobs.JobContext) -> None:
    say_nonsense(job)


def lock_both(dsn: str, first: int, second: int, path: str, job: pgjobs.JobContext) -> str:
    """Take two locks, the second when the other job has its first."""
    if job.run > 1:
        return "again"
    with psycopg.connect(dsn) as connection:
        connection.execute("set deadlock_timeout = '10ms'")
        connection.execute("select pg_advisory_xact_lock(%s)", (first,))
        tell(path)
        connection.execute("select pg_advisory_xact_lock(%s)", (second,))
    return "at once"


async def a_lock_both(dsn: str, first: int, second: int, path: str, job: pgjobs.JobContext) -> str:
    return await asyncio.to_thread(lock_both, dsn, first, second, path, job)


def close_connection(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.close()
        connection.execute("select 1")


async def a_close_connection(dsn: str) -> None:
    close_connection(dsn)


both(describe, a_describe)
both(remember, a_remember)
both(end, a_end, max_attempts=2, retry=pgjobs.Fixed(0))
both(go_on, a_go_on)
both(steps, a_steps)
both(yield_nonsense, a_yield_nonsense)
both(say, a_say)
both(say_nonsense, a_say_nonsense)
both(lock_both, a_lock_both, max_attempts=2, retry=pgjobs.Fixed(0))
both(close_connection, a_close_connection)
