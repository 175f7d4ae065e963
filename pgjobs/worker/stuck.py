"""Stuck threads: those that were asked to stop and do not. A few of them, and the worker has to be replaced."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from pgjobs.errors import WorkerStuck
from pgjobs.worker.executors.in_thread import ThreadExecutor

log = logging.getLogger("pgjobs.worker")

STUCK_MOST = 3  # threads that will not stop, at which the worker ends


class Stuck:
    """Counts them, and says when they are too many.

    Arguments: stats, where they are counted as "stuck"; on_one, called in the event loop whenever there is one more, with
    whether the worker is to end.
    """

    def __init__(self, stats: Counter[str], on_one: Callable[[bool], None]) -> None:
        self.threads = ThreadExecutor(self._one_more)
        self._stats = stats
        self._on_one = on_one
        self._too_many = False

    def are_all(self, running: int) -> bool:
        """Whether of so many runs none is left that could come to its end in time."""
        return 0 < running <= len(self.threads.stuck)

    def check(self, worker: int) -> None:
        """Raise WorkerStuck if this worker has ended because of them."""
        if self._too_many:
            raise WorkerStuck(
                f"Worker {worker} has ended because {STUCK_MOST} of its threads would not stop: start it anew, and let the"
                " handlers call job.check(), or give their tasks executor='process'."
            )

    def end(self, worker: int) -> None:
        """They are too many: the worker ends."""
        self._too_many = True
        log.error(
            "worker %d: %d threads will not stop; it lets the other jobs finish and ends, to be replaced",
            worker, len(self.threads.stuck),
        )  # fmt: skip

    def _one_more(self) -> None:
        self._stats["stuck"] += 1
        self._on_one(len(self.threads.stuck) >= STUCK_MOST)
