"""What runs inside a child of the process executor. It imports the task's module and nothing of the worker."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import threading
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection as mp_connection
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from pgjobs.context import JobContext, JobInterrupted
from pgjobs.errors import UnknownTask
from pgjobs.outcome import Done, Failed, Outcome, from_exception
from pgjobs.payload import encode_result
from pgjobs.task import Task


@dataclass(frozen=True, slots=True)
class Order:
    """One job for a child: where its function is, its arguments, and what the handler can know."""

    module: str
    qualname: str
    task: str
    arguments: dict[str, Any]
    context: JobContext


def serve(pipe: Connection[Any, Any]) -> None:
    """Run orders one after the other until the worker is gone."""
    # Signals are the worker's: ^C in a terminal reaches the whole process group, and a stop is to let jobs finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="pgjobs parent watch", daemon=True).start()
    with asyncio.Runner() as loop:
        while True:
            try:
                order = pipe.recv()
            except (EOFError, OSError):
                return
            outcome = _run(order, loop)
            try:
                pipe.send(outcome)
            except OSError:
                return


def _run(order: Order, loop: asyncio.Runner) -> Outcome:
    task: Task[Any, Any] | None = None
    try:
        task = _find(order.module, order.qualname, order.task)
        arguments = task.bind(order.arguments, order.context)
        with task.around(order.context) as around:
            result = task.function(**arguments)
            around.result = loop.run(result) if task.is_coroutine else result
        return Done(encode_result(around.result, task=order.task))
    except JobInterrupted as error:
        return Failed("JobInterrupted", str(error))
    except BaseException as error:
        # Here, where the exception is: it does not travel.
        return task.options_.policy.outcome(error, order.context.attempt) if task is not None else from_exception(error)


@cache
def _find(module: str, qualname: str, name: str) -> Task[Any, Any]:
    """Return the task by the name its function was declared under. Raises UnknownTask when it is not there."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Task):
        return found
    raise UnknownTask(
        f"A child process cannot find the task {name} as {qualname} in {module}: give the decorated function that name."
    )


def _end_with_parent() -> None:
    # Also in the middle of a handler: a job whose worker is gone is another worker's job soon.
    parent = parent_process()
    if parent is not None:
        mp_connection.wait([parent.sentinel])
        os._exit(1)
