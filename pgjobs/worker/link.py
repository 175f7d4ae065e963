"""The line between a supervisor and a worker process: a pair of sockets, one JSON object a line.

    supervisor -> worker   the orders, first of all; then
                           {"renewed": 7, "sent": 12.5}  worker 7 was renewed; the clock is monotonic and of this machine
                           {"lost": 7}                   worker 7 is known to the database no more
    worker -> supervisor   {"dsn": "..."}, if it was ordered to look: its app and options are in order, its database is this;
                           {"worker": 7, "running": 3, "claims_since": ..., "stopping": false}, before its first claim and
                           then as it changes; {"stats": {...}}, all that it did, likewise and at its end;
                           {"left": true} when it has ended in an orderly way, or {"error": "..."}

When the line ends, the supervisor is gone, and the worker ends too, whatever it is doing. Stops travel as signals.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from pgjobs.calls import Report
from pgjobs.orders import Orders
from pgjobs.worker.keeper import Keeping

log = logging.getLogger("pgjobs.worker")

TOLD_EVERY = 2.0  # seconds between two looks whether there is news of the worker


class Line:
    """One end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._rest = b""

    def fileno(self) -> int:
        """The socket, to wait on."""
        return self._end.fileno()

    def send(self, message: str) -> None:
        """Say something. What nobody can hear any more, or does not hear in time, is lost."""
        try:
            with self._sending:
                self._end.sendall(message.encode() + b"\n")
        except OSError:
            pass

    def receive(self) -> Iterator[str]:
        """Return what has come in full, after waiting for something to come if the socket waits. Raises EOFError at the end of the line."""
        try:
            some = self._end.recv(65_536)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            some = b""
        if not some:
            raise EOFError
        *lines, self._rest = (self._rest + some).split(b"\n")
        for line in lines:
            yield line.decode()

    def close(self) -> None:
        """Close this end."""
        self._end.close()


class Link:
    """A worker process' end of the line. Made first of all, so that the process never outlives its supervisor."""

    def __init__(self, end: socket.socket) -> None:
        self.stats: Mapping[str, int] = {}  # of the worker of this process
        self._told: Mapping[str, int] = {}
        self._line = Line(end)
        self._keeper: Supervised | None = None
        lines: list[str] = []
        while not lines:
            lines = list(self._line.receive())
        self.orders = Orders.load(lines[0])
        end.settimeout(TOLD_EVERY)
        threading.Thread(target=self._listen, name="pgjobs link", daemon=True).start()

    def keeper(self, lease: timedelta, report: Report, on_lost: Callable[[int], None]) -> Supervised:
        """Return the keeper for the worker of this process."""
        self._keeper = Supervised(self, lease, report, on_lost)
        return self._keeper

    def tell_stats(self) -> None:
        """Tell what was done, if there is something new."""
        stats = dict(self.stats)
        if stats != self._told:
            self._told = stats
            self.say({"stats": stats})

    def say(self, message: Mapping[str, Any]) -> None:
        """Tell the supervisor something."""
        self._line.send(json.dumps(message))

    def _listen(self) -> None:
        while True:
            try:
                for line in self._line.receive():
                    self._hear(json.loads(line))
            except EOFError:
                log.error("the supervisor is gone: this worker ends, and its jobs are taken back")
                os._exit(1)
            if self._keeper is not None:
                self._keeper.look()
                self.tell_stats()

    def _hear(self, message: Mapping[str, Any]) -> None:
        keeper = self._keeper
        if keeper is None:
            return
        if "lost" in message:
            keeper.lost(message["lost"])
        elif message.get("renewed") == keeper.report.worker:
            keeper.renewed(message["sent"])


class Supervised(Keeping):
    """The lease of a worker whose supervisor renews it: the worker reports to it, and hears of every renewal."""

    def __init__(self, link: Link, lease: timedelta, report: Report, on_lost: Callable[[int], None]) -> None:
        super().__init__(lease, report, on_lost)
        self._link = link
        self._said: Report | None = None

    def news(self) -> None:
        """Tell the supervisor at once: a new worker before it can claim anything."""
        self._said = self.report
        self._link.say(self.report._asdict())

    def look(self) -> None:
        """Tell what has changed, and look at the clock."""
        if self.report.worker:
            if self.report != self._said:
                self.news()
            self.check()
