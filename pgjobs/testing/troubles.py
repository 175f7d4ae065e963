"""Troubles to order: handlers that fail, connections that break, replies that are lost, workers that fall silent.

They happen for real: a connection is cut by the server, a lost worker's lease lapses and its jobs are rescued.
"""

from __future__ import annotations

import functools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg

from pgjobs.app import App
from pgjobs.async_client import AsyncClient
from pgjobs.errors import ConfigurationError
from pgjobs.task import Task
from pgjobs.testing.clock import Clock
from pgjobs.version import __version__
from pgjobs.worker.cursors import Cursors

PORTION = 1_000


class Trouble:
    """How often a trouble has happened, in `count`; `left` times it will still (None: always)."""

    def __init__(self, times: int | None) -> None:
        self.left = times
        self.count = 0
        self._lock = threading.Lock()

    def strikes(self) -> bool:
        """Whether it happens this time."""
        with self._lock:
            if self.left == 0:
                return False
            self.left = None if self.left is None else self.left - 1
            self.count += 1
            return True


@contextmanager
def failing(
    task: Task[..., Any], times: int | None = 1, error: BaseException | type[BaseException] = ConnectionError
) -> Iterator[Trouble]:
    """Let the next runs of a task raise an error instead of calling its function.

    Arguments: the task; times, how many runs, None for all; the error, or outcomes like `pgjobs.Retry(5)`.
    Raises ConfigurationError for a task that runs in child processes, which know nothing of this.
    """
    if task.options_.executor == "process":
        raise ConfigurationError(f"{task.name} runs in child processes, where failing(...) does not reach it.")
    trouble, function = Trouble(times), task.function

    def raise_it() -> None:
        raise error() if isinstance(error, type) else error.with_traceback(None)

    @functools.wraps(function)
    def blocking(*args: Any, **kwargs: Any) -> Any:
        if trouble.strikes():
            raise_it()
        return function(*args, **kwargs)

    @functools.wraps(function)
    async def in_loop(*args: Any, **kwargs: Any) -> Any:
        if trouble.strikes():
            raise_it()
        return await function(*args, **kwargs)

    task.function = in_loop if task.is_coroutine else blocking
    try:
        yield trouble
    finally:
        task.function = function


@contextmanager
def losing_replies(
    verb: str, times: int | None = 1, when: Callable[..., Any] = lambda reply, *asked: True
) -> Iterator[Trouble]:
    """Let workers of this process lose the replies of a verb: what it asked for is done, and nobody hears of it.

    Arguments: the verb, as `AsyncClient` has it (claim, settle_and_claim, ...); times, None for always; when, a
    function of the reply and of what was asked, which says whether it may be lost.
    """
    trouble, real = Trouble(times), getattr(AsyncClient, verb)

    async def lossy(self: AsyncClient, *args: Any, **kwargs: Any) -> Any:
        reply = await real(self, *args, **kwargs)
        if when(reply, *args, **kwargs) and trouble.strikes():
            raise psycopg.OperationalError("the connection broke before the reply came")
        return reply

    setattr(AsyncClient, verb, lossy)
    try:
        yield trouble
    finally:
        setattr(AsyncClient, verb, real)


def break_connections(connection: psycopg.Connection[Any], of: str = "pgjobs worker") -> int:
    """Cut connections to the test's database on the server's side, and return how many.

    Arguments: a connection of the test's own, which stays; of, the name of those to cut: "pgjobs worker" (claims and
    settles), "pgjobs listener", "pgjobs keeper", or "pgjobs" (an app's own).
    """
    cursor = connection.execute(
        "select count(*) filter (where pg_terminate_backend(pid, 10000)) from pg_stat_activity"
        " where datname = current_database() and application_name = %s and pid <> pg_backend_pid()",
        (of,),
    )
    [(count,)] = cursor.fetchall()
    return int(count)


def lose_worker(app: App, clock: Clock, lease: timedelta = timedelta(seconds=60)) -> list[int]:
    """Let a worker claim all jobs that are due and never be heard of again; return their ids.

    The clock moves past its lease and the jobs are rescued: they have one more crash, and are due again, or after the
    third time dead letters. Other workers that are running lose their leases as well, unless they renew.
    """
    lost: list[int] = []
    with app.client() as client:
        queues = [queue.queue for queue in client.queue_overview() if queue.ready]
        if not queues:
            return []
        worker = client.register("lost", socket.gethostname(), os.getpid(), __version__, queues, PORTION, lease)
        cursors = Cursors(queues)
        while claimed := client.claim(worker, PORTION, cursors.scan(timedelta(0), None, head=True)).claimed:
            lost += [job.id for job in claimed]
        clock.advance(lease)
        while sum(client.rescue(PORTION)):
            pass
    return lost
