"""What runs inside a child of the process executor. It imports the task's module and nothing of the worker."""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import fcntl
import importlib
import io
import os
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
from pgjobs.worker.executors.calling import acall, call, end_fork, forks
from pgjobs.worker.executors.in_loop import DONE, timed_out
from pgjobs.worker.executors.wire import (
    CHUNK,
    READY,
    Order,
    answer,
    outcome_answer,
    progress_answer,
    read_order,
    whole,
)  # fmt: skip

SAY_EVERY = 0.2  # seconds between two messages of progress


def serve(
    orders: socket.socket, answers: socket.socket, stdout: Connection[Any, Any], stderr: Connection[Any, Any]
) -> None:
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
    teller = _Teller(answers)
    before = forks.count
    with asyncio.Runner() as loop, suppress(OSError):  # of the sockets: the worker is gone, or a handler closed them
        teller.send(answer(READY))
        while (order := _next(orders)) is not None:
            outcome = _run(order, loop, teller)
            if forks.count != before:
                end_fork(outcome)
            for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
                with suppress(Exception):  # whatever the handler made of it
                    stream.flush()  # type: ignore[union-attr]
            # What lies in the pipes is this run's: the next may only begin when the worker has read it.
            waits = _holds(1) or _holds(2)
            teller.end(outcome_answer(order.id, order.run, outcome, waits))
            if waits and not answers.recv(1):
                return


def _next(orders: socket.socket) -> Order | None:
    """Wait for an order. None: there will be no more."""
    text = orders.recv(CHUNK)
    if not text:
        return None
    if len(text) < (length := whole(text)):
        rest = bytearray(text)
        while len(rest) < length:
            part = orders.recv(CHUNK)
            if not part:
                return None
            rest += part
        text = bytes(rest)
    return read_order(text)


def _holds(number: int) -> bool:
    """Whether a pipe holds something that the worker has not read, as far as one can tell."""
    try:
        return any(fcntl.ioctl(number, termios.FIONREAD, b"\0\0\0\0"))
    except OSError:
        return True


def _run(order: Order, loop: asyncio.Runner, teller: _Teller) -> Outcome:
    variables = contextvars.copy_context()
    task: Task[Any, Any] | None = None
    context: JobContext | None = None
    try:
        task = _find(order.module, order.qualname, order.task)
        if task.shows_context:
            context = order.context()
            context._report = teller.of(order.id, order.run)
        if task.is_coroutine:
            calling = acall(task, order.payload, order.version, context)
            main = loop.get_loop().create_task(calling, context=variables)
            result = run_to_end(loop.get_loop(), main)
        else:
            result = variables.run(call, task, order.payload, order.version, context)
        return DONE if result is None else Done(encode_result(result, task=order.task))
    except JobInterrupted as error:
        if context is not None and context.expired:  # it looked at the clock a moment before the worker did
            return timed_out(context.timeout)
        return Failed("JobInterrupted", str(error))
    except BaseException as error:
        # Here, where the exception is: it does not travel.
        return task.options_.policy.outcome(error, order.attempt) if task is not None else from_exception(error)
    finally:
        if context is not None:
            context._report = None


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

    def __init__(self, answers: socket.socket) -> None:
        self._answers = answers
        self._forks = forks.count
        self._lock = threading.Lock()
        self._newest: tuple[int, int, Progress] | None = None
        self._said = threading.Event()
        self._thread: threading.Thread | None = None

    def of(self, id: int, run: int) -> Callable[[Progress], None]:
        """Return what keeps what a run says of its progress, for the thread that tells it."""

        def say(progress: Progress) -> None:
            if forks.count != self._forks:
                return  # a fork of the handler's: the run is its parent's (I3)
            self._newest = id, run, progress
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_telling, name="pgjobs progress", daemon=True)
                self._thread.start()
            self._said.set()

        return say

    def send(self, text: bytes) -> None:
        """Send an answer. Raises OSError when the worker is gone."""
        self._answers.sendall(text)

    def end(self, text: bytes) -> None:
        """Send the last progress and the outcome. Raises OSError when the worker is gone."""
        if self._thread is None:
            self.send(text)
            return
        with self._lock:
            self._tell_progress()
            self.send(text)

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
            self.send(progress_answer(*newest))


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
