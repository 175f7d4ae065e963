"""What runs inside a child of the process executor. It imports the task's module and nothing of the worker."""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import importlib
import io
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection as mp_connection
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from pgjobs.context import JobContext, JobInterrupted
from pgjobs.ending import end_with_parent, forks_end_by_signals
from pgjobs.errors import UnknownTask
from pgjobs.job import Progress
from pgjobs.outcome import Done, Failed, Outcome, from_exception
from pgjobs.payload import encode_result
from pgjobs.task import Task
from pgjobs.worker.event_loop import run_to_end
from pgjobs.worker.executors.calling import acall, call, end_fork
from pgjobs.worker.executors.in_loop import timed_out

SAY_EVERY = 0.2  # seconds between two messages of progress


@dataclass(frozen=True, slots=True)
class Order:
    """One job for a child: where its function is, its arguments, and what the handler can know."""

    module: str
    qualname: str
    task: str
    payload: str
    version: int | None
    context: JobContext


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one run, which it names (I3): whatever a handler does to the pipe, no other run gets it."""

    id: int
    run: int
    outcome: Outcome


def serve(pipe: Connection[Any, Any], stdout: Connection[Any, Any], stderr: Connection[Any, Any]) -> None:
    """Run orders one after the other until the worker is gone. What is printed goes to the worker, line by line."""
    _end_with_parent()
    # Signals are the worker's: ^C in a terminal reaches the whole process group, and a stop is to let jobs finish.
    # Not SIG_IGN: that goes on to programs that a handler starts, and nothing could terminate them.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    forks_end_by_signals()
    os.setpgid(0, 0)  # so that what a handler has started can be killed with it
    sys.stdout, sys.stderr = _to(stdout, 1), _to(stderr, 2)
    faulthandler.enable(sys.stderr)  # where it was when it crashed
    teller = _Teller(pipe)
    pid = os.getpid()
    with asyncio.Runner() as loop:
        while True:
            try:
                order = pipe.recv()
            except (EOFError, OSError):
                return
            order.context._report = teller.say
            outcome = _run(order, loop)
            order.context._report = None
            if os.getpid() != pid:
                end_fork(outcome)
            for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
                with suppress(Exception):  # whatever the handler made of it
                    stream.flush()  # type: ignore[union-attr]
            try:
                teller.tell(Answer(order.context.id, order.context.run, outcome))
            except OSError:
                return


def _run(order: Order, loop: asyncio.Runner) -> Outcome:
    variables = contextvars.copy_context()
    task: Task[Any, Any] | None = None
    try:
        task = _find(order.module, order.qualname, order.task)
        if task.is_coroutine:
            main = loop.get_loop().create_task(
                acall(task, order.payload, order.version, order.context), context=variables
            )
            result = run_to_end(loop.get_loop(), main)
        else:
            result = variables.run(call, task, order.payload, order.version, order.context)
        return Done(encode_result(result, task=order.task))
    except JobInterrupted as error:
        # It looked at the clock a moment before the worker did.
        return timed_out(order.context.timeout) if order.context.expired else Failed("JobInterrupted", str(error))
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


class _Teller:
    """Tells the worker the outcome, and before that of the progress the newest only, a few times a second."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._newest: Progress | None = None
        self._said = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, progress: Progress) -> None:
        """Keep what a handler says of its progress, for the thread that tells it."""
        if os.getpid() != self._pid:
            return  # a fork of the handler's: the run is its parent's (I3)
        self._newest = progress
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_telling, name="pgjobs progress", daemon=True)
            self._thread.start()
        self._said.set()

    def tell(self, answer: Answer) -> None:
        """Send the last progress and the outcome. Raises OSError when the worker is gone."""
        with self._lock:
            self._tell_progress()
            self._pipe.send(answer)

    def _keep_telling(self) -> None:
        with suppress(OSError):
            while self._said.wait():
                self._said.clear()
                with self._lock:
                    self._tell_progress()
                time.sleep(SAY_EVERY)

    def _tell_progress(self) -> None:
        newest, self._newest = self._newest, None
        if newest is not None:
            self._pipe.send(newest)


def _to(pipe: Connection[Any, Any], number: int) -> io.TextIOWrapper:
    """Lead a standard stream into a pipe, for all who write to it, also from C; unbuffered, so that no crash loses a line."""
    os.dup2(pipe.fileno(), number)
    pipe.close()
    return io.TextIOWrapper(
        io.FileIO(number, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )


def _end_with_parent() -> None:
    """End when the worker does, also in the middle of a handler: its job is another worker's job soon."""
    parent = parent_process()
    if parent is None:
        return
    if parent.pid is not None:
        with suppress(Exception):  # by the kernel, also while C code holds the interpreter's lock
            end_with_parent(parent.pid)
    threading.Thread(target=_watch, args=(parent.sentinel,), name="pgjobs parent watch", daemon=True).start()


def _watch(sentinel: int) -> None:
    mp_connection.wait([sentinel])  # it has ended, perhaps before the kernel was told to tell us
    os._exit(1)
