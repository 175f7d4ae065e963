"""A stop of a worker: asked for once, what runs may finish within a grace; asked for again, it is cut short at once."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

log = logging.getLogger("pgjobs.worker")


class Stop:
    """Whether a worker is to stop, and until when what it runs may finish. True once somebody has asked."""

    def __init__(self, grace: timedelta) -> None:
        self.asked = asyncio.Event()
        self.at_once = False
        self.ends: float | None = None  # by the monotonic clock; None: it has not begun
        self._grace = grace
        self._wanted = False

    def __bool__(self) -> bool:
        return self._wanted

    def ask(self) -> None:
        """Ask for it; again: at once."""
        self.at_once = self._wanted
        self._wanted = True
        self.asked.set()

    def begin(self, running: int) -> None:
        """Let the grace begin, once."""
        if self.ends is None:
            self.ends = time.monotonic() + self._grace.total_seconds()
            log.info("stopping: %d jobs may finish within %s", running, self._grace)

    def is_over(self) -> bool:
        """Whether there is no time left for what still runs."""
        return self.at_once or (self.ends is not None and time.monotonic() >= self.ends)
