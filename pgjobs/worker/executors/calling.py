"""Calls a handler, whatever kind of function it is. A generator yields its progress and returns its result."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import Any

from pgjobs.context import JobContext
from pgjobs.task import Task


def call(task: Task[Any, Any], arguments: dict[str, Any], context: JobContext) -> Any:
    """Call a function or run a generator to its end, and return its result.

    A generator that is asked to stop is closed where it yields: its `finally` blocks run, and JobInterrupted is raised.
    """
    result = task.function(**task.bind(arguments, context))
    if not task.is_generator:
        return result
    with closing(result):
        while True:
            try:
                said = next(result)
            except StopIteration as end:
                return end.value
            _say(context, said)
            context.check()


async def acall(task: Task[Any, Any], arguments: dict[str, Any], context: JobContext) -> Any:
    """Await a coroutine function and return its result; run an asynchronous generator to its end, which has none."""
    result = task.function(**task.bind(arguments, context))
    if not task.is_generator:
        return await result
    async with aclosing(result):
        async for said in result:
            _say(context, said)
    return None


def _say(context: JobContext, said: Any) -> None:
    match said:
        case str():
            context.progress(message=said)
        case int() | float() | None:
            context.progress(said)
        case (done, total):
            context.progress(done, total)
        case (done, total, message):
            context.progress(done, total, message)
        case _:
            raise TypeError(
                f"a task yields done, (done, total), (done, total, message) or a text, not {type(said).__name__}"
            )
