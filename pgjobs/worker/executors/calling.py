"""Calls a handler, whatever kind of function it is. A generator yields its progress and returns its result."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import aclosing, closing
from typing import Any, NoReturn

from pgjobs.context import JobContext
from pgjobs.outcome import Failed, Outcome
from pgjobs.task import Task


class _Forks:
    """How many forks lie between this process and the one that imported this: cheaper to look at than the process id."""

    count = 0

    def one_more(self) -> None:
        self.count += 1


forks = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forks.one_more)


def call(task: Task[Any, Any], payload: str, version: int | None, context: JobContext | None) -> Any:
    """Call a function or run a generator to its end, within the app's middleware, and return its result.

    A generator that is asked to stop is closed where it yields: its `finally` blocks run, and JobInterrupted is raised.
    """
    bound = task.arguments(payload, version, context)
    if task.is_plain:
        return task.function(**bound)
    assert context is not None  # the task shows it
    with task.around(context) as around:
        result = task.function(**bound)
        around.result = _finish(result, context) if task.is_generator else result
    return around.result


async def acall(task: Task[Any, Any], payload: str, version: int | None, context: JobContext | None) -> Any:
    """Await a coroutine function and return its result; run an asynchronous generator to its end, which has none."""
    bound = task.arguments(payload, version, context)
    if task.is_plain:
        return await task.function(**bound)
    assert context is not None  # the task shows it
    with task.around(context) as around:
        result = task.function(**bound)
        if task.is_generator:
            async with aclosing(result):
                async for said in result:
                    _say(context, said)
        else:
            around.result = await result
    return around.result


def end_fork(outcome: Outcome) -> NoReturn:
    """End a process that a handler forked and that came back from it: the run, and all that is open, are its parent's."""
    if type(outcome) is Failed:
        print(outcome.traceback or outcome.message, file=sys.stderr, flush=True)
    os._exit(type(outcome) is Failed)


def _finish(steps: Generator[Any, None, Any], context: JobContext) -> Any:
    with closing(steps):
        while True:
            try:
                said = next(steps)
            except StopIteration as end:
                return end.value
            _say(context, said)
            context.check()


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
