"""Connections that cannot hang a test, and calls that have to wait for another connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import pytest

from tests.conftest import Connection
from tests.sql.by_hand import StoppedClock, one

T = TypeVar("T")
WITHIN = 10  # seconds; nothing here takes a tenth of a second


class Aside(Generic[T]):
    """A call that runs in a thread, on a connection of its own."""

    def __init__(self, future: Future[T], pid: int) -> None:
        self._future = future
        self._pid = pid

    def waits(self, watcher: Connection) -> bool:
        """Whether it waits for a lock that somebody holds; asked until it does, or has ended."""
        deadline = time.monotonic() + WITHIN
        while not self._future.done():
            if one(watcher, "select cardinality(pg_blocking_pids(%s)) > 0", self._pid):
                return True
            assert time.monotonic() < deadline, "it neither ends nor waits for a lock"
        return False

    def result(self) -> T:
        """What it returned, or raised, at last."""
        return self._future.result(WITHIN)


CallAside = Callable[[Connection, Callable[[], Any]], Aside[Any]]


@pytest.fixture
def aside(connect: Callable[..., Connection]) -> Iterator[CallAside]:
    """Run a call aside: aside(connection, call). Asked for after `connect`, so that its threads end before connections do."""
    with ThreadPoolExecutor() as pool:

        def run(connection: Connection, call: Callable[[], Any]) -> Aside[Any]:
            return Aside(pool.submit(call), connection.info.backend_pid)

        yield run


@pytest.fixture
def connect(connect: Callable[..., Connection]) -> Callable[..., Connection]:
    """As in other tests, but no statement waits for ever: what must not wait fails if it does."""

    def connect_with_patience(autocommit: bool = True) -> Connection:
        connection = connect(autocommit)
        connection.execute(f"set statement_timeout = '{WITHIN} s'".encode())
        if not autocommit:
            connection.commit()
        return connection

    return connect_with_patience


@pytest.fixture(autouse=True)
def clock(db: Connection) -> StoppedClock:
    """Time stands still: how late a commit is must not depend on how busy the machine is."""
    return StoppedClock(db)
