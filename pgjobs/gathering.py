"""Jobs that an iterable brings, many of them: gathered in portions, each while the database writes the one before."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice

from pgjobs.job import Spec

PORTION = 5_000  # jobs; when there are fewer in all, they are gathered before the first is sent
LARGEST = 20_000  # jobs of a later portion
FEW = 600  # jobs that are gathered when a block of 500 has been sent: so portions grow, since between two all wait for all
QUICK = 0.25  # seconds for the first portion; what comes more slowly must not keep a transaction open


class Stopped(Exception):
    """What brings the jobs raised `error`, while some were being written. It is none of the database's, whatever it is."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("the jobs to be enqueued ended with an error")
        self.error = error


class Gathering:
    """The jobs of an iterable. The first portion is gathered at once.

    To make a job here and to write its row there take about as long: one after the other, each would wait for the other
    half of the time. Only on a connection of our own, since what brings the jobs may use the caller's for it.
    """

    def __init__(self, specs: Iterable[Spec]) -> None:
        began = time.monotonic()
        self._specs = iter(specs)
        self._jobs = list(islice(self._specs, PORTION))
        self._more = len(self._jobs) == PORTION  # or so it seems
        self._quick = time.monotonic() - began < QUICK
        self.goes_on = False  # whether the rest is gathered while the first are written

    def __bool__(self) -> bool:
        """Whether there is something in hand."""
        return bool(self._jobs)

    def __iter__(self) -> Iterator[Spec]:
        """Take all there are, one by one."""
        jobs, self._jobs = self._jobs, []
        return chain(jobs, self._specs)

    @contextmanager
    def in_turn(self, turn: threading.Lock | None = None) -> Iterator[None]:
        """Gather the rest before the block, or leave it for later if it comes quickly and it is our turn.

        While the rest is gathered a connection of the app's is in use, and what brings the jobs may want another. If
        many were to wait for that, all connections would be waited for by those that hold them.
        """
        self.goes_on = self._more and self._quick and (turn is None or turn.acquire(blocking=False))
        try:
            if not self.goes_on:
                self._jobs += self._specs
            yield
        finally:
            if self.goes_on and turn is not None:
                turn.release()

    def portion(self) -> list[Spec]:
        """Take the next portion; nothing when there are no more. Raises Stopped."""
        self._gather(PORTION - len(self._jobs))
        jobs, self._jobs = self._jobs, []
        return jobs

    def few(self) -> None:
        """Gather a few for the next portion. Raises Stopped."""
        self._gather(min(FEW, LARGEST - len(self._jobs)))

    def _gather(self, most: int) -> None:
        try:
            self._jobs += islice(self._specs, max(most, 0))
        except BaseException as error:
            raise Stopped(error) from None
