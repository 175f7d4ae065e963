"""The process executor: handlers in child processes, which can be killed and may crash without taking anyone along.

Why not concurrent.futures: there one child that dies breaks the whole pool, and a running call cannot be ended.
Each child serves one job at a time over a pipe of its own, and is used again, so that what a handler keeps warm in a
global (a model, a connection) stays warm. Children are spawned, not forked: a fork would inherit the worker's sockets.
A child is replaced when it has died or was killed, took more memory than a task may, or ran as many jobs as a task says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from pgjobs.context import JobContext
from pgjobs.errors import MemoryExceeded, ProcessDied
from pgjobs.job import Claimed, Progress
from pgjobs.outcome import Failed, Outcome
from pgjobs.task import Task
from pgjobs.worker.executors.child import Order, serve
from pgjobs.worker.executors.executor import Awaiting
from pgjobs.worker.executors.in_loop import timed_out
from pgjobs.worker.executors.output import Output
from pgjobs.worker.run import Run

log = logging.getLogger("pgjobs.worker")

WEIGH_EVERY = 0.2  # seconds between looks at the memory of a child whose task has a ceiling
ENDS_WITHIN = 5.0  # seconds a child may take to end

_spawn = multiprocessing.get_context("spawn")


class ProcessExecutor(Awaiting):
    """Children made when first needed, up to the worker's concurrency; the one that was busy last is used first."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, task: Task[Any, Any], job: Claimed, context: JobContext) -> Outcome:
        """Run a function in a child. At its timeout, or when cut short, the child is killed."""
        max_rss, max_jobs = task.options_.max_rss, task.options_.max_jobs
        child = self._take(max_rss)
        order = Order(
            task.__module__,
            task.__qualname__,
            task.name,
            job.payload,
            job.version,
            dataclasses.replace(context, _report=None),
        )
        try:
            async with asyncio.timeout(None if context.timeout is None else context.timeout.total_seconds()) as limit:
                outcome = await child.run(order, context, max_rss)
        except TimeoutError:
            await self._end(child)
            if not limit.expired():
                raise
            return timed_out(context.timeout)
        except EOFError:
            await self._end(child, kill=False)
            return Failed(ProcessDied.__name__, f"its process {child.death()}")
        except MemoryExceeded as error:
            await self._end(child)
            return Failed(MemoryExceeded.__name__, str(error))
        except BaseException:
            await self._end(child)
            raise
        if max_jobs is not None and child.jobs >= max_jobs:
            child.let_go()
            self._end(child, kill=False)
        else:
            self._idle.append(child)
        return outcome

    def cancel(self, run: Run) -> None:
        """Kill the child."""
        run.work.cancel()

    async def close(self) -> None:
        """End all children."""
        for child in list(self._all):
            self._end(child)
        if self._ending:
            await asyncio.wait(self._ending)

    def _take(self, max_rss: int | None) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.process.is_alive() and not (max_rss is not None and (child.rss() or 0) > max_rss):
                return child
            self._end(child)
        child = _Child()
        self._all.add(child)
        return child

    def _end(self, child: _Child, kill: bool = True) -> asyncio.Future[None]:
        """End a child, and return what to wait for if one wants to see the end. It goes on if the waiting is cut short."""
        self._all.discard(child)
        if kill:
            child.kill()
        ending = asyncio.get_running_loop().create_task(child.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return asyncio.shield(ending)


class _Child:
    """One child process, the pipe to it, and what it prints."""

    def __init__(self) -> None:
        self.jobs = 0
        self._lingered = False
        ours, theirs = _spawn.Pipe()
        self._pipe: Connection[Any, Any] = ours
        self._output = Output(_spawn)
        self.process: SpawnProcess = _spawn.Process(
            target=serve, args=(theirs, *self._output.theirs), name="pgjobs child", daemon=False
        )
        self.process.start()
        assert self.process.pid is not None
        # Not the sentinel of multiprocessing, a pipe, where there is something better: the child can close a pipe.
        self._pidfd = os.pidfd_open(self.process.pid) if sys.platform == "linux" else None
        for end in (theirs, *self._output.theirs):
            end.close()  # or the end of the child would never be seen

    async def run(self, order: Order, context: JobContext, max_rss: int | None) -> Outcome:
        """Send an order and wait for its outcome. Raises EOFError when the child ends first, MemoryExceeded when it
        takes more than max_rss bytes."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Outcome] = loop.create_future()
        scales: asyncio.TimerHandle | None = None

        def readable() -> None:
            try:
                # The sentinel speaks too when the child ends; what it said before comes first.
                while not answered.done() and self._pipe.poll():
                    message = self._pipe.recv()
                    if isinstance(message, Progress):
                        if context._report is not None:
                            context._report(message)
                    elif (message.id, message.run) == (order.context.id, order.context.run):
                        answered.set_result(message.outcome)
                    else:
                        raise ValueError("the outcome of another run")
                if not answered.done() and not self.process.is_alive():
                    raise EOFError
            except Exception:  # the end, or no message of ours: a handler can write anywhere
                if not answered.done():
                    answered.set_exception(EOFError())

        def weigh() -> None:
            nonlocal scales
            rss = self.rss()
            if rss is not None and max_rss is not None and rss > max_rss and not answered.done():
                answered.set_exception(
                    MemoryExceeded(f"its process took {rss / 2**20:,.0f} MB of memory, and its task may take"
                                   f" {max_rss / 2**20:,.0f} MB")
                )  # fmt: skip
            scales = loop.call_later(WEIGH_EVERY, weigh)

        self.jobs += 1
        self._output.of(context)
        loop.add_reader(self._pipe.fileno(), readable)
        # A grandchild may hold the other end of the pipe open; the process itself cannot hide its end.
        loop.add_reader(self._sentinel, readable)
        if max_rss is not None:
            scales = loop.call_later(WEIGH_EVERY, weigh)
        try:
            try:
                self._pipe.send(order)
            except OSError:
                raise EOFError from None
            return await answered
        finally:
            if scales is not None:
                scales.cancel()
            loop.remove_reader(self._pipe.fileno())
            loop.remove_reader(self._sentinel)
            self._output.rest()

    @property
    def _sentinel(self) -> int:
        return self.process.sentinel if self._pidfd is None else self._pidfd

    def rss(self) -> int | None:
        """Return how much memory the child holds, in bytes; None where the system does not tell (it has no /proc)."""
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        return None

    def kill(self) -> None:
        """End the child at once, and with it what its handler has started and left in its process group."""
        try:
            assert self.process.pid is not None
            os.killpg(self.process.pid, signal.SIGKILL)
        except OSError:  # it has not come so far as to make a group, or all of it has ended
            self.process.kill()

    def let_go(self) -> None:
        """Tell the child that there is no more to do: it ends by itself."""
        self._pipe.close()

    async def end(self) -> None:
        """Wait for the end of the child, kill it if it does not come, and log what it said last."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._sentinel, ended.set)
        try:
            async with asyncio.timeout(ENDS_WITHIN):
                await ended.wait()
        except TimeoutError:
            log.warning("the child process %s does not end by itself: killing it", self.process.pid)
            self._lingered = True
            self.kill()
        finally:
            loop.remove_reader(self._sentinel)
            self.process.join(timeout=ENDS_WITHIN)
            self._output.close()
            self._pipe.close()
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None

    def death(self) -> str:
        """Say how the child ended."""
        code = self.process.exitcode
        if self._lingered:
            return "closed its connection to the worker"
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit status {code}"
