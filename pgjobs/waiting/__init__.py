"""Waiting for a job to be over: a look, and when it still lives, a place with the thread that watches for all who wait."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from pgjobs.async_client import AsyncClient
from pgjobs.calls import Ending
from pgjobs.checks import as_timedelta
from pgjobs.client import Client
from pgjobs.connections import AsyncPsycopgRunner, PsycopgRunner
from pgjobs.errors import ConfigurationError, JobCancelled, JobDead, JobNotFound, WaitTimeout
from pgjobs.pools import Pools
from pgjobs.waiting.thread import Watcher


class Waiting:
    """Who waits for which job in this process. Threads and event loops may share it."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._watcher: Watcher | None = None

    def wait_for(self, id: int, timeout: timedelta | float | None) -> Any:
        """Return the result of a job when it is over. Raises as `App.wait_for` says."""
        deadline = _Deadline(id, timeout)
        # A look first, as any caller would: what is wrong with the DSN, the schema or the id is told from here.
        with self._pools.connection() as connection:
            endings = Client(PsycopgRunner(connection)).watch([_known(id)])
        if endings:
            return _result_of(id, endings[0], seen=False)
        future = self._begin_to_wait(id)
        try:
            with deadline.told():
                ending = future.result(deadline.remaining())
        finally:
            self._wait_no_longer(id, future)
        return _result_of(id, ending, seen=True)

    async def await_for(self, id: int, timeout: timedelta | float | None) -> Any:
        """The same as `wait_for`, for callers in an event loop."""
        deadline = _Deadline(id, timeout)
        async with self._pools.async_connection() as connection:
            endings = await AsyncClient(AsyncPsycopgRunner(connection)).watch([_known(id)])
        if endings:
            return _result_of(id, endings[0], seen=False)
        future = self._begin_to_wait(id)
        try:
            with deadline.told():
                async with asyncio.timeout(deadline.remaining()):
                    ending = await asyncio.wrap_future(future)
        finally:
            self._wait_no_longer(id, future)
        return _result_of(id, ending, seen=True)

    def close(self) -> None:
        """End the thread and its connection. Who still waits is told."""
        if self._pid != os.getpid():
            return
        with self._lock:
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()

    def _begin_to_wait(self, id: int) -> Future[Ending]:
        if self._pid != os.getpid():  # after a fork there is no such thread, and the socket is the parent's
            self._of_parent = self._watcher
            self._begin()
        future: Future[Ending] = Future()
        with self._lock:
            if self._watcher is None or not self._watcher.add(id, future):
                self._watcher = Watcher(self._pools.dsn)
                self._watcher.add(id, future)
                self._watcher.start()
        return future

    def _wait_no_longer(self, id: int, future: Future[Ending]) -> None:
        watcher = self._watcher
        if watcher is not None and self._pid == os.getpid():
            watcher.remove(id, future)


class _Deadline:
    """Until when a job is waited for."""

    def __init__(self, id: int, timeout: timedelta | float | None) -> None:
        self._id = id
        try:
            self._timeout = None if timeout is None else as_timedelta(timeout).total_seconds()
        except (TypeError, ValueError, OverflowError):
            raise ConfigurationError(f"timeout must be seconds, a timedelta or None, not {timeout!r}.") from None
        self._began = time.monotonic()

    def remaining(self) -> float | None:
        """Return how many seconds are left; None: all there are."""
        return None if self._timeout is None else max(self._timeout - (time.monotonic() - self._began), 0)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn the TimeoutError of who waits into ours."""
        try:
            yield
        except TimeoutError:
            raise WaitTimeout(f"Job {self._id} was not over within {self._timeout:g} s; it goes on.") from None


def _known(id: int) -> int:
    return id if 0 < id < 2**63 else 0  # no job has the id 0


def _result_of(id: int, ending: Ending, seen: bool) -> Any:
    """Return the result of a job that is over, or raise what it ended in. `seen`: whether it was seen alive before."""
    if ending.status == "completed":
        return ending.result
    if ending.status == "dead":
        raise JobDead(id, str(ending.reason), str(ending.error))
    if ending.status is not None:
        raise JobCancelled(id, ending.reason)
    if seen:
        raise JobNotFound(
            f'Job {id} is over and nothing is kept of it: its task says keep="nothing", or it was cleared meanwhile.'
        )
    raise JobNotFound(
        f"There is no job with the id {id}: it never was, its transaction has not committed, or nothing is kept of it."
    )
