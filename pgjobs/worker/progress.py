"""The board: what running jobs last said of their progress, on its way to the database in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from pgjobs.job import Lease, Progress

EVERY = 1.0  # seconds between two statements that write progress, except before an outcome


class Board:
    """The newest progress of each run that has said something since it was last written. Written to by any thread."""

    def __init__(self) -> None:
        self.tell: Callable[[], None] = lambda: None  # called from any thread when there is something to write
        self._said: dict[Lease, Progress] = {}
        self._lock = threading.Lock()
        self._written_at = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._said)

    def say(self, lease: Lease, progress: Progress) -> None:
        """Keep what a run says, in place of what it said before."""
        with self._lock:
            first = not self._said
            self._said[lease] = progress
        if first:
            self.tell()

    def has(self, lease: Lease) -> bool:
        """Whether there is something of this run that is not written."""
        return lease in self._said

    def due_at(self) -> float:
        """Return when the next statement is due, by the monotonic clock."""
        return self._written_at + EVERY

    def take(self, now: float, ending: Collection[Lease]) -> dict[Lease, Progress]:
        """Take what is to be written now: all of it about once a second, in between only that of runs that are ending."""
        with self._lock:
            if now >= self.due_at():
                self._written_at = now
                said, self._said = self._said, {}
            else:
                said = {lease: self._said.pop(lease) for lease in ending if lease in self._said}
        return said

    def put_back(self, said: dict[Lease, Progress]) -> None:
        """Return what could not be written, unless its run has said more since."""
        with self._lock:
            self._said = {**said, **self._said}
