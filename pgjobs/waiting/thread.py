"""The thread that watches jobs for all who wait in a process, on one connection.

The connection hears which jobs are over. Workers say so only while somebody waits (see sql/functions/tell_finished.sql),
and that is a hint (I9): behind it each job is looked at again, soon at first, then every few seconds. Between two looks the
connection is idle, so that no snapshot is held. When nobody has waited for a while, connection and thread end.
"""

from __future__ import annotations

import heapq
import logging
import re
import selectors
import socket
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Any

import psycopg

from pgjobs import calls
from pgjobs.calls import Ending
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner, is_broken, reason, run
from pgjobs.errors import ConnectionFailed
from pgjobs.pools import CONNECT

log = logging.getLogger("pgjobs.waiting")

CHANNEL = "pgjobs_finished"
FIRST_LOOK_AGAIN = 0.05  # seconds after the first look at a job: one that was being settled just then is missed by both
LOOK_EVERY = 5.0  # and then ever more rarely, up to this
LOOK_AT = 1_000  # jobs a statement
LINGER = 1.0  # seconds that locks are held for a job that is over: often the next is waited for at once
IDLE = 30.0  # seconds after which the connection of a process where nobody waits is closed

SOMEBODY = 0  # the number that says that somebody waits at all


def number(id: int) -> int:
    """Return the number of the lock that says that somebody waits for a job like this one."""
    return 1 + (id & 255)


class _Watched:
    """A job that is waited for, by whom, and how long until it is looked at again."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.number = number(id)
        self.futures: list[Future[Ending]] = []
        self.pause = FIRST_LOOK_AGAIN


class Watcher(threading.Thread):
    """Watches jobs on a connection of its own until nobody has waited for a while."""

    def __init__(self, dsn: str) -> None:
        super().__init__(name="pgjobs waiting", daemon=True)
        self._dsn = dsn
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}
        self._numbers: Counter[int] = Counter()  # how many of them have this number
        self._looks: list[tuple[float, int, _Watched]] = []  # a heap: when to look again, a tie-breaker, at what
        self._ties = count()
        self._closing = False
        self._over = False
        self._bell, self._rope = socket.socketpair()  # pulling the rope wakes the thread
        self._bell.setblocking(False)
        self._rope.setblocking(False)

    # From other threads

    def add(self, id: int, future: Future[Ending]) -> bool:
        """Watch a job. Returns False when this thread is at its end."""
        with self._lock:
            if self._over:
                return False
            watched = self._watched.get(id)
            if watched is None:
                watched = self._watched[id] = _Watched(id)
                self._numbers[watched.number] += 1
                heapq.heappush(self._looks, (0.0, next(self._ties), watched))
                self._pull()
            watched.futures.append(future)
        return True

    def remove(self, id: int, future: Future[Ending]) -> None:
        """Watch it no longer, unless somebody else waits for it."""
        with self._lock:
            watched = self._watched.get(id)
            if watched is not None and future in watched.futures:
                watched.futures.remove(future)
                if not watched.futures:
                    self._drop(id)

    def close(self) -> None:
        """Let the thread end now, and wait until it has."""
        with self._lock:
            self._closing = True
            if not self._over:
                self._pull()
        self.join(5)

    def _pull(self) -> None:
        with suppress(BlockingIOError):  # it has been pulled so often that one more makes no difference
            self._rope.send(b"!")

    def _drop(self, id: int) -> list[Future[Ending]]:
        watched = self._watched.pop(id)
        self._numbers[watched.number] -= 1
        if not self._numbers[watched.number]:
            del self._numbers[watched.number]
        return watched.futures

    # In the thread

    def run(self) -> None:
        """Watch, and connect again after every trouble, while somebody waits."""
        pause = 0.1
        while self._goes_on():
            try:
                with self._connect() as connection:
                    pause = 0.1
                    self._watch(connection)
            except (psycopg.Error, OSError) as error:
                if not is_broken(error):
                    self._fail(error)
                    continue
                log.warning("jobs that are waited for are not watched (%s): trying again", reason(error))
                self._sleep(pause)
                pause = min(pause * 2, 10.0)
            except Exception as error:
                self._fail(error)
        self._fail(ConnectionFailed("The app was closed while a job was waited for."))
        self._bell.close()
        self._rope.close()

    def _goes_on(self) -> bool:
        with self._lock:
            self._over = self._over or self._closing or not self._watched
            return not self._over

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(
            self._dsn, autocommit=True, connect_timeout=10, **CONNECT, application_name="pgjobs waiting"
        )
        try:
            run(PsycopgRunner(connection), calls.session())
            run(PsycopgRunner(connection), calls.listen(CHANNEL))
        except BaseException:
            connection.close()
            raise
        with self._lock:  # what finished while nobody listened
            self._looks = [(0.0, next(self._ties), watched) for watched in self._watched.values()]
        return connection

    def _watch(self, connection: psycopg.Connection[Any]) -> None:
        """Look at what is due or heard of, until the app is closed or nobody has waited for a while."""
        client = Client(PsycopgRunner(connection))
        held: set[int] = set()  # the numbers that this session has locked
        let_go_at = None
        waited_at = time.monotonic()
        while True:
            heard = {
                int(id) for message in connection.notifies(timeout=0) for id in re.findall("[0-9]+", message.payload)
            }
            now = time.monotonic()
            with self._lock:
                if self._watched:
                    waited_at = now
                if self._closing or now - waited_at >= IDLE:
                    self._over = True
                    return
                ids = self._due(now, heard)
                needed = {SOMEBODY, *self._numbers} if self._watched else set()
                next_look = self._looks[0][0] if self._looks else waited_at + IDLE
            unneeded = held - needed
            let_go_at = (let_go_at or now + LINGER) if unneeded else None
            let_go = unneeded if let_go_at is not None and let_go_at <= now else set()
            if ids or let_go or not needed <= held:
                for ending in client.watch(ids, needed - held, let_go):
                    self._tell(ending)
                held = (held | needed) - let_go
            else:
                self._sleep(min(next_look, let_go_at or next_look) - now, connection)

    def _due(self, now: float, heard: set[int]) -> list[int]:
        """Return the jobs to look at now: what was heard of, and what has not been looked at for long enough."""
        ids = [id for id in heard if id in self._watched]
        while self._looks and self._looks[0][0] <= now and len(ids) < LOOK_AT:
            watched = heapq.heappop(self._looks)[2]
            if self._watched.get(watched.id) is watched:
                ids.append(watched.id)
                heapq.heappush(self._looks, (now + watched.pause, next(self._ties), watched))
                watched.pause = min(watched.pause * 2, LOOK_EVERY)
        return ids

    def _sleep(self, seconds: float, *ears: psycopg.Connection[Any]) -> None:
        """Sleep until something is heard, the rope is pulled, or the time is over."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            for ear in ears:
                selector.register(ear, selectors.EVENT_READ)
            selector.select(max(seconds, 0.001))
        with suppress(BlockingIOError):
            self._bell.recv(4096)

    def _tell(self, ending: Ending) -> None:
        with self._lock:
            futures = self._drop(ending.id) if ending.id in self._watched else []
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_result(ending)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            futures = [future for id in list(self._watched) for future in self._drop(id)]
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
