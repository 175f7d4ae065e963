"""The process executor: handlers in child processes, which can be killed and may crash without taking anyone along.

Why not concurrent.futures: there one child that dies breaks the whole pool, and a running call cannot be ended.
Each child serves one job at a time over a pipe of its own, and is used again, so that what a handler keeps warm in a
global (a model, a connection) stays warm. Children are spawned, not forked: a fork would inherit the worker's sockets.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from pgjobs.context import JobContext
from pgjobs.errors import ProcessDied
from pgjobs.job import Claimed
from pgjobs.outcome import Failed, Outcome
from pgjobs.task import Task
from pgjobs.worker.executors.child import Order, serve
from pgjobs.worker.executors.in_loop import timed_out

log = logging.getLogger("pgjobs.worker")

_spawn = multiprocessing.get_context("spawn")


class ProcessExecutor:
    """Children made when first needed, up to the worker's concurrency; the one that was busy last is used first."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()

    async def run(self, task: Task[Any, Any], job: Claimed, arguments: dict[str, Any], context: JobContext) -> Outcome:
        """Run a function in a child. At its timeout, or when cut short, the child is killed."""
        child = self._take()
        order = Order(task.__module__, task.__qualname__, task.name, arguments, context)
        try:
            async with asyncio.timeout(None if context.timeout is None else context.timeout.total_seconds()) as limit:
                outcome = await child.run(order)
        except TimeoutError:
            if not limit.expired():
                raise
            self._kill(child)
            return timed_out(context)
        except EOFError:
            self._kill(child)
            return Failed(ProcessDied.__name__, f"its process {child.death()}")
        except BaseException:
            self._kill(child)
            raise
        self._idle.append(child)
        return outcome

    async def close(self) -> None:
        """End all children; those that are idle end by themselves when their pipe is closed."""
        for child in list(self._all):
            self._kill(child)

    def _take(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.process.is_alive():
                return child
            self._kill(child)
        child = _Child()
        self._all.add(child)
        return child

    def _kill(self, child: _Child) -> None:
        self._all.discard(child)
        child.kill()


class _Child:
    """One child process, and the pipe to it."""

    def __init__(self) -> None:
        ours, theirs = _spawn.Pipe()
        self._pipe: Connection[Any, Any] = ours
        self.process: SpawnProcess = _spawn.Process(target=serve, args=(theirs,), name="pgjobs child", daemon=False)
        self.process.start()
        theirs.close()  # or the end of the child would never be seen

    async def run(self, order: Order) -> Outcome:
        """Send an order and wait for its outcome. Raises EOFError when the child ends first."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Outcome] = loop.create_future()

        def readable() -> None:
            if answered.done():
                return
            try:
                # The sentinel speaks too when the child ends; what it said before comes first.
                if self._pipe.poll():
                    answered.set_result(self._pipe.recv())
                elif not self.process.is_alive():
                    raise EOFError
            except (EOFError, OSError):
                answered.set_exception(EOFError())

        loop.add_reader(self._pipe.fileno(), readable)
        # A grandchild may hold the other end of the pipe open; the process itself cannot hide its end.
        loop.add_reader(self.process.sentinel, readable)
        try:
            try:
                self._pipe.send(order)
            except OSError:
                raise EOFError from None
            return await answered
        finally:
            loop.remove_reader(self._pipe.fileno())
            loop.remove_reader(self.process.sentinel)

    def kill(self) -> None:
        """End the child at once, and wait for its end."""
        self.process.kill()
        self.process.join(timeout=5)
        self._pipe.close()

    def death(self) -> str:
        """Say how the child ended."""
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit status {code}"
