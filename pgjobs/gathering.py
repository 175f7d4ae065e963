"""Jobs that an iterable brings, many of them: gathered in portions, each while the database writes the one before."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice

from pgjobs.job import Spec

PORTION = 5_000  # jobs; when there are fewer in all, they are gathered before the first is sent
LARGEST = 20_000  # jobs of a later portion: between two of them client and server wait for each other
FEW = 1_000  # jobs that are gathered for the next portion when a block of this one has been sent
QUICK = 0.25  # seconds for the first portion; what comes more slowly must not keep a transaction open


class Gathering:
    """The jobs of an iterable. The first portion is gathered at once.

    To make a job here and to write its row there take about as long: one after the other, each would wait for the other
    half of the time. Only on a connection of our own, since what brings the jobs may use the caller's for it.
    """

    def __init__(self, specs: Iterable[Spec]) -> None:
        began = time.monotonic()
        self._specs = iter(specs)
        self._size = PORTION
        self._jobs = list(islice(self._specs, PORTION))
        self.is_quick = len(self._jobs) == PORTION and time.monotonic() - began < QUICK  # and there may be more

    def __bool__(self) -> bool:
        """Whether there is something in hand."""
        return bool(self._jobs)

    def __iter__(self) -> Iterator[Spec]:
        """Take all there are, one by one."""
        while jobs := self.portion():
            yield from jobs

    def portion(self) -> list[Spec]:
        """Take the next portion; nothing when there are no more."""
        self._jobs += islice(self._specs, self._size - len(self._jobs))
        jobs, self._jobs = self._jobs, []
        self._size = min(2 * self._size, LARGEST)
        return jobs

    def few(self) -> None:
        """Gather a few for the next portion."""
        self._jobs += islice(self._specs, min(FEW, self._size - len(self._jobs)))
