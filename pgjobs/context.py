"""What a handler can know about its run and say while it runs: the JobContext."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any


class JobInterrupted(BaseException):
    """Raised by `JobContext.check()` when the run is to stop: its time is over, or the worker is shutting down."""


@dataclass(slots=True)
class JobContext:
    """One run of a job, seen from its handler. A parameter of a task annotated with this type receives it.

    `id` and `run` together are a fencing token for the outside world: a later run of the same job has a higher run.
    """

    id: int
    run: int
    queue: str
    task: str
    attempt: int  # 1 for the first
    max_attempts: int
    enqueued_at: datetime
    started_at: datetime
    timeout: timedelta | None
    metadata: dict[str, Any] | None = None
    _asked: bool = field(default=False, repr=False)
    _started: float = field(default_factory=time.monotonic, repr=False)

    @property
    def is_final_attempt(self) -> bool:
        """Whether a failure of this run sends the job to the dead letters."""
        return self.attempt >= self.max_attempts

    @property
    def deadline(self) -> datetime | None:
        """When the timeout is reached; None without one."""
        return self.started_at + self.timeout if self.timeout is not None else None

    @property
    def cancelled(self) -> bool:
        """Whether this run is asked to stop. Threads are not stopped by force: they look here, or call `check()`."""
        return self._asked or self.expired

    @property
    def expired(self) -> bool:
        """Whether this run has reached its timeout."""
        return self.timeout is not None and time.monotonic() - self._started > self.timeout.total_seconds()

    def check(self) -> None:
        """Raise JobInterrupted if this run is asked to stop; do nothing otherwise."""
        if self.cancelled:
            raise JobInterrupted(f"job {self.id} was asked to stop")

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that carries the job's id, run, queue and task."""
        return logging.LoggerAdapter(
            logging.getLogger(f"pgjobs.task.{self.task}"),
            {"job": self.id, "run": self.run, "queue": self.queue, "task": self.task},
        )

    def _ask_to_stop(self) -> None:
        self._asked = True
